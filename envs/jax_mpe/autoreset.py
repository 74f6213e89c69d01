"""Many environments side by side, each reset when its episode ends."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float
from jumanji.types import TimeStep
from jumanji.wrappers import VmapWrapper

from .scenario import Observation, Scenario


class BatchAutoReset(VmapWrapper):
    """Steps E environments at once and resets those that are done.

    The results are those of jumanji's `VmapAutoResetWrapper`, the cost is not. Under vmap,
    jumanji's per-environment condition becomes a select: every environment draws a new episode at
    every step and throws nearly all of them away. Here the condition is asked once for the whole
    batch, so a step in which no episode ends draws nothing. With episodes that start together, that
    is 24 steps of 25. Do not vmap over `step` again: that would turn the condition back into a
    select.
    """

    _env: Any  # a `Scenario`

    def __init__(self, env: Scenario[Any]) -> None:
        super().__init__(env)

    def step(self, state: Any, action: Float[Array, "E N 2"]) -> tuple[Any, TimeStep[Observation]]:
        """Take one step in each environment.

        Args:
            state: a batch of states, as from `reset`.
            action: one joint action for each environment.

        Returns:
            The states, new episodes included, and the time steps. Where an episode ended, `last()`
            is true, reward and discount are those of its end, and the observation is the first of
            the new episode.
        """
        state, timestep = super().step(state, action)
        done = timestep.last()
        state = jax.lax.cond(
            jnp.any(done), self._reset_where, lambda done, state: state, done, state
        )
        # Observed once, after the resets: the compiler then drops the observation made by `step`.
        view = jax.vmap(self._env.observe)(state)
        return state, replace(timestep, observation=Observation(view, state.step_count))

    def _reset_where(self, done: Bool[Array, " E"], state: Any) -> Any:
        def one(done: Bool[Array, ""], state: Any) -> Any:
            fresh_key, _ = jax.random.split(state.key)  # as jumanji does
            fresh = self._env.initial_state(fresh_key)
            return jax.tree.map(lambda new, old: jnp.where(done, new, old), fresh, state)

        return jax.vmap(one)(done, state)
