"""Both ends of the reference task: the best returns of teams that are silent, or that know all."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..contract.shapes import expect_states
from ..physics import norm
from ..reference import Reference, ReferenceState

_ROUNDS = 800
_RATE = 0.2  # of the first round; it falls to 0


def silent_optimum(task: Reference, states: ReferenceState) -> Float[Array, " E"]:
    """The return that the best team without messages expects in each of these episodes.

    Nobody learns anything of its own target, which is as likely to be any landmark, and no news
    arrives on the way: a sequence of actions chosen at the start is as good as any policy.

    Args:
        task: whose episodes these are.
        states: their first states, each leaf with a leading axis of E.
    """

    def cost(state: ReferenceState) -> Float[Array, ""]:
        return jnp.mean(norm(state.agent_position[:, None] - state.landmark_position[None]))

    return _open_loop(task, states, cost)


def knowing_optimum(task: Reference, states: ReferenceState) -> Float[Array, " E"]:
    """The best return in each of these episodes if everybody knows their target from the start."""

    def cost(state: ReferenceState) -> Float[Array, ""]:
        return jnp.mean(norm(state.agent_position - state.landmark_position[state.target]))

    return _open_loop(task, states, cost)


def _open_loop(
    task: Reference, states: ReferenceState, cost: Callable[[ReferenceState], Float[Array, ""]]
) -> Float[Array, " E"]:
    """Minus the least sum of costs, by projected gradient (Adam) on all actions of an episode.

    Places are linear in the actions and a distance is convex, so there is one minimum.
    """

    def total(actions: Float[Array, "T N 2"], start: ReferenceState) -> Float[Array, ""]:
        def step(state: ReferenceState, action: Array) -> tuple[ReferenceState, Array]:
            state = task.advance(state, action)
            return state, cost(state)

        return jnp.sum(jax.lax.scan(step, start, actions)[1])

    def one(start: ReferenceState) -> Float[Array, ""]:
        def improve(k: Array, carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
            actions, first, second = carry
            slope = jax.grad(total)(actions, start)
            first, second = 0.9 * first + 0.1 * slope, 0.99 * second + 0.01 * slope**2
            unbiased = first / (1 - 0.9 ** (k + 1)), second / (1 - 0.99 ** (k + 1))
            change = unbiased[0] / (jnp.sqrt(unbiased[1]) + 1e-8)
            rate = _RATE * (1 - k / _ROUNDS)
            return jnp.clip(actions - rate * change, -1.0, 1.0), first, second

        still = jnp.zeros((task.horizon, task.num_agents, 2), float)
        actions = jax.lax.fori_loop(0, _ROUNDS, improve, (still, still, still))[0]
        return -total(actions, start)

    expect_states(task.name, states, task.state_shapes)
    return jax.jit(jax.vmap(one))(states)
