"""Scripted experts, which see the whole state, and the scale that they give each task.

`expert(task)` is a controller; `scale("push_N3")` tells the mean returns of uniformly random actions
and of the expert; `normalised_score("push_N3", returns)` is 0 at the one and 1 at the other. A team
that stays near 0 has not learned the task, whatever its method. An expert is no bound: it is what a
careful hand-made controller reaches that knows the physics and, in predator-prey, the prey.
"""

from .lookahead import Controller
from .optima import knowing_optimum, silent_optimum
from .scales import EPISODES, Scale, measure, normalised_score, scale
from .table import expert

__all__ = [
    "EPISODES",
    "Controller",
    "Scale",
    "expert",
    "knowing_optimum",
    "measure",
    "normalised_score",
    "scale",
    "silent_optimum",
]
