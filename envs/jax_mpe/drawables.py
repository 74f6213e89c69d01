"""What scenes are made of: discs to scale, and places that agents name. Plain NumPy.

A task says what there is to see of its states (`Scenario.scene`), in these words; `viewer` draws it.
Nothing here knows any task. Shapes: M moments (states), N agents.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

# Okabe and Ito's palette, safe for colour-blind eyes.
BLUE, GREEN, ORANGE, RED = "#0072B2", "#009E73", "#E69F00", "#D55E00"
PURPLE, SKY, GREY = "#CC79A7", "#56B4E9", "#7f7f7f"


class Fill(enum.Enum):
    """How a disc is filled; repeats in shape what its colour says."""

    PALE = "a light tint, room for a label"
    SOLID = "its colour"
    HATCHED = "hatched: in the way, and fixed"
    CROSSED = "an empty ring with a cross: a place, not a body"
    RING = "an empty ring"


@dataclass(frozen=True)
class Disc:
    """A round body, or a round place.

    Attributes:
        role: what the legend calls it; "" keeps it out of the legend.
        track: its centre at each moment, [M, 2].
        radius: in units of length.
        label: stands inside or beside it.
        trail: whether the way that it came is drawn.
    """

    role: str
    track: NDArray
    radius: float
    colour: str
    fill: Fill
    label: str = ""
    trail: bool = False


@dataclass(frozen=True)
class Claim:
    """A place that a toy's agent names by its action: a cross, tied to the agent by a thin line.

    Attributes: origin: of the line, [2]. track: the place at each moment, [M', 2].
    """

    origin: NDArray
    track: NDArray
    colour: str


@dataclass(frozen=True)
class Scene:
    """What is to be drawn.

    Attributes: half_width: of the square arena. discs: the N agents first.
    """

    half_width: float
    discs: tuple[Disc, ...]
    claims: tuple[Claim, ...] = ()


@runtime_checkable
class Drawable(Protocol):
    """What a task must tell to be drawn; every `Scenario` does."""

    @property
    def name(self) -> str:
        """The task's name."""
        ...

    @property
    def num_agents(self) -> int:
        """Number N of agents."""
        ...

    @property
    def horizon(self) -> int:
        """Steps in an episode."""
        ...

    @property
    def state_shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Shape of each array of a state, by the name of its field."""
        ...

    def scene(self, states: Any, actions: Any = None) -> Scene:
        """What is to be seen of consecutive states, [M, ...] each, and of the actions between them."""
        ...


def bodies(
    role: str,
    places: Any,
    radii: Sequence[float],
    colour: str,
    fill: Fill,
    *,
    numbered: bool = False,
    trail: bool = False,
) -> tuple[Disc, ...]:
    """Discs of one kind.

    Args:
        role: what the legend calls them.
        places: their centres at each moment, [M, K, 2], or [M, 2] for a single one.
        radii: one for each.
        colour: of all.
        fill: of all.
        numbered: whether their indices stand in them.
        trail: whether the ways that they came are drawn.
    """
    tracks = np.asarray(places, float)
    tracks = tracks.reshape(len(tracks), -1, 2)
    return tuple(
        Disc(role, tracks[:, k], radius, colour, fill, str(k) if numbered else "", trail)
        for k, radius in enumerate(radii)
    )


def scene(task: Drawable, states: Any, actions: Float[np.ndarray, "M N 2"] | None = None) -> Scene:
    """The scene of a task's states, each leaf [M, ...]; `task.scene` as a function.

    Raises:
        ValueError: for a task that does not say what it looks like.
    """
    return task.scene(states, actions)
