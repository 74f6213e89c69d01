"""What the toys share: four corners, distances to them, and how agents without a place are drawn."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from numpy.typing import NDArray

from ..drawables import BLUE, PURPLE, RED, Claim, Disc, Fill, Scene

CORNERS = ((-0.8, -0.8), (-0.8, 0.8), (0.8, -0.8), (0.8, 0.8))
HOME_RADIUS = 0.12
_COLOURS = (BLUE, RED, PURPLE)  # each agent has a goal of its own; of more than three, they return
_HOME, _GOAL_RADIUS = 0.3, 0.1  # where agents stand: nowhere, in truth


def corner(index: Int[Array, "*batch"]) -> Float[Array, "*batch 2"]:
    """Place of the corner with this index, in action units.

    Raises:
        ValueError: in one line, for an index that is known and of no corner; one that a program computes is moved
            to the nearest, as JAX does.
    """
    if not isinstance(index, jax.core.Tracer):
        for one in np.ravel(index):
            if not 0 <= one < len(CORNERS):
                raise ValueError(f"there are corners 0 to {len(CORNERS) - 1}, not {one}")
    return jnp.asarray(CORNERS, float)[index]


def squared(vector: Float[Array, "*batch 2"]) -> Float[Array, "*batch"]:
    """Square of the Euclidean length."""
    return jnp.sum(vector * vector, axis=-1)


def standing(
    agents: int, goals: Mapping[int, NDArray], actions: Float[np.ndarray, "M N 2"] | None
) -> Scene:
    """Agents stand around the centre, so that edges can be seen; their claims are their actions.

    Args:
        agents: how many.
        goals: the corner of each agent that has one, at each moment, [M, 2].
        actions: what they claim, if it is to be seen.
    """
    moments = len(next(iter(goals.values())))
    turn = (
        np.pi * (0.5 + 2 * np.arange(agents) / agents) if agents > 2 else np.pi * np.array([1, 0])
    )
    homes = _HOME * max(1.0, agents / 6) * np.stack([np.cos(turn), np.sin(turn)], axis=-1)

    def still(place: NDArray) -> NDArray:
        return np.broadcast_to(place, (moments, 2))

    discs = [
        Disc("agent", still(homes[i]), HOME_RADIUS, _COLOURS[i % 3], Fill.PALE, str(i))
        for i in range(agents)
    ]
    discs += [
        # In their agents' colours, and of several sizes, for goals may share a corner.
        Disc("goal", goal, _GOAL_RADIUS + 0.03 * i, _COLOURS[i % 3], Fill.RING)
        for i, goal in goals.items()
    ]
    claims = (
        []
        if actions is None
        else [Claim(homes[i], actions[:, i], _COLOURS[i % 3]) for i in range(agents)]
    )
    return Scene(1.0, tuple(discs), tuple(claims))
