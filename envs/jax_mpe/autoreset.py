"""Many environments side by side, each reset when its episode ends."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool
from jumanji.types import TimeStep
from jumanji.wrappers import NEXT_OBS_KEY_IN_EXTRAS, VmapWrapper

from .contract.shapes import checked, expect_state
from .scenario import Observation, Scenario


class BatchAutoReset(VmapWrapper):
    """Steps E environments at once and resets those that are done.

    The results are those of jumanji's `VmapAutoResetWrapper` with `next_obs_in_extras`, the cost is
    not. Under vmap, jumanji's per-environment condition becomes a select: every environment draws a
    new episode at every step and throws nearly all of them away. Here the condition is asked once
    for the whole batch, so a step in which no episode ends draws nothing. With episodes that start
    together, that is 24 steps of 25. Do not vmap over `step` again: that would turn the condition
    back into a select.
    """

    _env: Any  # a `Scenario`

    def __init__(self, env: Scenario[Any]) -> None:
        super().__init__(env)

    def reset(self, key: Array) -> tuple[Any, TimeStep[Observation]]:
        """Start an episode in each environment; of the keys, there is one for each.

        Raises:
            ValueError: in one line, for a single key.
        """
        typed = jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
        if key.ndim != (1 if typed else 2):
            raise ValueError(
                f"{self._env.name}: the keys have shape {key.shape}; pass one for each environment, "
                "as `jax.random.split(key, environments)` gives them"
            )
        state, timestep = super().reset(key)
        return state, _keep(timestep)

    def step(self, state: Any, action: ArrayLike) -> tuple[Any, TimeStep[Observation]]:
        """Take one step in each environment.

        Args:
            state: a batch of states, as from `reset`.
            action: one joint action for each environment, [E, N, 2].

        Returns:
            The states, new episodes included, and the time steps. Where an episode ended, `last()`
            is true, reward and discount are those of its end, and the observation is the first of
            the new episode. `extras["next_obs"]` is what the step led to: there it is the
            observation in which the episode was cut off, from which to bootstrap, and elsewhere the
            observation itself.

        Raises:
            ValueError: in one line, for actions of another shape, a state of another task, or a single state.
        """
        env = self._env
        batch = np.shape(getattr(state, "step_count", ()))[:1]
        if not batch:
            raise ValueError(f"{env.name}: this is a single state; pass a batch, as from `reset`")
        expect_state(env.name, state, env.state_shapes, batch)
        shape = (*batch, env.num_agents, env.action_size)
        action = checked(f"{env.name}: the batch of joint actions", action, shape)
        state, timestep = super().step(state, action)
        timestep, done = _keep(timestep), timestep.last()
        state = jax.lax.cond(
            jnp.any(done), self._reset_where, lambda done, state: state, done, state
        )
        # Observed once more, after the resets: the compiler drops the one made by `step` where nobody
        # reads `next_obs`, which handing it through `cond` would forbid.
        view = jax.vmap(self._env.observe)(state)
        return state, replace(timestep, observation=Observation(view, state.step_count))

    def _reset_where(self, done: Bool[Array, " E"], state: Any) -> Any:
        def one(done: Bool[Array, ""], state: Any) -> Any:
            fresh_key, _ = jax.random.split(state.key)  # as jumanji does
            fresh = self._env.initial_state(fresh_key)
            return jax.tree.map(lambda new, old: jnp.where(done, new, old), fresh, state)

        return jax.vmap(one)(done, state)


def _keep(timestep: TimeStep[Observation]) -> TimeStep[Observation]:
    """The time step with its observation where a reset does not reach it."""
    return replace(timestep, extras={NEXT_OBS_KEY_IN_EXTRAS: timestep.observation})
