"""How an expert moves a body: to a place as fast as its force allows, and clear of others."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ..physics import DAMPING, TIME_STEP, norm

KEEP = 1 - DAMPING  # share of the velocity that a step leaves
_BRAKING = 8  # steps of braking that are looked at; none of our bodies needs more
_EXACT = 6  # agents up to which all assignments are compared: 720


def approach(
    displacement: Float[Array, "*batch 2"],
    velocity: Float[Array, "*batch 2"],
    acceleration: float,
    weight: float = 1.0,
) -> Float[Array, "*batch 2"]:
    """The action that reaches a place soonest without passing it, on each axis by itself.

    After k steps of braking at full force from speed v, a body has gone a distance that is linear in
    v; the largest speed from which it still stops in time is the least of these lines' inverses.

    Args:
        displacement: of the place from the body.
        velocity: of the body, relative to the place.
        acceleration: of the body at an action of 1.
        weight: below 1, the speed is that share of what could still be stopped.
    """
    gain = acceleration * TIME_STEP
    shares = KEEP ** np.arange(_BRAKING)  # of v, in the speeds after k steps
    lost = np.concatenate([[0.0], gain * np.cumsum(shares)[:-1]])
    slope, offset = np.cumsum(shares), np.cumsum(lost)
    away = jnp.abs(displacement)[..., None] / TIME_STEP
    fastest = jnp.min((away + jnp.asarray(offset)) / jnp.asarray(slope), axis=-1)
    wanted = weight * jnp.sign(displacement) * fastest
    return jnp.clip((wanted - KEEP * velocity) / gain, -1.0, 1.0)


def assignments(cost: Float[Array, "N N"], count: int) -> Int[Array, "count N"]:
    """Columns for the rows, the cheapest assignments first; for many rows, `count` times a greedy one.

    Greedy takes the cheapest pair of those left, again and again.
    """
    size = len(cost)
    if size <= _EXACT:
        orders = np.array(list(itertools.permutations(range(size))))
        total = sum((cost[i, orders[:, i]] for i in range(size)), jnp.zeros(len(orders)))
        best = jax.lax.top_k(-total, min(count, len(orders)))[1]
        found = jnp.asarray(orders)[best]
        return jnp.concatenate([found, jnp.tile(found[:1], (count - len(found), 1))])

    def take(
        _: Array, carry: tuple[Float[Array, "N N"], Int[Array, " N"]]
    ) -> tuple[Float[Array, "N N"], Int[Array, " N"]]:
        left, chosen = carry
        row, column = jnp.divmod(jnp.argmin(left), size)
        return left.at[row].set(jnp.inf).at[:, column].set(jnp.inf), chosen.at[row].set(column)

    chosen = jax.lax.fori_loop(0, size, take, (cost, jnp.zeros(size, int)))[1]
    return jnp.tile(chosen, (count, 1))


def apart(places: Float[Array, "N 2"], reach: float, rounds: int = 12) -> Float[Array, "N 2"]:
    """The places, moved as little as it takes until no two are nearer than `reach`."""

    def push(_: Array, places: Float[Array, "N 2"]) -> Float[Array, "N 2"]:
        gap = places[:, None] - places[None]
        distance = norm(gap)
        overlap = jnp.where(distance > 0, jnp.maximum(reach - distance, 0.0), 0.0)
        direction = gap / jnp.where(distance > 0, distance, 1.0)[..., None]
        return places + 0.5 * jnp.sum(overlap[..., None] * direction, axis=1)

    return jax.lax.fori_loop(0, rounds, push, places)


def avoid(
    action: Float[Array, "N 2"],
    position: Float[Array, "N 2"],
    velocity: Float[Array, "N 2"],
    acceleration: float,
    reach: Float[Array, ""] | float,
    ahead: Float[Array, ""] | float,
    turn: Float[Array, ""] | float,
    gain: float = 8.0,
) -> Float[Array, "N 2"]:
    """The actions, changed where two agents are about to come nearer to each other than `reach`.

    Args:
        action: what the agents would do if they were alone.
        position: of the agents.
        velocity: of the agents.
        acceleration: at an action of 1.
        reach: the distance to keep.
        ahead: seconds of motion that are looked ahead, beyond the next step.
        turn: how far the agents step aside as well, to their left where positive.
        gain: the action for one unit of length too near.
    """
    moved = KEEP * velocity + acceleration * TIME_STEP * action
    future = position + (TIME_STEP + ahead) * moved
    gap = future[:, None] - future[None]
    distance = norm(gap)
    near = jnp.maximum(reach - distance, 0.0) * (1 - jnp.eye(len(position)))
    direction = gap / jnp.where(distance > 0, distance, 1.0)[..., None]
    aside = jnp.stack([-direction[..., 1], direction[..., 0]], axis=-1)
    push = jnp.sum(near[..., None] * (direction + turn * aside), axis=1)
    return jnp.clip(action + gain * push, -1.0, 1.0)
