"""Cooperative particle tasks as native JAX environments with the jumanji interface.

`jax_mpe.make("navigation_N3_l3")` makes a task; `jax_mpe.registered_tasks()` lists those with a
name of their own. `jax_mpe.make("predator_prey_N3_l3", prey="scripted")`, in one word
`"predator_prey_N3_l3@scripted"`, has its prey moved by another policy than the shipped one.
Importing the package also registers the tasks with jumanji: `jumanji.make("navigation_N3_l3-v0")`.
Any other size goes through `jumanji.make("jax_mpe-v0", name="navigation_N4_l2")`.
Tasks from elsewhere join by `register_task`, and `check_task` says which contract one breaks.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from .importing import jumanji  # before the modules below import it as it comes

# isort: split

from .autoreset import BatchAutoReset
from .contract.checking import check_task
from .navigation import Navigation, NavigationState
from .physics import Bodies, contact_forces, norm, world_step
from .predator_prey import PredatorPrey, PredatorPreyState
from .push import Push, PushState
from .reference import Reference, ReferenceState
from .scenario import HORIZON, Observation, Scenario, Snapshot, arena_half_width
from .toys import (
    CORNERS,
    CrossedGoals,
    FollowHolder,
    FollowTwo,
    GoalsState,
    HolderState,
    LateGoals,
    Public,
    RiddleState,
    SwitchRiddle,
    corner,
)

__all__ = [
    "CORNERS",
    "HORIZON",
    "BatchAutoReset",
    "Bodies",
    "CrossedGoals",
    "FollowHolder",
    "FollowTwo",
    "GoalsState",
    "HolderState",
    "LateGoals",
    "Navigation",
    "NavigationState",
    "Observation",
    "PredatorPrey",
    "PredatorPreyState",
    "Public",
    "Push",
    "PushState",
    "Reference",
    "ReferenceState",
    "RiddleState",
    "Scenario",
    "Snapshot",
    "SwitchRiddle",
    "arena_half_width",
    "check_task",
    "contact_forces",
    "corner",
    "make",
    "norm",
    "register_task",
    "registered_tasks",
    "world_step",
]


class _Sized(NamedTuple):
    """A scenario that comes in every size, called with N, and with l where it has one."""

    constructor: Callable[..., Scenario[Any]]
    has_view: bool  # whether names hold _l<int>
    named: tuple[str, ...]  # the sizes that the paper uses, or that we report


# One line for each scenario and toy; everything else follows from these two tables.
_SIZED = {
    "navigation": _Sized(
        Navigation, True, ("navigation_N3_l3", "navigation_N6_l1", "navigation_N6_l6")
    ),
    "predator_prey": _Sized(
        PredatorPrey, True, ("predator_prey_N3_l3", "predator_prey_N6_l1", "predator_prey_N6_l6")
    ),
    "push": _Sized(Push, False, ("push_N3", "push_N6")),
    "reference": _Sized(Reference, False, ("reference_N2", "reference_N3", "reference_N6")),
    "toy_follow_holder": _Sized(FollowHolder, False, ()),  # named among the toys
    "toy_follow_two": _Sized(FollowTwo, False, ()),
}
_TOYS: dict[str, Callable[[], Scenario[Any]]] = {
    toy().name: toy
    for toy in (CrossedGoals, LateGoals, FollowHolder, FollowTwo, Public, SwitchRiddle)
}


_OTHERS: dict[str, Callable[[], Scenario[Any]]] = {}
"""Tasks from elsewhere."""


def registered_tasks() -> tuple[str, ...]:
    """Names of the paper's tasks, of three sizes of `Reference`, of the toys, and of what was registered besides."""
    own = tuple(name for scenario in _SIZED.values() for name in scenario.named)
    return own + tuple(_TOYS) + tuple(_OTHERS)


def register_task(name: str, constructor: Callable[[], Scenario[Any]]) -> None:
    """Have `make(name)` call `constructor`, e.g. a class derived from `Scenario`; `check_task` tells what it lacks.

    Raises:
        ValueError: in one line, for a name that is taken, or that cannot be one.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        raise ValueError(f"{name!r} cannot name a task: letters, digits, _, . and - can")
    parts = re.fullmatch(r"([a-z_]+?)_N[0-9]+(?:_l[0-9]+)?", name)
    if name in _TOYS or parts and parts[1] in _SIZED:
        raise ValueError(f"{name!r} is a task of jax_mpe already; choose another name")
    _OTHERS[name] = constructor


def make(name: str, *, prey: str | None = None) -> Scenario[Any]:
    """Make a task by its name.

    Args:
        name: one of `registered_tasks()`, or any size by the grammar `<scenario>_N<int>[_l<int>]`,
            with N agents of which each sees the l nearest landmarks. Predator-prey names may go on
            with `@<prey>`.
        prey: who moves the prey; see `PredatorPrey`. By default what the name says, and otherwise
            the shipped prey.

    Raises:
        ValueError: in one line, if there is no such task, or not in that size, or no such prey.
    """
    task, at, named_prey = name.partition("@")
    if at and prey is not None:
        raise ValueError(f"{name!r} names its prey already, so leave out prey={prey!r}")
    choice = {"prey": named_prey if at else prey} if at or prey is not None else {}
    if task in _OTHERS and not choice:
        return _OTHERS[task]()
    parts = re.fullmatch(r"([a-z_]+?)_N([0-9]+)(?:_l([0-9]+))?", task)
    scenario = _SIZED.get(parts[1]) if parts else None
    if choice and not (scenario and scenario.constructor is PredatorPrey):
        raise ValueError(f"{task} has no prey to be {choice['prey']!r}; predator_prey tasks have")
    if task in _TOYS:
        return _TOYS[task]()
    if parts is None or scenario is None or scenario.has_view != (parts[3] is not None):
        raise ValueError(_unknown(task))
    # Another name would be another task in every table of results.
    if (canonical := re.sub(r"(?<=_[Nl])0+(?=[0-9])", "", task)) != task:
        raise ValueError(f"sizes have no leading zeros: {name!r} is {canonical}{at}{named_prey}")
    sizes = [int(size) for size in parts.groups()[1:] if size is not None]
    made = scenario.constructor(*sizes, **choice)
    if made.name.partition("@")[0] != task:
        raise ValueError(f"{task} is {made.name}; say that")
    return made


def _unknown(name: str) -> str:
    known = registered_tasks()
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
    grammar = ", ".join(
        f"{scenario}_N<int>" + ("_l<int>" if entry.has_view else "")
        for scenario, entry in _SIZED.items()
    )
    return (
        f"unknown task {name!r}; did you mean {close[0]!r}? Sizes other than the paper's: {grammar}"
    )


def _register_with_jumanji() -> None:
    present = (
        jumanji.registered_environments()
    )  # jumanji refuses a second registration of the same name
    for task in registered_tasks():
        if f"{task}-v0" not in present:
            jumanji.register(f"{task}-v0", entry_point="jax_mpe:make", kwargs={"name": task})
    if "jax_mpe-v0" not in present:
        jumanji.register("jax_mpe-v0", entry_point="jax_mpe:make")


_register_with_jumanji()
