"""Choose among scripted plans by playing each of them forward."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..scenario import Scenario

Controller = Callable[[Any], Float[Array, "N 2"]]


def lookahead(
    task: Scenario[Any],
    plans: Callable[[Any], Any],
    act: Callable[[Any, Any], Float[Array, "N 2"]],
    steps: int,
) -> Controller:
    """A controller that follows, at each step, the plan of which it expects the most.

    The expectation is a simulation of the task itself, prey included, up to the end of the episode
    and no further. Its random numbers are not those of the episode: nobody knows these beforehand.

    Args:
        task: whose states it reads.
        plans: of a state, K of them in one tree whose leaves have a leading axis.
        act: what the agents do in a state under one plan.
        steps: how far plans are played forward.
    """

    def control(state: Any) -> Float[Array, "N 2"]:
        chosen = plans(state)
        start = state.replace(key=jax.random.key(0)) if steps else state

        def value(plan: Any) -> Float[Array, ""]:
            def step(now: Any, k: Array) -> tuple[Any, Array]:
                action = jnp.clip(act(now, plan), -1.0, 1.0)
                after = task.advance(now, action)
                counts = state.step_count + k < task.horizon
                return after, jnp.where(counts, task.reward(now, action, after), 0.0)

            return jnp.sum(jax.lax.scan(step, start, jnp.arange(steps))[1])

        best = jnp.argmax(jax.vmap(value)(chosen))
        return jnp.clip(act(state, jax.tree.map(lambda leaf: leaf[best], chosen)), -1.0, 1.0)

    return control
