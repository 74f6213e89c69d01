"""Settings of the meta-learned update rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from purejax_mgtopo.errors import require


@dataclass(frozen=True)
class MetaConfig:
    """The meta-parameters eta: a backward LSTM that says how gates learn (paper, Eqs. 5-9, Table 1)."""

    learning_rate: float = 5e-5
    """Learning rate of eta (RMSprop).
    (paper: 0.00005)"""
    gradient_clip: float = 1.0
    """Largest global norm of the meta-gradient; a longer one is scaled down.
    (ours, because the paper names a clip whose value its table has lost)"""
    entropy: float = 0.01
    """Weight beta of the gates' entropy in the meta-objective (Eq. 8).
    (paper: 0.01)"""
    rms_decay: float = 0.9
    """Decay of eta's own RMSprop; the gates' is ``gates.rms_decay``.
    (ours, because the paper says none; Optax's default)"""
    rms_epsilon: float = 1e-8
    """Epsilon of eta's own RMSprop, inside the square root.
    (ours, because the paper says none; Optax's default)"""
    architecture: Literal["joint", "edge"] = "joint"
    """Eta reads all edges at once and gives each an output of its own, or (edge) is one small network for every edge,
    for any number of agents, that begins as REINFORCE; it has no hidden units, inputs or transforms to set.
    (paper: joint)"""
    start: str = ""
    """File of an eta to begin with, which `mgtopo export --part eta` writes, in place of a fresh one; with
    ``meta.learning_rate`` 0 it stays as it is. A joint one goes with its own number of agents alone.
    (paper: fresh, and a fixed one in Figure 3)"""
    hidden: int = 128
    """Units of eta's LSTM and hidden layers (joint).
    (paper: 128)"""
    blend_intermediate: bool = True
    """Average the meta-gradient over all K updates (Eq. 9), not the last one alone (Eq. 8).
    (paper: averaged)"""
    append_decisions: bool = False
    """Feed the sampled decisions to eta as well as their probabilities.
    (paper: probabilities alone)"""
    reward_transform: Literal["raw", "signed_log"] = "raw"
    """How the reward enters eta's input: as it is, or as sign(r) log(1 + |r|).
    (paper: raw)"""
    stop_input_gradient: bool = False
    """Drop the derivative through the gate probabilities in eta's input.
    (ours, because the paper does not say: the exact derivative keeps it)"""
    stop_denominator: bool = False
    """Drop the derivative through RMSprop's denominator.
    (ours, because the paper does not say: the exact derivative keeps it)"""
    output_l2: float = 0.0
    """Weight of a penalty on the squared output of eta.
    (ours, because the paper has no penalty: 0)"""
    fresh_trajectory: bool = False
    """Play an iteration's first trajectory anew instead of reusing the last one of the iteration before.
    (ours, because the paper does not say, and anew would cost a tenth more episodes than baselines have)"""

    def __post_init__(self) -> None:
        require(self.learning_rate >= 0, "meta.learning_rate must not be negative")
        require(self.gradient_clip > 0, "meta.gradient_clip must be positive")
        require(0 <= self.rms_decay < 1, "meta.rms_decay must lie in [0, 1)")
        require(self.rms_epsilon > 0, "meta.rms_epsilon must be positive")
        require(self.hidden >= 1, "meta.hidden must be at least 1")
