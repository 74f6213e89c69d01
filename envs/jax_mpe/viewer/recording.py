"""What is known of an episode, as its user has it and as the viewer reads it. Plain NumPy.

Shapes: M moments (states), N agents.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..drawables import Drawable


@dataclass(frozen=True)
class Recording:
    """What there is to draw of an episode; entry t of each part belongs to the step from state t.

    Attributes:
        states: M states in a sequence, or in one state with a leading axis; or a single state.
        edges: [M or M - 1, N, N] masks ([N, N] for a single state); 1 at [i, j] where agent i
            receives from j, drawn as an arrow from j to i.
        actions: [M or M - 1, N, 2] ([N, 2] for a single state); only toys draw them.
        rewards: [M or M - 1] ([] for a single state), the team's.
        title: stands in the corner; by default the task's name.
    """

    states: Any
    edges: Any = None
    actions: Any = None
    rewards: Any = None
    title: str | None = None

    def checked(self, task: Drawable) -> Recording:
        """The same as arrays that all have a leading axis of moments.

        Raises:
            ValueError: in one line, for a part that fits neither the states nor the task.
        """
        states, single = _stacked(self.states, task)
        moments, num_agents = len(states.step_count), task.num_agents

        def part(name: str, *shape: int) -> NDArray | None:
            return _part(name, getattr(self, name), shape, moments, single)

        return dataclasses.replace(
            self,
            states=states,
            edges=part("edges", num_agents, num_agents),
            actions=part("actions", num_agents, 2),
            rewards=part("rewards"),
        )


def _stacked(states: Any, task: Drawable) -> tuple[Any, bool]:
    """One state whose leaves have a leading axis of moments; and whether a single one was given."""
    sequence = isinstance(states, Sequence)
    if sequence and not states:
        raise ValueError("there are no states to draw")
    parts = list(states) if sequence else [states]
    for name in task.state_shapes:
        if any(not hasattr(part, name) for part in parts):
            raise ValueError(f"these are no states of {task.name}: they have no {name}")
    clock = np.shape(states[0].step_count if sequence else states.step_count)
    if len(clock) > (0 if sequence else 1):
        raise ValueError(f"these are {clock} states; draw one episode at a time")

    def leaf(name: str, shape: tuple[int, ...]) -> NDArray:
        arrays = [np.asarray(getattr(part, name)) for part in parts]
        for array in arrays:
            if array.shape != (*clock, *shape):
                raise ValueError(
                    f"{name} of shape {array.shape} is none of {task.name}: "
                    f"it should have {(*clock, *shape)}"
                )
        return arrays[0] if clock else np.stack(arrays)

    leaves = {name: leaf(name, shape) for name, shape in task.state_shapes.items()}
    return parts[0].replace(**leaves), not (sequence or clock)


def _part(
    name: str, value: Any, shape: tuple[int, ...], moments: int, single: bool
) -> NDArray | None:
    if value is None:
        return None
    array = np.asarray(value, float)
    array = array[None] if single and array.shape == shape else array
    if array.ndim == 0 or array.shape[1:] != shape or len(array) not in (moments, moments - 1):
        raise ValueError(
            f"{name} of shape {np.shape(value)} do not fit {moments} states; "
            f"they should be {shape if single else (moments, *shape)}"
            + ("" if single else ", or one less")
        )
    return array
