"""An expert of navigation: share out the landmarks, and keep clear of one another on the way."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..navigation import ACCELERATION, AGENT_RADIUS, Navigation, NavigationState
from ..physics import norm
from .lookahead import Controller, lookahead
from .steering import apart, approach, assignments, avoid

_SHARES = 3  # assignments that are compared
_CLEAR = 2 * AGENT_RADIUS + 0.01  # distance that is kept
# Seconds of looking ahead, and how far agents step aside.
_WAYS = np.array([*itertools.product((0.05, 0.15), (-0.7, 0.0, 0.7)), (0.3, 0.4)])


class _Plan(NamedTuple):
    goal: Float[Array, "N 2"]
    way: Float[Array, " 2"]


def navigation(task: Navigation, steps: int = 12) -> Controller:
    """Each agent heads for a landmark of its own, by the cheapest assignment up to N = 6.

    Compared are the three cheapest assignments (beyond N = 6 a greedy one) and seven ways to give
    way, by playing 12 steps forward. Landmarks nearer to each other than two agents' radii get agents
    side by side.
    """

    def plans(state: NavigationState) -> _Plan:
        landmark = state.landmark_position
        cost = norm(state.agent_position[:, None] - landmark[None])
        shares = _SHARES if task.num_agents <= 6 else 1
        goals = jax.vmap(lambda order: apart(landmark[order], _CLEAR + 0.01))(
            assignments(cost, shares)
        )
        ways = jnp.asarray(_WAYS, goals.dtype)
        return _Plan(jnp.repeat(goals, len(ways), axis=0), jnp.tile(ways, (shares, 1)))

    def act(state: NavigationState, plan: _Plan) -> Float[Array, "N 2"]:
        alone = approach(plan.goal - state.agent_position, state.agent_velocity, ACCELERATION)
        return avoid(
            alone,
            state.agent_position,
            state.agent_velocity,
            ACCELERATION,
            _CLEAR,
            plan.way[0],
            plan.way[1],
        )

    return lookahead(task, plans, act, steps)
