"""What there is to see of each task's states: discs to scale, and what the toys' agents claim.

Everything here is plain NumPy; `viewer` draws it. Shapes: M moments (states), N agents.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from . import navigation, push
from .scenario import Scenario
from .toys import CORNERS, CrossedGoals, FollowHolder

# Okabe and Ito's palette, safe for colour-blind eyes.
BLUE, GREEN, ORANGE, RED = "#0072B2", "#009E73", "#E69F00", "#D55E00"
PURPLE, GREY = "#CC79A7", "#7f7f7f"
_AGENT_COLOURS = (BLUE, RED, PURPLE)  # of the toys, where each agent has a goal of its own
_HOME, _HOME_RADIUS, _GOAL_RADIUS = 0.3, 0.12, 0.1  # where toys' agents stand: nowhere, in truth


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
    """Attributes: half_width: of the square arena. discs: the N agents first."""

    half_width: float
    discs: tuple[Disc, ...]
    claims: tuple[Claim, ...] = ()


def scene(
    task: Scenario[Any], states: Any, actions: Float[np.ndarray, "M N 2"] | None = None
) -> Scene:
    """The scene of a task's states, each leaf [M, ...].

    Raises:
        ValueError: for a task of which this module does not know what it looks like.
    """
    if isinstance(task, CrossedGoals):
        places = np.asarray(CORNERS)[np.asarray(states.goal)]
        return _toy(2, {0: places[:, 0], 1: places[:, 1]}, actions)
    if isinstance(task, FollowHolder):
        places = np.asarray(CORNERS)[np.asarray(states.corner)]
        toy = _toy(3, {1: places[:, 0], 2: places[:, 1]}, actions)
        home = np.stack([agent.track for agent in toy.discs[:3]])
        holder = np.asarray(states.holder)
        track = home[holder, np.arange(len(holder))]
        ring = Disc("holder", track, _HOME_RADIUS + 0.05, GREY, Fill.RING)
        return Scene(toy.half_width, (*toy.discs, ring), toy.claims)
    return _world(task, states)


def _world(task: Any, states: Any) -> Scene:
    """Physical tasks, by the fields of their states."""
    if not hasattr(states, "agent_position") or not hasattr(task, "bodies"):
        raise ValueError(f"no picture of {task.name}: its states have no positions")
    radii = list(task.bodies.radius)
    discs: list[Disc] = []

    def add(field: str, role: str, colour: str, fill: Fill, radius: float | None = None) -> None:
        """`radius` is for what physics does not know; bodies take theirs, in physics' order."""
        if not hasattr(states, field):
            return
        tracks = np.asarray(getattr(states, field), float)
        tracks = tracks.reshape(len(tracks), -1, 2)
        for k in range(tracks.shape[1]):
            own = radii.pop(0) if radius is None else radius
            agent = field == "agent_position"
            moves = field not in task.fixed_fields
            discs.append(
                Disc(role, tracks[:, k], own, colour, fill, str(k) if agent else "", moves)
            )

    hunts = hasattr(states, "prey_position")
    add("agent_position", "predator" if hunts else "agent", BLUE, Fill.PALE)
    add("prey_position", "prey", RED, Fill.SOLID)
    add("ball_position", "ball", ORANGE, Fill.SOLID)
    if radii:  # they collide
        add("landmark_position", "obstacle", GREY, Fill.HATCHED)
    else:
        add("landmark_position", "landmark", GREEN, Fill.SOLID, navigation.LANDMARK_RADIUS)
    add("target_position", "target", GREEN, Fill.CROSSED, push.TARGET_RADIUS)
    return Scene(task.half_width, tuple(discs))


def _toy(agents: int, goals: dict[int, NDArray], actions: NDArray | None) -> Scene:
    """Agents stand around the centre, so that edges can be seen; their claims are their actions."""
    moments = len(next(iter(goals.values())))
    turn = (
        np.pi * (0.5 + 2 * np.arange(agents) / agents) if agents > 2 else np.pi * np.array([1, 0])
    )
    homes = _HOME * np.stack([np.cos(turn), np.sin(turn)], axis=-1)

    def still(place: NDArray) -> NDArray:
        return np.broadcast_to(place, (moments, 2))

    discs = [
        Disc("agent", still(homes[i]), _HOME_RADIUS, _AGENT_COLOURS[i], Fill.PALE, str(i))
        for i in range(agents)
    ]
    discs += [
        # In their agents' colours, and of several sizes, for goals may share a corner.
        Disc("goal", goal, _GOAL_RADIUS + 0.03 * i, _AGENT_COLOURS[i], Fill.RING)
        for i, goal in goals.items()
    ]
    claims = (
        []
        if actions is None
        else [Claim(homes[i], actions[:, i], _AGENT_COLOURS[i]) for i in range(agents)]
    )
    return Scene(1.0, tuple(discs), tuple(claims))
