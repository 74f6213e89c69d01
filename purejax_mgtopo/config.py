"""What a run is: what is computed (`Experiment`), and by what means (`Means`), as frozen dataclasses.

Free of JAX, so that ``--help`` stays instant. Defaults are the paper's Tables 1 and 2 (Zhang & Chen 2021) where it
gives a value. What can be computed from the configuration is a property, never a second field. Every error is one
line that says what to do.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Literal

from purejax_mgtopo.errors import require, unknown_name
from purejax_mgtopo.methods import CRITICS, MESSAGES, METHODS, TOPOLOGIES, named
from purejax_mgtopo.settings import UNNAMED, check_numbers, differences, flatten, override

__all__ = [
    "BaselineConfig", "CheckpointConfig", "Config", "EvaluationConfig", "Experiment", "GateConfig",
    "LearnerConfig", "Means", "MessageConfig", "MetaConfig", "differences", "flatten", "override",
    "with_method",
]  # fmt: skip


@dataclass(frozen=True)
class LearnerConfig:
    """The base learner: centralised critic, deterministic policies (paper, Eqs. 1-3, Table 2)."""

    discount: float = 0.95
    """Discount factor gamma of future rewards."""
    hidden: int = 128
    """Units of every hidden layer of policy, critic, gates and baseline, and of the message LSTM."""
    batch_size: int = 256
    """Transitions drawn from the replay for each update."""
    replay_transitions: int = 100_000
    """Capacity of a seed's replay in transitions, stored as whole episodes; the oldest is overwritten."""
    replay_precision: Literal["float32", "float16"] = "float32"
    """How exactly positions are kept in the replay; float16 saves 1.2 MB a seed at N = 3, blurs velocities by 0.005."""
    warmup_episodes: int = 40
    """Episodes played before the first update, while nothing learns."""
    critic_learning_rate: float = 1e-3
    """Learning rate of the critic (Adam)."""
    policy_learning_rate: float = 1e-3
    """Learning rate of the policies and message networks (Adam)."""
    target_rate: float = 0.01
    """Polyak rate: the share of the newest parameters in the target policy, gates and critic after each update."""
    gradient_clip: float = 0.5
    """Largest global norm of the critic's and of the policy's gradient; longer ones are scaled down."""
    action_penalty: float = 1e-3
    """Weight in the policy loss of the mean squared action before tanh."""
    exploration_noise: float = 0.2
    """Standard deviation of the Gaussian noise on actions in training; there is none in evaluation."""
    share_parameters: bool = False
    """One set of policy and gate parameters for all; a gate's output k is each agent's k-th other."""

    def __post_init__(self) -> None:
        require(0 <= self.discount < 1, "learner.discount must lie in [0, 1)")
        check_numbers(self, "learner.")
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


@dataclass(frozen=True)
class GateConfig:
    """The gates: networks c^i that open and close edges, and how they learn (paper, Table 2)."""

    learning_rate: float = 1e-3
    """Learning rate of the gates (RMSprop)."""
    rms_decay: float = 0.9
    """Decay, per update, of RMSprop's mean squared gradient."""
    rms_epsilon: float = 1e-8
    """RMSprop's epsilon, inside the square root, so that a zero gradient has a finite second derivative."""
    edge_cost: float = 0.0
    """Price of an open edge for one step, taken off the reward from which gates learn, and off no other."""
    entropy: float = 0.0
    """Weight of the entropy bonus of the REINFORCE rule (the meta rule has its own, meta.entropy)."""
    temperature: float = 1.0
    """Temperature of the straight-through Gumbel-softmax gates."""
    open_probability: float = 0.5
    """Probability that an edge is open (random only)."""
    graph: Literal["static", "one_peer"] = "static"
    """Whether all edges of the exponential graph are open at each step, or one for each agent in turn (exponential)."""

    def __post_init__(self) -> None:
        require(self.learning_rate > 0, "gates.learning_rate must be positive")
        require(0 <= self.rms_decay < 1, "gates.rms_decay must lie in [0, 1)")
        require(self.rms_epsilon > 0, "gates.rms_epsilon must be positive")
        require(self.temperature > 0, "gates.temperature must be positive")
        require(0 <= self.open_probability <= 1, "gates.open_probability must lie in [0, 1]")


@dataclass(frozen=True)
class BaselineConfig:
    """The learned baseline V(o; phi) and the advantage made from it (paper, Section 4.2, Table 1)."""

    learning_rate: float = 1e-3
    """Learning rate of the baseline (Adam)."""
    n_step: int = 25
    """How many rewards are summed before bootstrapping; windows that pass the episode's end bootstrap there."""
    normalise: bool = True
    """Subtract the running mean of the advantage and divide by its running standard deviation."""
    moments_decay: float = 0.99
    """Decay, per trajectory, of the advantage's running mean and standard deviation."""

    def __post_init__(self) -> None:
        require(self.learning_rate > 0, "baseline.learning_rate must be positive")
        require(self.n_step >= 1, "baseline.n_step must be at least 1")
        require(0 <= self.moments_decay < 1, "baseline.moments_decay must lie in [0, 1)")


@dataclass(frozen=True)
class MetaConfig:
    """The meta-parameters eta: a backward LSTM that says how gates learn (paper, Eqs. 5-9, Table 1)."""

    learning_rate: float = 5e-5
    """Learning rate of eta (RMSprop)."""
    gradient_clip: float = 1.0
    """Largest global norm of the meta-gradient; a longer one is scaled down."""
    entropy: float = 0.01
    """Weight beta of the gates' entropy in the meta-objective (Eq. 8)."""
    rms_decay: float = 0.9
    """Decay of eta's own RMSprop; the gates' is ``gates.rms_decay``."""
    rms_epsilon: float = 1e-8
    """Epsilon of eta's own RMSprop, inside the square root."""
    hidden: int = 128
    """Units of eta's LSTM and hidden layers."""
    blend_intermediate: bool = True
    """Average the meta-gradient over all K updates (Eq. 9), not the last one alone (Eq. 8)."""
    append_decisions: bool = False
    """Feed the sampled decisions to eta as well as their probabilities."""
    reward_transform: Literal["raw", "signed_log"] = "raw"
    """How the reward enters eta's input: as it is, or as sign(r) log(1 + |r|)."""
    stop_input_gradient: bool = False
    """Drop the derivative through the gate probabilities in eta's input."""
    stop_denominator: bool = False
    """Drop the derivative through RMSprop's denominator."""
    output_l2: float = 0.0
    """Weight of a penalty on the squared output of eta."""
    fresh_trajectory: bool = False
    """Play an iteration's first trajectory anew instead of reusing the last one of the iteration before."""

    def __post_init__(self) -> None:
        require(self.learning_rate >= 0, "meta.learning_rate must not be negative")
        require(self.gradient_clip > 0, "meta.gradient_clip must be positive")
        require(0 <= self.rms_decay < 1, "meta.rms_decay must lie in [0, 1)")
        require(self.rms_epsilon > 0, "meta.rms_epsilon must be positive")
        require(self.hidden >= 1, "meta.hidden must be at least 1")


@dataclass(frozen=True)
class MessageConfig:
    """How messages travel and are read."""

    latency: Literal[0, 1] = 0
    """Steps that a message takes: 0 delivers it in the step it was sent, 1 in the next."""
    rounds: int = 2
    """Exchanges of hidden states within one step (commnet only)."""
    share_hops: bool = False
    """The same weights in all exchanges, as in the released code, rather than each its own (commnet only)."""
    aggregate: Literal["mean", "sum", "others"] = "mean"
    """A receiver takes the senders' average, their sum, or the sum over N - 1 as in IC3Net (commnet only)."""

    def __post_init__(self) -> None:
        require(self.rounds >= 1, "message.rounds must be at least 1")


@dataclass(frozen=True)
class EvaluationConfig:
    """Noise-free episodes on fixed evaluation seeds, played inside the training program."""

    every: int = 500
    """Training episodes between evaluations."""
    episodes: int = 100
    """Episodes in each evaluation of a seed."""
    seed: int = 20_210
    """Random seed of the evaluation episodes: every evaluation, of every seed, plays the same ones."""

    def __post_init__(self) -> None:
        require(self.every >= 1, "evaluation.every must be at least 1")
        require(self.episodes >= 1, "evaluation.episodes must be at least 1")


@dataclass(frozen=True)
class CheckpointConfig:
    """When the whole state of training is saved, so that `mgtopo resume` goes on from there."""

    minutes: float = 5.0
    """Minutes between checkpoints, at least: one is made at the end of the next chunk, and when a run stops or ends."""
    keep: int = 2
    """How many of the latest checkpoints to keep; the one with the best return stays besides."""
    on_error: Literal["stop", "continue"] = "stop"
    """What to do when a checkpoint cannot be written (a full disk): stop the run, or say so and continue."""

    def __post_init__(self) -> None:
        require(self.minutes >= 0, "checkpoint.minutes must not be negative")
        require(self.keep >= 1, "checkpoint.keep must be at least 1")


@dataclass(frozen=True)
class Experiment:
    """What is computed: a task, a topology rule, a message interpreter, and as many seeds as you like.

    Each of these settings may change the result; `Means` change it by rounding at most.
    """

    task: str = "navigation_N3_l3"
    """The task's name, as `mgtopo tasks` lists it, or another size by the grammar given there."""
    topology: str = "meta"
    """Topology rule: who receives from whom, and how that is learned (see `mgtopo methods`)."""
    messages: str = "lstm"
    """Message interpreter: what is sent, and how what arrives is read (see `mgtopo methods`)."""
    critic: str = "mlp"
    """Critic: what judges the actions of all agents together (see `mgtopo methods`)."""
    seeds: int = 8
    """How many seeds to train: independent repetitions, all in one program."""
    first_seed: int = 0
    """The lowest seed; the others follow it, and none depends on which others run."""
    episodes: int = 50_000
    """Training episodes per seed, an update after each; the warm-up comes before them."""
    updates_per_iteration: int = 10
    """K, the updates of the gates for every update of eta and of the baseline."""
    chunk_episodes: int = 100
    """Training episodes between two lines of progress: the program runs so many without a break."""
    learner: LearnerConfig = field(default_factory=LearnerConfig)
    """The base learner: centralised critic, deterministic policies, replay (paper, Eqs. 1-3, Table 2)."""
    gates: GateConfig = field(default_factory=GateConfig)
    """The gates, networks that open and close edges, and how they learn (paper, Table 2)."""
    baseline: BaselineConfig = field(default_factory=BaselineConfig)
    """The learned baseline of meta and reinforce, and the advantage made from it (paper, Section 4.2, Table 1)."""
    meta: MetaConfig = field(default_factory=MetaConfig)
    """The meta-parameters eta, a network that says how gates learn (paper, Eqs. 5-9, Table 1)."""
    message: MessageConfig = field(default_factory=MessageConfig)
    """How messages travel and are read."""
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    """Evaluations: noise-free episodes, always the same ones, played every so often during training."""

    def __post_init__(self) -> None:
        for axis, name, known in (
            ("topology", self.topology, TOPOLOGIES),
            ("messages", self.messages, MESSAGES),
            ("critic", self.critic, CRITICS),
        ):
            if name not in known:
                raise unknown_name(axis, name, known)
        check_numbers(self)
        require(self.seeds >= 1, f"seeds must be at least 1, not {self.seeds}")
        k, chunk, every = self.updates_per_iteration, self.chunk_episodes, self.evaluation.every
        require(k >= 1, f"updates_per_iteration (K) must be at least 1, not {k}")
        for name, value, step, step_name in (
            ("chunk_episodes", chunk, k, "updates_per_iteration"),
            ("evaluation.every", every, chunk, "chunk_episodes"),
            ("episodes", self.episodes, chunk, "chunk_episodes"),
        ):
            nearest = max(step, round(value / step) * step)
            require(
                value >= step and value % step == 0,
                f"{name} ({value}) must be a multiple of {step_name} ({step}); "
                f"the nearest is {nearest}",
            )

    @property
    def method(self) -> str:
        """The preset's name where this grid point has one, else its axes, joined by plus signs."""
        shared = self.learner.share_parameters
        return named(self.topology, self.messages, self.critic, shared)

    @property
    def iterations_per_chunk(self) -> int:
        """Iterations of K updates in a chunk."""
        return self.chunk_episodes // self.updates_per_iteration

    @property
    def chunks(self) -> int:
        """Chunks in the whole training of a seed."""
        return self.episodes // self.chunk_episodes


@dataclass(frozen=True)
class Means:
    """The means by which an experiment is computed, and what is kept: devices, memory, precision, checkpoints, W&B."""

    seed_axis: Literal["auto", "vmap", "map"] = "auto"
    """How seeds share a device: vmap in batches, map in turn; auto is vmap on accelerators, map on CPUs."""
    devices: int = 0
    """How many devices share the seeds; 0 or auto takes all (on a CPU: one for each core)."""
    lanes: int = 0
    """Seeds trained at a time; if there are more, they run in waves. 0 or auto takes what fits (`mgtopo fit`)."""
    microbatch: int = 0
    """Seeds of a device that advance together under vmap: fewer need less memory. 0 or auto takes what fits."""
    precision: Literal["auto", "float32", "tf32", "bfloat16"] = "auto"
    """How exactly matrices are multiplied; auto is the device's default (GPU: tf32). With bfloat16, activations and the
    weights that products read are stored so, too; master weights, optimisers, losses and sums stay float32."""
    deterministic: bool = False
    """Use only GPU operations that give the same bits at every run; slower."""
    wandb: Literal["auto", "online", "offline", "off"] = "auto"
    """Mirror the run to W&B; auto is online where credentials exist, else offline in the run's folder."""
    wandb_per_seed: int = 0
    """How many seeds to mirror as W&B runs of their own, besides the run of all seeds."""
    wandb_project: str = ""
    """The W&B project to write to; by default what WANDB_PROJECT says, else purejax_mgtopo."""
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    """Checkpoints: when the whole state of training is saved, so that `mgtopo resume` goes on from there."""

    def __post_init__(self) -> None:
        check_numbers(self)
        require(self.devices >= 0, "devices must not be negative; 0 takes all")
        require(self.wandb_per_seed >= 0, "wandb_per_seed must not be negative")
        require(self.lanes >= 0, "lanes must not be negative; 0 takes what fits")
        require(self.microbatch >= 0, "microbatch must not be negative; 0 takes what fits")


@dataclass(frozen=True)
class Config:
    """A run: what is computed, and by what. Settings of both go by one flat namespace."""

    experiment: Experiment = field(default_factory=Experiment, metadata=UNNAMED)
    """What is computed."""
    means: Means = field(default_factory=Means, metadata=UNNAMED)
    """The means by which it is computed."""


def with_method(experiment: Experiment, name: str) -> Experiment:
    """`experiment` with a preset's axes, or those of ``"topology+messages"`` or ``"topology+messages+critic"``.

    Raises ConfigError for an unknown name, with the nearest known one.
    """
    if "+" in name:
        topology, messages, *critic = name.split("+", 2)
        judge = critic[0] if critic else experiment.critic
        return dataclasses.replace(experiment, topology=topology, messages=messages, critic=judge)
    if name not in METHODS:
        raise unknown_name("method", name, METHODS)
    method = METHODS[name]
    axes = {"topology": method.topology, "messages": method.messages}
    shared = {"learner.share_parameters": method.share_parameters}
    return override(experiment, axes | shared | dict(method.settings))
