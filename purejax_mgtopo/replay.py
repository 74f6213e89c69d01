"""Replay of whole episodes as compact physical states; observations are recomputed when a transition is drawn.

Landmarks and the like are stored once an episode. At N = 6 that is eight times smaller than pairs of observations.
"""

from __future__ import annotations

import flax.struct
import jax
import jax.numpy as jnp
from jax_mpe.scenario import Scenario, Snapshot
from jaxtyping import Array, Float, Int, Key

from purejax_mgtopo.types import Trajectory, Window


@flax.struct.dataclass
class ReplayState:
    """C episodes in a ring; the cursor is the shared clock's."""

    moving: Float[Array, "C T+1 D"]
    fixed: Float[Array, "C E"]
    action: Float[Array, "C T N A"]
    reward: Float[Array, "C T"]


class Replay:
    """The bundle of `init`, `add` and `sample` for one task."""

    def __init__(self, env: Scenario, transitions: int, batch_size: int, memory: int) -> None:
        self.env = env
        self.capacity = max(1, transitions // env.horizon)
        self.batch_size = batch_size
        self.memory = memory

    def init(self) -> ReplayState:
        """An empty ring; what has not been written yet is never drawn."""
        env = self.env
        state = jax.eval_shape(env.initial_state, jax.random.key(0))
        snapshot = jax.eval_shape(env.compress, state)
        shape = (self.capacity, env.horizon)
        return ReplayState(
            moving=jnp.zeros((self.capacity, env.horizon + 1, *snapshot.moving.shape)),
            fixed=jnp.zeros((self.capacity, *snapshot.fixed.shape)),
            action=jnp.zeros((*shape, env.num_agents, env.action_size)),
            reward=jnp.zeros(shape),
        )

    def add(
        self, replay: ReplayState, stored: Int[Array, ""], trajectory: Trajectory
    ) -> ReplayState:
        """Overwrite the oldest episode: one dynamic-update-slice, as `stored` is common to all seeds.

        `stored` is the number of episodes ever added before this one.
        """
        cursor = stored % self.capacity

        def write(ring: Array, row: Array) -> Array:
            return jax.lax.dynamic_update_index_in_dim(ring, row, cursor, 0)

        return ReplayState(
            moving=write(replay.moving, trajectory.moving),
            fixed=write(replay.fixed, trajectory.fixed),
            action=write(replay.action, trajectory.action),
            reward=write(replay.reward, trajectory.reward),
        )

    def sample(self, replay: ReplayState, stored: Int[Array, ""], key: Key[Array, ""]) -> Window:
        """Transitions drawn uniformly, with replacement, each behind its `memory` preceding observations.

        `stored` is the number of episodes ever added, this update's included.
        """
        episode_key, step_key = jax.random.split(key)
        size = jnp.minimum(stored, self.capacity)
        episode = jax.random.randint(episode_key, (self.batch_size,), 0, size)
        step = jax.random.randint(step_key, (self.batch_size,), 0, self.env.horizon)
        # Windows end at o' and never reach back past the episode's start: what would lie before it repeats the
        # first observation, and `begins` has the memory cleared when the real one comes.
        when = step[:, None] + jnp.arange(-self.memory, 2)
        inside = jnp.maximum(when, 0)
        moving = replay.moving[episode[:, None], inside]
        fixed = jnp.broadcast_to(
            replay.fixed[episode][:, None], (*inside.shape, replay.fixed.shape[-1])
        )
        return Window(
            observation=jax.vmap(jax.vmap(self._observe))(moving, fixed, inside),
            begins=(when <= 0).astype(replay.reward.dtype),
            action=replay.action[episode, step],
            reward=replay.reward[episode, step],
        )

    def _observe(
        self, moving: Float[Array, " D"], fixed: Float[Array, " E"], step: Int[Array, ""]
    ) -> Float[Array, "N O"]:
        return self.env.observe(self.env.restore(Snapshot(moving, fixed), step))
