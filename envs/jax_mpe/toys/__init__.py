"""Acceptance toys: tiny tasks whose best return with and without messages is known exactly.

An episode is 25 independent rounds. A round is one step, scored on its own, after which everything
is drawn anew; learn them with a discount of 0. Optima are for one round. A round of late goals takes
two steps, one of the switch riddle six.
"""

from .board import CORNERS, corner
from .goals import CrossedGoals, GoalsState, LateGoals, Public
from .holder import FollowHolder, FollowTwo, HolderState
from .riddle import RiddleState, SwitchRiddle

__all__ = [
    "CORNERS",
    "CrossedGoals",
    "FollowHolder",
    "FollowTwo",
    "GoalsState",
    "HolderState",
    "LateGoals",
    "Public",
    "RiddleState",
    "SwitchRiddle",
    "corner",
]
