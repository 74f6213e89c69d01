"""Refuses arrays and states that do not fit a task, which would be broadcast, cut or read elsewhere in silence.

Shapes are known while a program is traced, so that nothing of this is left in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

Shape = tuple[int, ...]


def expect_shape(what: str, values: Any, wanted: Shape) -> None:
    """Let nothing pass that has another shape.

    Raises:
        ValueError: in one line that names both shapes.
    """
    if (found := jnp.shape(values)) != wanted:
        raise ValueError(f"{what} has shape {found}, but should have {wanted}")


def expect_ending(what: str, values: Any, wanted: Shape) -> None:
    """Let nothing pass whose last axes are others; how many lead to them is the caller's affair.

    Raises:
        ValueError: in one line that names the shape, and the one that it should end in.
    """
    if (found := jnp.shape(values))[-len(wanted) :] != wanted:
        raise ValueError(f"{what} has shape {found}, but should end in {wanted}")


def checked(what: str, values: ArrayLike, shape: Shape) -> Float[Array, "..."]:
    """The values as floats, which must not be broadcast: a missing row would pass unseen.

    Raises:
        ValueError: in one line, if they have another shape.
    """
    array = jnp.asarray(values, float)
    expect_shape(what, array, shape)
    return array


def expect_state(
    task: str,
    state: Any,
    shapes: Mapping[str, Shape],
    batch: Shape = (),
    what: str = "state",
) -> None:
    """Let no state pass that is none of the task's, or not as many as there should be.

    Args:
        task: the task's name.
        state: a single state, or many in one, whose arrays have leading axes.
        shapes: of each array of a single state, by the name of its field.
        batch: the leading axes.
        what: the state is called.

    Raises:
        ValueError: in one line that names the field, its shape, and the one it should have.
    """
    for name, shape in shapes.items():
        if not hasattr(state, name):
            kind = type(state).__name__
            raise ValueError(
                f"{task}: this {kind} is no state of the task, for it has no {name}; "
                "pass one that `reset` or `step` of the same task gave"
            )
        expect_shape(f"{task}: {name} of the {what}", getattr(state, name), (*batch, *shape))


def expect_states(task: str, states: Any, shapes: Mapping[str, Shape]) -> None:
    """Let nothing pass but many states of the task in one, whose arrays have one leading axis.

    Raises:
        ValueError: in one line, as from `expect_state`, or for a single state.
    """
    clock = jnp.shape(states.step_count) if hasattr(states, "step_count") else (0,)
    if not clock:
        raise ValueError(f"{task}: this is a single state; pass many in one, with a leading axis")
    expect_state(task, states, shapes, clock[:1])
