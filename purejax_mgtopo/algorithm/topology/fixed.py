"""The two rules that decide nothing: nobody receives, or everybody does. No parameters."""

from __future__ import annotations

import flax.struct
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from purejax_mgtopo.algorithm.topology.metrics import RuleMetrics
from purejax_mgtopo.algorithm.types import Gates, Mode, PyTree, Trajectory
from purejax_mgtopo.config import Experiment


@flax.struct.dataclass
class FixedState:
    """Nothing to learn."""

    gates: tuple[()] = ()


class Fixed:
    """Every edge has the same, constant state. Also a base for rules that decide without learning."""

    silent: bool
    selective = False
    memory = 0
    tape_shape: tuple[int, ...] = (0,)

    def __init__(self, config: Experiment, num_agents: int, observation_size: int) -> None:
        del config, observation_size
        self.num_agents = num_agents

    def init(self, key: Key[Array, ""]) -> FixedState:
        """No parameters."""
        del key
        return FixedState()

    def initial_carry(self, batch: tuple[int, ...]) -> PyTree:
        """Nothing to remember."""
        del batch
        return ()

    def gate(
        self,
        gates: PyTree,
        observation: Float[Array, "*batch N O"],
        feature: Float[Array, "*batch N F"],
        message: Float[Array, "*batch N M"],
        carry: PyTree,
        tape: Float[Array, "*batch 0"],
        mode: Mode,
    ) -> tuple[Gates, PyTree]:
        """All closed or all open, with certainty, in every mode."""
        del gates, feature, message, tape, mode
        shape = (*observation.shape[:-1], self.num_agents - 1)
        edges = jnp.full(shape, 0.0 if self.silent else 1.0, observation.dtype)
        return Gates(probability=edges, decision=edges), carry

    def inner_update(
        self, state: FixedState, trajectory: Trajectory, policy_gradient: PyTree
    ) -> tuple[FixedState, RuleMetrics, tuple[()]]:
        """Nothing moves."""
        del trajectory, policy_gradient
        return state, RuleMetrics().filled(), ()

    def outer_update(
        self, steps: tuple[()], state: FixedState, trajectories: Trajectory
    ) -> tuple[FixedState, RuleMetrics]:
        """Nothing moves."""
        del steps, trajectories
        return state, RuleMetrics().filled()


class Nobody(Fixed):
    """``C^i`` is always empty (paper, Section 4.1): MADDPG's default."""

    silent = True


class Full(Fixed):
    """``C^i`` is always everybody else (paper, Section 4.1)."""

    silent = False
