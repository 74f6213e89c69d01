"""Axis A, topology rules: who receives from whom at each step, and how that decision learns.

To add one: write a file beside these with a class that fits `Rule`, and add it to `RULES`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Array, Float, Key

from purejax_mgtopo.algorithm.topology.fixed import Full, Nobody
from purejax_mgtopo.algorithm.topology.meta import MetaGradient
from purejax_mgtopo.algorithm.topology.metrics import RuleMetrics
from purejax_mgtopo.algorithm.topology.reinforce import Reinforce
from purejax_mgtopo.algorithm.topology.straight_through import StraightThrough
from purejax_mgtopo.algorithm.types import Gates, Mode, PyTree, Trajectory
from purejax_mgtopo.config import Experiment

__all__ = ["RULES", "Rule", "RuleMetrics", "make_rule"]


@runtime_checkable
class Rule(Protocol):
    """Pure functions of a state; an instance holds sizes and settings only.

    A state is the rule's own dataclass. Its field ``gates`` holds the parameters that decide on edges: the loop keeps
    their target copy, and hands their part of the policy loss's gradient to `inner_update`.

    Attributes:
        silent: no edge is ever open, so that messages need not be read at all.
        selective: decisions are data, 0 or 1, without derivatives, and some are usually 0: what they close may be
            skipped when messages are read.
        memory: steps before the current one that a decision depends on (0: none).
        tape_shape: shape of the uniform random numbers that one step's decisions use up.
    """

    silent: bool
    selective: bool
    memory: int
    tape_shape: tuple[int, ...]

    def init(self, key: Key[Array, ""]) -> Any:
        """The rule's state before learning."""
        ...

    def initial_carry(self, batch: tuple[int, ...]) -> PyTree:
        """What the rule remembers within an episode, at its start."""
        ...

    def gate(
        self,
        gates: PyTree,
        observation: Float[Array, "*batch N O"],
        feature: Float[Array, "*batch N F"],
        message: Float[Array, "*batch N M"],
        carry: PyTree,
        tape: Float[Array, "*batch ..."],
        mode: Mode,
    ) -> tuple[Gates, PyTree]:
        """Probabilities and decisions of one step, and the new carry."""
        ...

    def inner_update(
        self, state: Any, trajectory: Trajectory, policy_gradient: PyTree
    ) -> tuple[Any, RuleMetrics, PyTree]:
        """One update after a trajectory (Algorithm 1, line 9), and what the outer update wants to know of it.

        `policy_gradient` is the policy loss's gradient in ``state.gates``: exactly zero unless the rule lets
        decisions carry derivatives.
        """
        ...

    def outer_update(
        self, steps: PyTree, state: Any, trajectories: Trajectory
    ) -> tuple[Any, RuleMetrics]:
        """One update after K inner ones (lines 12 and 13).

        `steps` is what those told, along a leading axis, and `trajectories` are tau(0), ..., tau(K) likewise.
        """
        ...


RULES: dict[str, Callable[[Experiment, int, int], Rule]] = {
    "none": Nobody,
    "full": Full,
    "reinforce": Reinforce,
    "stgs": StraightThrough,
    "meta": MetaGradient,
}


def make_rule(config: Experiment, num_agents: int, observation_size: int) -> Rule:
    """The rule that `config` names, sized for a task of N agents with observations of width O."""
    return RULES[config.topology](config, num_agents, observation_size)
