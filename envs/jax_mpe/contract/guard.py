"""Weaves a check of shapes into the methods that a task fills in, so that who writes one need not think of it.

Every other shape would be broadcast, cut or read elsewhere in silence. Shapes are known while a program is traced:
nothing of this is left in it.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import jax
import jax.numpy as jnp

from .shapes import Shape, expect_ending, expect_shape, expect_state, expect_states

_Check = Callable[[Any, Any], None]
_FINDING: ContextVar[bool] = ContextVar("_FINDING", default=False)
"""Whether the shapes of a task's states are being found, from a first one, before which there is none to check by."""


def shapes_of(initial_state: Callable[[Any], Any]) -> dict[str, Shape]:
    """The shape of every array of a state but its key, by the name of its field.

    Args:
        initial_state: makes one from a key; it is traced only.
    """
    finding = _FINDING.set(True)
    try:
        with jax.ensure_compile_time_eval():
            shapes = jax.eval_shape(initial_state, jax.random.key(0))
    finally:
        _FINDING.reset(finding)
    leaves = {name: leaf for name, leaf in vars(shapes).items() if hasattr(leaf, "shape")}
    return {name: leaf.shape for name, leaf in leaves.items() if name != "key"}


def _state(task: Any, state: Any) -> None:
    expect_state(task.name, state, task.state_shapes)


def _next_state(task: Any, state: Any) -> None:
    expect_state(task.name, state, task.state_shapes, what="next state")


def _states(task: Any, states: Any) -> None:
    expect_states(task.name, states, task.state_shapes)


def _action(task: Any, action: Any) -> None:
    expect_shape(f"{task.name}: the joint action", action, (task.num_agents, task.action_size))


def _actions(task: Any, actions: Any) -> None:
    if actions is not None:  # as many as moments, or one less
        wanted = (task.num_agents, task.action_size)
        moments = jnp.shape(actions)[:1]
        expect_shape(f"{task.name}: the moments' joint actions", actions, (*moments, *wanted))


def _observation(task: Any, observation: Any) -> None:
    wanted = (task.num_agents, task.observation_size)
    expect_ending(f"{task.name}: what all agents observe", observation, wanted)


_CHECKS: dict[str, tuple[_Check, ...]] = {
    "advance": (_state, _action),
    "compress": (_state,),
    "measures": (_state,),
    "observe": (_state,),
    "reward": (_state, _action, _next_state),
    "right_edges": (_state,),
    "right_edges_seen": (_observation,),
    "scene": (_states, _actions),
}
"""What each method is given, in order."""


class Guarded:
    """Lets the methods of every class that derives from it see only what fits, whoever wrote them.

    Checked is what a task is asked from outside. What a method hands on by `super()` is its own affair, for it may
    know a state within its state.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name, checks in _CHECKS.items():
            method = inspect.getattr_static(cls, name, None)
            # Where it is not the class's own, the class that it comes from has done so.
            woven = getattr(method, "_woven", None) is method
            if hasattr(method, "__get__") and not woven:
                setattr(cls, name, _guarded(name, method, checks))


def _guarded(name: str, method: Any, checks: tuple[_Check, ...]) -> Any:
    @functools.wraps(method)
    def guarded(self: Any, *args: Any, **kwargs: Any) -> Any:
        own = method.__get__(self, type(self))
        if getattr(type(self), name) is guarded and not _FINDING.get():
            for check, value in zip(checks, _in_order(own, args, kwargs), strict=False):
                check(self, value)
        return own(*args, **kwargs)

    guarded._woven = guarded  # type: ignore[attr-defined]
    return guarded


def _in_order(method: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
    """All arguments as by position; without those by name where they do not fit, as the method itself will say."""
    if not kwargs:
        return args
    try:
        return inspect.signature(method).bind(*args, **kwargs).args
    except TypeError:
        return args
