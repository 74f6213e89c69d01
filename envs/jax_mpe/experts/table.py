"""Which task has which expert."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jaxtyping import Array, Float

from ..contract.shapes import expect_state
from ..navigation import Navigation
from ..predator_prey import PredatorPrey
from ..push import Push
from ..reference import Reference
from ..scenario import Scenario
from ..toys import CrossedGoals, FollowHolder, SwitchRiddle
from .exact import goals, holder, reference, riddle
from .hunt import hunt
from .lookahead import Controller
from .navigation import navigation
from .push import push

# One line for each kind of task; those that derive from one have its expert, too.
_EXPERTS: dict[type, Callable[[Any], Controller]] = {
    Navigation: navigation,
    PredatorPrey: hunt,
    Push: push,
    Reference: reference,
    CrossedGoals: goals,
    FollowHolder: holder,
    SwitchRiddle: riddle,
}


def expert(task: Scenario[Any]) -> Controller:
    """A scripted controller that sees the whole state: joint actions [N, 2] of one state.

    It is a pure function without randomness, which may be compiled, batched and scanned.

    Raises:
        ValueError: in one line, for a task of which nobody is an expert; by the controller, for a state of another
            task, or several at once.
    """
    for kind in type(task).__mro__:
        if kind in _EXPERTS:
            return _of_its_states(task, _EXPERTS[kind](task))
    raise ValueError(f"there is no expert of {task.name}")


def _of_its_states(task: Scenario[Any], controller: Controller) -> Controller:
    def control(state: Any) -> Float[Array, "N 2"]:
        expect_state(task.name, state, task.state_shapes)
        return controller(state)

    return control
