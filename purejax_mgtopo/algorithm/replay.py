"""Replay of whole episodes as compact physical states; observations are recomputed when a transition is drawn.

Landmarks and the like are stored once an episode, velocities not at all, as consecutive positions tell them, and
actions as whole numbers on the grid on which they were taken. At N = 3 that is a fifth of what pairs of observations
would take, at N = 6 an eighth.
"""

from __future__ import annotations

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax_mpe.physics import TIME_STEP
from jax_mpe.scenario import Scenario, Snapshot
from jaxtyping import Array, Float, Int, Int16, Key

from purejax_mgtopo.algorithm.edges import random_tape
from purejax_mgtopo.algorithm.kernels.target import platform
from purejax_mgtopo.algorithm.parts import Parts
from purejax_mgtopo.algorithm.types import Both, Trajectory, Window
from purejax_mgtopo.config import LearnerConfig

GRID = 32_767
"""Steps of the grid of actions between 0 and 1: a hundred-thousandth part of the exploration noise."""


def on_grid(action: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    """The nearest action that the replay stores exactly. Taken before the environment sees it, so that what is learned
    from is what was done."""
    return _from_grid(_to_grid(action))


def _to_grid(action: Float[Array, "*batch"]) -> Int16[Array, "*batch"]:
    return jnp.round(action * GRID).astype(jnp.int16)


def _from_grid(stored: Int16[Array, "*batch"]) -> Float[Array, "*batch"]:
    return stored.astype(float) * (1 / GRID)


@flax.struct.dataclass
class ReplayState:
    """C episodes in a ring; the cursor is the shared clock's."""

    moving: Float[Array, "C T+1 P"]
    """The moving part of each state without its velocities."""
    fixed: Float[Array, "C E"]
    action: Int16[Array, "C T N A"]
    """Actions as integers on the grid."""
    reward: Float[Array, "C T"]
    kept: Both
    """What the parts ask for, [C, T, ...]."""


class Replay:
    """The bundle of `init`, `add` and `sample` for one task."""

    def __init__(self, env: Scenario, settings: LearnerConfig, parts: Parts) -> None:
        self.env = env
        self.precision = jnp.dtype(settings.replay_precision)
        self._columns = _Columns(env)
        self.capacity = max(1, settings.replay_transitions // env.horizon)
        self.batch_size = settings.batch_size
        self.n_step = settings.n_step
        self.discount = settings.discount
        self.memory = parts.memory
        self._parts = parts

    def init(self) -> ReplayState:
        """An empty ring; what has not been written yet is never drawn."""
        env = self.env
        state = jax.eval_shape(env.initial_state, jax.random.key(0))
        snapshot = jax.eval_shape(env.compress, state)
        kept = jax.eval_shape(lambda: self._parts.kept(self._parts.initial_carry()))
        shape = (self.capacity, env.horizon)
        return ReplayState(
            moving=jnp.zeros(
                (self.capacity, env.horizon + 1, self._columns.stored), self.precision
            ),
            fixed=jnp.zeros((self.capacity, *snapshot.fixed.shape)),
            action=jnp.zeros((*shape, env.num_agents, env.action_size), jnp.int16),
            reward=jnp.zeros(shape),
            kept=jax.tree.map(lambda x: jnp.zeros((*shape, *x.shape), x.dtype), kept),
        )

    def filled(self, trajectories: Trajectory) -> ReplayState:
        """A ring with the first episodes, which lie along a leading axis."""

        def add(replay: ReplayState, inputs: tuple) -> tuple[ReplayState, None]:
            return self.add(replay, *inputs), None

        count = trajectories.reward.shape[0]
        replay, _ = jax.lax.scan(add, self.init(), (jnp.arange(count), trajectories))
        return replay

    def add(
        self, replay: ReplayState, stored: Int[Array, ""], trajectory: Trajectory
    ) -> ReplayState:
        """Overwrite the oldest episode: one dynamic-update-slice, as `stored` is common to all seeds.

        `stored` is the number of episodes ever added before this one.
        """
        cursor = stored % self.capacity

        def write(ring: Array, row: Array) -> Array:
            update = jax.lax.dynamic_update_index_in_dim
            if platform() == "cpu":
                return update(ring, row, cursor, 0)
            # Flat, because the rows of a vmapped scan lie in memory by steps, then seeds: XLA would turn the rings of
            # all seeds likewise, and back, in a copy of their own.
            return update(ring.reshape(len(ring), -1), row.reshape(-1), cursor, 0).reshape(
                ring.shape
            )

        return ReplayState(
            moving=write(
                replay.moving,
                self._columns.without_velocities(trajectory.moving).astype(self.precision),
            ),
            fixed=write(replay.fixed, trajectory.fixed),
            action=write(replay.action, _to_grid(trajectory.action)),
            reward=write(replay.reward, trajectory.reward),
            kept=jax.tree.map(write, replay.kept, trajectory.kept),
        )

    def sample(self, replay: ReplayState, stored: Int[Array, ""], key: Key[Array, ""]) -> Window:
        """Transitions drawn uniformly, with replacement, each behind its `memory` preceding observations.

        `stored` is the number of episodes ever added, this update's included.
        """
        size = jnp.minimum(stored, self.capacity)
        # One draw for both: on a CPU a draw costs what its rounds do, not its numbers. Rounding cannot reach the
        # bounds: the numbers are below 1 by 2^-23 at least.
        drawn = random_tape(key, (2, self.batch_size))
        episode = (drawn[0] * size).astype(jnp.int32)
        step = (drawn[1] * self.env.horizon).astype(jnp.int32)
        moving, when = self._moving(replay, episode, step)
        inside = jnp.maximum(when, 0)
        reward, discount = self._rewarded(replay.reward[episode], step)
        fixed = jnp.broadcast_to(
            replay.fixed[episode][:, None], (*inside.shape, replay.fixed.shape[-1])
        )
        return Window(
            observation=jax.vmap(jax.vmap(self._observe))(moving, fixed, inside),
            begins=(when <= 0).astype(replay.reward.dtype),
            action=_from_grid(replay.action[episode, step]),
            reward=reward,
            discount=discount,
            kept=jax.tree.map(lambda x: x[episode[:, None], jnp.maximum(when - 1, 0)], replay.kept),
            leading=self.memory + 1,
        )

    def _moving(
        self, replay: ReplayState, episode: Int[Array, " B"], step: Int[Array, " B"]
    ) -> tuple[Float[Array, "B L D"], Int[Array, "B L"]]:
        """The moving parts of a window's states, and at which step each was.

        Windows never reach back past the episode's start: what would lie before it repeats the first state, and
        `begins` has the memory cleared when the real one comes. Nor past its end, which is a time limit.
        """
        # One state more before each: the first one's velocity is the way from there.
        leading = jnp.arange(-self.memory - 1, 1)
        if self.n_step == 1:
            spans = [step[:, None] + jnp.arange(-self.memory - 1, 2)]
        else:
            end = jnp.minimum(step + self.n_step, self.env.horizon)
            spans = [at[:, None] + leading for at in (step, end)]
        moving = [
            self._columns.with_velocities(
                replay.moving[episode[:, None], jnp.maximum(span, 0)].astype(float)
            )
            for span in spans
        ]
        return jnp.concatenate(moving, axis=1), jnp.concatenate(
            [span[:, 1:] for span in spans], axis=1
        )

    def _rewarded(
        self, reward: Float[Array, "B T"], step: Int[Array, " B"]
    ) -> tuple[Float[Array, " B"], Float[Array, " B"]]:
        """The discounted sum of the next `n_step` rewards, as many as there are, and what a value after them counts.

        By rows: to pick single numbers, XLA on a CPU first takes two copies of the ring.
        """
        when = step[:, None] + jnp.arange(self.n_step)
        rewards = jnp.take_along_axis(reward, jnp.minimum(when, self.env.horizon - 1), axis=1)
        if self.n_step == 1:
            return rewards[:, 0], jnp.full_like(rewards[:, 0], self.discount)
        powers = jnp.asarray(self.discount ** np.arange(self.n_step + 1), reward.dtype)
        counted = jnp.where(when < self.env.horizon, powers[:-1] * rewards, 0.0)
        steps = jnp.minimum(self.n_step, self.env.horizon - step)
        return jnp.sum(counted, axis=1), powers[steps]

    def _observe(
        self, moving: Float[Array, " D"], fixed: Float[Array, " E"], step: Int[Array, ""]
    ) -> Float[Array, "N O"]:
        return self.env.observe(self.env.restore(Snapshot(moving, fixed), step))


class _Columns:
    """Which columns of a snapshot's moving part are velocities, and of what."""

    def __init__(self, env: Scenario) -> None:
        shapes = jax.eval_shape(env.initial_state, jax.random.key(0))
        moved_by = dict(env.velocity_fields)
        kept: dict[str, slice] = {}
        at = self.stored = 0
        self._keep: list[slice] = []
        for name in env.moving_fields:
            size = getattr(shapes, name).size
            if name not in moved_by:
                kept[name] = slice(self.stored, self.stored + size)
                self.stored += size
                self._keep.append(slice(at, at + size))
            at += size
        self._parts = [
            (name in moved_by, kept[moved_by.get(name, name)]) for name in env.moving_fields
        ]

    def without_velocities(self, moving: Float[Array, "*batch D"]) -> Float[Array, "*batch P"]:
        return jnp.concatenate([moving[..., part] for part in self._keep], axis=-1)

    def with_velocities(self, kept: Float[Array, "B W P"]) -> Float[Array, "B W-1 D"]:
        """Consecutive states, all but the first, with their velocities.

        Where a state repeats, nothing has moved: at an episode's start.
        """
        now = kept[:, 1:]
        velocity = (now - kept[:, :-1]) / TIME_STEP
        parts = [(velocity if derived else now)[..., part] for derived, part in self._parts]
        return jnp.concatenate(parts, axis=-1)
