"""Where an arrow between two of several discs runs. Plain geometry, in units of length."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def arrow(
    centres: NDArray, radii: NDArray, sender: int, receiver: int, both: bool, room: float
) -> NDArray:
    """Start, control point and end [3, 2] of an arrow, a quadratic Bezier curve, from rim to rim.

    With an arrow in each direction, both bend to the left of their way, so that they stay apart; a
    lone one is straight. Either bends more where it would pass behind another agent, if that helps.

    Args:
        centres: of all agents, [N, 2].
        radii: the arrow starts and ends this far from its agents' centres, [N].
        sender: where it starts.
        receiver: where it ends.
        both: whether there is one the other way, too.
        room: what a straight arrow needs between the rims.
    """
    ends = centres[[sender, receiver]], radii[[sender, receiver]]
    bends = (0.25, 0.45, 0.7) if both else (0.0, 0.25, -0.25, 0.5, -0.5)
    ways = [_arc(*ends, bend, room) for bend in bends]
    rest = np.delete(np.arange(len(centres)), [sender, receiver])
    if not 0 < len(rest) < 10:  # alone, or so many that there is no way round
        return ways[0]
    s = np.linspace(0, 1, 17)[:, None]
    basis = np.concatenate([(1 - s) ** 2, 2 * s * (1 - s), s**2], axis=1)

    def clearance(way: NDArray) -> float:
        apart = np.linalg.norm((basis @ way)[:, None] - centres[rest], axis=-1)
        return min(float((apart - radii[rest]).min()), 0.0)

    return max(ways, key=clearance)  # the first of the best, hence the least bent


def _arc(ends: NDArray, radii: NDArray, bend: float, room: float) -> NDArray:
    """An arrow that bends by a share of its length, to the left where that is positive.

    Where less than `room` is left between the rims, it leaves and arrives sideways and passes round.
    """
    along = ends[1] - ends[0]
    distance = float(np.hypot(*along))
    along = along / distance if distance > 0 else np.array([1.0, 0.0])
    side = np.array([-along[1], along[0]]) * (-1 if bend < 0 else 1)
    near = float(np.clip(1 - (distance - radii.sum()) / room, 0, 1))
    angle = np.deg2rad((1 - near) * min(70 * abs(bend), 45) + near * 65)
    first = ends[0] + radii[0] * (np.cos(angle) * along + np.sin(angle) * side)
    last = ends[1] + radii[1] * (-np.cos(angle) * along + np.sin(angle) * side)
    length = float(np.hypot(*(last - first)))
    bulge = max(0.8 * abs(bend) * length, 0.35 * room) if bend else 0.0
    bulge += near * (0.5 * length + 0.4 * room)
    return np.stack([first, (first + last) / 2 + bulge * side, last])


def head(way: NDArray, length: float, half: float) -> NDArray:
    """The triangle [3, 2] at the end of an arrow: its tip, and both ends of its base."""
    along = way[2] - way[1]
    along = along / max(float(np.hypot(*along)), 1e-12)
    side = np.array([-along[1], along[0]])
    base = way[2] - length * along
    return np.stack([way[2], base + half * side, base - half * side])
