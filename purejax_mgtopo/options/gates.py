"""Settings of the gates, and of the baseline that their advantage is made with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from purejax_mgtopo.errors import require


@dataclass(frozen=True)
class GateConfig:
    """The gates: networks c^i that open and close edges, and how they learn (paper, Table 2)."""

    learning_rate: float = 1e-3
    """Learning rate of the gates (RMSprop).
    (paper: 0.001)"""
    rms_decay: float = 0.9
    """Decay, per update, of RMSprop's mean squared gradient.
    (ours, because the paper says none; Optax's default)"""
    rms_epsilon: float = 1e-8
    """RMSprop's epsilon, inside the square root, so that a zero gradient has a finite second derivative.
    (ours, because the paper says none; Optax's default)"""
    edge_cost: float = 0.0
    """Price of an open edge for one step, taken off the reward from which the gates of reinforce, meta, universal and
    ic3net learn, and off no other; other rules know no price.
    (ours, because the paper charges nothing: 0)"""
    entropy: float = 0.0
    """Weight of the gates' entropy in what REINFORCE and meta-learned rules ascend; eta has its own, meta.entropy.
    (ours, because the paper names a bonus for eta alone)"""
    temperature: float = 1.0
    """Temperature of the straight-through Gumbel-softmax gates.
    (ours, because the paper says none; 1 leaves probabilities as they are)"""
    open_probability: float = 0.5
    """Probability that an edge is open (random only).
    (ours, because the paper has no such control; half of the edges)"""
    graph: Literal["static", "one_peer"] = "static"
    """Whether all edges of the exponential graph are open at each step, or one for each agent in turn (exponential).
    (ours, because the paper has no such rule; ExpoComm begins with static)"""

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
    """Learning rate of the baseline (Adam).
    (paper: 0.001)"""
    n_step: int = 25
    """How many rewards are summed before bootstrapping; windows that pass the episode's end bootstrap there.
    (ours, because the paper leaves n open, and V is poor early: the whole trajectory)"""
    normalise: bool = True
    """Subtract the running mean of the advantage and divide by its running standard deviation.
    (ours, because raw returns of tens would drown the entropy bonus of 0.01)"""
    moments_decay: float = 0.99
    """Decay, per trajectory, of the advantage's running mean and standard deviation.
    (ours, because the paper does not normalise; a memory of a hundred trajectories)"""

    def __post_init__(self) -> None:
        require(self.learning_rate > 0, "baseline.learning_rate must be positive")
        require(self.n_step >= 1, "baseline.n_step must be at least 1")
        require(0 <= self.moments_decay < 1, "baseline.moments_decay must lie in [0, 1)")
