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
        states, single = _stacked(self.states)
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


def _stacked(states: Any) -> tuple[Any, bool]:
    """One state whose leaves have a leading axis of moments; and whether a single one was given."""
    if isinstance(states, Sequence):
        if not states:
            raise ValueError("there are no states to draw")
        names = [name for name in vars(states[0]) if name != "key"]  # keys are no NumPy arrays
        stacks = {name: np.stack([np.asarray(getattr(s, name)) for s in states]) for name in names}
        return states[0].replace(**stacks), False
    if np.ndim(states.step_count) == 1:
        return states, False
    if np.ndim(states.step_count) > 1:
        raise ValueError(
            f"these are {np.shape(states.step_count)} states; draw one episode at a time"
        )
    names = [name for name in vars(states) if name != "key"]
    return states.replace(**{name: np.asarray(getattr(states, name))[None] for name in names}), True


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
            f"they should be {(moments, *shape)}, or one less"
        )
    return array
