"""An expert of push: go behind the ball, then push it to its target."""

from __future__ import annotations

import itertools

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..physics import norm
from ..push import ACCELERATION, BALL_RADIUS, Push, PushState
from .lookahead import Controller, lookahead
from .steering import approach

# Angle over which agents spread behind the ball, room that they leave on their way round it, and
# seconds of the ball's motion that they allow for.
_STYLES = np.array([*itertools.product((0.3, 0.9, 1.6, 2.6), (0.01, 0.05, 0.12), (0.1, 0.2, 0.4))])
_TURN = 1.0  # radians round the ball for which an agent aims at a time
_BEHIND = 1.2  # radians from its place within which an agent pushes


def push(task: Push, steps: int = 14) -> Controller:
    """Agents share out places behind the ball, go round it to get there, and push.

    Compared are 36 styles, by playing 14 steps forward.
    """
    reach = BALL_RADIUS + task.agent_radius

    def act(state: PushState, style: Float[Array, " 3"]) -> Float[Array, "N 2"]:
        spread, room, slowing = style
        want = state.target_position - state.ball_position - slowing * state.ball_velocity
        length = norm(want)
        ahead = want / jnp.where(length > 0, length, 1.0)
        aside = jnp.stack([-ahead[1], ahead[0]])
        own = state.agent_position - state.ball_position
        angle = jnp.arctan2(own @ -aside, own @ -ahead)  # 0 right behind the ball
        rank = jnp.sum(angle[None] < angle[:, None], axis=1)
        place = spread * (rank / (task.num_agents - 1) - 0.5)
        off = angle - place

        def around(
            angle: Float[Array, " N"], radius: Float[Array, ""] | float
        ) -> Float[Array, "N 2"]:
            way = -jnp.cos(angle)[:, None] * ahead - jnp.sin(angle)[:, None] * aside
            return radius * way - own

        moving = state.agent_velocity - state.ball_velocity
        waypoint = around(angle - jnp.clip(off, -_TURN, _TURN), reach + room)
        walk = approach(waypoint, moving, ACCELERATION)
        force = jnp.clip(length / 0.05, 0.0, 1.0) / jnp.max(jnp.abs(ahead) + 1e-6)
        shove = force * ahead + 3.0 * around(place, reach - 0.02)
        behind = (jnp.abs(off) < _BEHIND) & (norm(own) < reach + 0.15)
        return jnp.where(behind[:, None], shove, walk)

    return lookahead(task, lambda state: jnp.asarray(_STYLES, float), act, steps)
