"""Acceptance toys: tiny tasks whose best return with and without messages is known exactly.

An episode is 25 independent rounds. A round is one step, scored on its own, after which everything
is drawn anew; learn them with a discount of 0. Optima are for one round.
"""

from .board import CORNERS, corner
from .goals import CrossedGoals, GoalsState, Public
from .holder import FollowHolder, HolderState

__all__ = [
    "CORNERS",
    "CrossedGoals",
    "FollowHolder",
    "GoalsState",
    "HolderState",
    "Public",
    "corner",
]
