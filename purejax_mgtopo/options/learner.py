"""The base learner's settings. Every help text says the paper's value, or why it is ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from purejax_mgtopo.errors import require
from purejax_mgtopo.settings import check_numbers

LearnerPresetName = Literal["paper", "improved"]
LEARNER_PRESETS: Mapping[str, Mapping[str, Any]] = {
    "paper": {
        "learner.n_step": 1,
        "learner.updates_per_episode": 1,
        "learner.exploration_noise": 0.2,
    },
    "improved": {
        "learner.n_step": 5,
        "learner.updates_per_episode": 2,
        "learner.exploration_noise": 0.6,
    },
}
"""Settings of the base learner that go together: the paper's, and those under which push is learned as well."""


@dataclass(frozen=True)
class LearnerConfig:
    """The base learner: centralised critic, deterministic policies (paper, Eqs. 1-3, Table 2)."""

    discount: float = 0.95
    """Discount factor gamma of future rewards.
    (paper: 0.95)"""
    n_step: int = 1
    """Rewards that the critic's target adds up before it asks the target networks; fewer at an episode's end.
    (paper: 1)"""
    hidden: int = 128
    """Units of every hidden layer of policy, critic, gates and baseline, and of the message LSTM.
    (paper: 128)"""
    updates_per_episode: int = 1
    """Updates of critic and policies after each episode, each with transitions of its own; all else learns once.
    (paper: 1)"""
    batch_size: int = 256
    """Transitions drawn from the replay for each update.
    (paper: 256)"""
    replay_transitions: int = 100_000
    """Capacity of a seed's replay in transitions, stored as whole episodes; the oldest is overwritten.
    (ours, because the paper says none, and the usual million leaves no memory for thousands of seeds)"""
    replay_precision: Literal["float32", "float16"] = "float32"
    """How exactly positions are kept in the replay; float16 saves 1.2 MB a seed at N = 3, blurs velocities by 0.005.
    (ours, because the paper says none, and float32 loses nothing)"""
    warmup_episodes: int = 40
    """Episodes played before the first update, while nothing learns.
    (ours, because the paper says none; about as many transitions as PIC waits for)"""
    critic_learning_rate: float = 1e-3
    """Learning rate of the critic (Adam).
    (paper: 0.001)"""
    policy_learning_rate: float = 1e-3
    """Learning rate of the policies and message networks (Adam).
    (paper: 0.001)"""
    target_rate: float = 0.01
    """Polyak rate: the share of the newest parameters in the target policy, gates and critic after each update.
    (paper: 0.01)"""
    gradient_clip: float = 0.5
    """Largest global norm of the critic's and of the policy's gradient; longer ones are scaled down.
    (ours, because the paper says none; MADDPG clips at 0.5)"""
    action_penalty: float = 1e-3
    """Weight in the policy loss of the mean squared action before tanh.
    (ours, because the paper says none; MADDPG and PIC use 0.001)"""
    exploration_noise: float = 0.2
    """Standard deviation of the Gaussian noise on actions in training; there is none in evaluation.
    (ours, because the paper says none, and deterministic policies explore by noise alone)"""
    share_parameters: bool = False
    """One set of policy and gate parameters for all; a gate's output k is each agent's k-th other.
    (paper: each agent its own)"""

    def __post_init__(self) -> None:
        require(0 <= self.discount < 1, "learner.discount must lie in [0, 1)")
        check_numbers(self, "learner.")
        require(self.n_step >= 1, "learner.n_step must be at least 1")
        require(self.updates_per_episode >= 1, "learner.updates_per_episode must be at least 1")
        require(self.hidden >= 1, "learner.hidden must be at least 1")
        require(self.batch_size >= 1, "learner.batch_size must be at least 1")
        require(
            self.batch_size <= self.replay_transitions,
            f"learner.batch_size ({self.batch_size}) exceeds learner.replay_transitions "
            f"({self.replay_transitions}); lower the first or raise the second",
        )
        require(self.warmup_episodes >= 2, "learner.warmup_episodes must be at least 2")
        require(0 < self.target_rate <= 1, "learner.target_rate must lie in (0, 1]")
        require(self.gradient_clip > 0, "learner.gradient_clip must be positive")
        require(self.exploration_noise >= 0, "learner.exploration_noise must not be negative")
