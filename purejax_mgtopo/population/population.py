"""Many seeds in one XLA program: the single-seed algorithm, batched along a pluggable seed axis, over all devices.

A *lane* is a seed inside the program. Every device holds the same number of lanes; no device talks to another, and
with several processes (hosts) each hears from its own lanes only. How a device batches its lanes: see `seed_axis`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Bool
from numpy.typing import NDArray

from purejax_mgtopo.algorithm.algorithm import Algorithm, LearnerState, UpdateMetrics
from purejax_mgtopo.algorithm.evaluate import EvaluationMetrics, evaluate
from purejax_mgtopo.algorithm.types import Clock
from purejax_mgtopo.config import Config
from purejax_mgtopo.machine.compiler import compiler_options, matmul_precision
from purejax_mgtopo.population.lanes import devices_for, lanes_together, over_lanes
from purejax_mgtopo.population.waves import Wave, split_into_waves

LANES = PartitionSpec("seed")
SHARED = PartitionSpec()


@flax.struct.dataclass
class LaneState:
    """One seed inside the program."""

    seed: LearnerState
    alive: Bool[Array, ""]
    """All parameters have been finite numbers so far. Once they are not, those of the chunk before stay for good."""
    tally: UpdateMetrics
    """Sums, over the chunks since the last evaluation, of the chunks' means."""


@flax.struct.dataclass
class PopulationState:
    """All lanes, and the clock that they share: everything that a run needs to go on."""

    clock: Clock
    lanes: LaneState
    """Every leaf with a leading axis of lanes, sharded over the devices."""

    @property
    def seeds(self) -> LearnerState:
        """The learners, each leaf with a leading axis of lanes."""
        return self.lanes.seed


@flax.struct.dataclass
class LaneReport:
    """What one seed tells after a chunk."""

    training: UpdateMetrics
    """Means over the chunk."""
    since_evaluation: UpdateMetrics
    """Means over the chunks since the last evaluation, this one included."""
    evaluation: EvaluationMetrics
    """NaN where the chunk held none."""
    finite: Bool[Array, ""]
    """The seed is alive: it is not frozen for having left the finite numbers."""


@dataclass(frozen=True)
class ChunkReport:
    """What a process hears after a chunk about its own seeds: NumPy arrays [S, ...], by metric."""

    episode: int
    env_steps: int
    seeds: NDArray[np.int64]
    """[S] their numbers, ascending."""
    training: Mapping[str, NDArray]
    """Means over this chunk."""
    since_evaluation: Mapping[str, NDArray] | None
    """Means over all chunks since the evaluation before; None where `evaluation` is."""
    evaluation: Mapping[str, NDArray] | None
    finite: NDArray


class Population:
    """The training program of a configuration: `init` a wave of seeds, then `advance` it chunk by chunk.

    Args:
        lanes: seeds in the program at a time; by default all. Rounded up to a multiple of what the devices and
            micro-batches need: the rest are idle lanes, which compute and are not reported.
        devices: what shares the lanes, in place of what the configuration says.
    """

    def __init__(
        self,
        config: Config,
        lanes: int | None = None,
        devices: Sequence[jax.Device] | None = None,
    ) -> None:
        experiment = config.experiment
        wanted = min(lanes or experiment.seeds, experiment.seeds)
        self.config = replace(config, means=replace(config.means, lanes=wanted))
        self.algorithm = Algorithm(experiment)
        self.waves = split_into_waves(experiment, wanted)
        self.mesh = _mesh(devices_for(config.means, wanted) if devices is None else devices)
        batch = lanes_together(config.means, -(-wanted // self.mesh.size))
        self.lanes_per_device = -(-wanted // (self.mesh.size * batch)) * batch
        self.lanes = self.mesh.size * self.lanes_per_device
        self._init = self._program(over_lanes(self._init_lane, batch), (LANES,), LANES)
        self._advance = self._program(
            lambda lanes, clock: over_lanes(
                partial(self._advance_lane, clock=clock), batch, in_place=True
            )(lanes),
            (LANES, SHARED),
            (LANES, LANES),
            donate=(0,),
        )

    def init(self, wave: Wave | None = None) -> PopulationState:
        """Create the seeds of a wave (by default the first) and play their warm-up."""
        first = (wave or self.waves[0]).first_seed
        with matmul_precision(self.config.means.precision):
            lanes = self._init(self._keys(first))
        return PopulationState(clock=self._shared(self.algorithm.start_clock()), lanes=lanes)

    def advance(
        self, state: PopulationState, wave: Wave | None = None
    ) -> tuple[PopulationState, ChunkReport]:
        """Train every seed for one chunk of episodes; `state` is used up."""
        with matmul_precision(self.config.means.precision):
            lanes, told = self._advance(state.lanes, state.clock)
        # Counted here: adding two numbers on the device would be one more program.
        clock = jax.tree.map(np.asarray, state.clock).advanced(
            self.config.experiment.chunk_episodes
        )
        report = self._report(told, int(clock.episode), wave or self.waves[0])
        return PopulationState(clock=self._shared(clock), lanes=lanes), report

    def abstract(self) -> PopulationState:
        """Shapes, types and shardings of a state; nothing is computed."""
        seeds = jax.ShapeDtypeStruct((self.lanes,), np.uint32)
        shape = jax.eval_shape(self._init, jax.eval_shape(jax.vmap(jax.random.key), seeds))
        clock = jax.eval_shape(self.algorithm.start_clock)

        def placed(tree: Any, spec: PartitionSpec) -> Any:
            sharding = NamedSharding(self.mesh, spec)
            return jax.tree.map(
                lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree
            )

        return PopulationState(clock=placed(clock, SHARED), lanes=placed(shape, LANES))

    def compiled(self, state: PopulationState) -> Any:
        """The chunk's program, compiled for `state` (arrays or shapes) but not run: for its text, memory and cost."""
        with matmul_precision(self.config.means.precision):
            return self._advance.lower(state.lanes, state.clock).compile()

    def _init_lane(self, key: Array) -> LaneState:
        seed = self.algorithm.init(key)
        return LaneState(seed=seed, alive=jnp.ones((), bool), tally=UpdateMetrics.zeros())

    def _advance_lane(self, lane: LaneState, clock: Clock) -> tuple[LaneState, LaneReport]:
        """One seed, one chunk: the whole of training that is not the host's."""
        config = self.config.experiment

        def iterate(carry: tuple, _: None) -> tuple:
            seed, clock = carry
            seed, metrics = self.algorithm.iterate(seed, clock)
            return (seed, clock.advanced(config.updates_per_iteration)), metrics

        metrics: UpdateMetrics
        (seed, clock), metrics = jax.lax.scan(
            iterate, (lane.seed, clock), length=config.iterations_per_chunk
        )
        # Asked once, because parameters that are not finite stay so: asking means a pass over all that is learned.
        alive = lane.alive & _all_finite((seed.learner, seed.rule))
        seed = _frozen_unless(alive, lane.seed, seed)
        training = jax.tree.map(partial(jnp.mean, axis=0), metrics)
        tally = jax.tree.map(jnp.add, lane.tally, training)
        every = config.evaluation.every
        chunks = ((clock.episode - 1) % every + 1) // config.chunk_episodes
        evaluates = self._evaluates(clock.episode)
        evaluation = jax.lax.cond(  # the clock is common to all lanes, so this stays a branch
            evaluates,
            partial(evaluate, self.algorithm),
            lambda _: EvaluationMetrics.absent(self.algorithm.env.num_agents),
            seed,
        )
        report = LaneReport(
            training, jax.tree.map(lambda x: x / chunks, tally), evaluation, finite=alive
        )
        tally = jax.tree.map(lambda x: jnp.where(evaluates, jnp.zeros_like(x), x), tally)
        return LaneState(seed, alive, tally), report

    def _evaluates(self, episode: Any) -> Any:
        """Every so often, and after the last chunk."""
        experiment = self.config.experiment
        return (episode % experiment.evaluation.every == 0) | (episode >= experiment.episodes)

    def _report(self, told: LaneReport, episode: int, wave: Wave) -> ChunkReport:
        """`told` without idle lanes; of several processes, this one's part."""
        lanes = _local(told.finite, lambda shard: np.arange(self.lanes)[shard.index])
        ours = lanes < wave.seeds
        local = jax.tree.map(lambda x: _local(x, lambda s: np.asarray(s.data))[ours], told)
        evaluates = self._evaluates(episode)
        warmup = self.config.experiment.learner.warmup_episodes
        return ChunkReport(
            episode=episode,
            env_steps=(warmup + episode) * self.algorithm.env.horizon,
            seeds=wave.first_seed + lanes[ours],
            training=_named(local.training),
            since_evaluation=_named(local.since_evaluation) if evaluates else None,
            evaluation=_named(local.evaluation) if evaluates else None,
            finite=local.finite,
        )

    def _keys(self, first_seed: int) -> Any:
        seeds = first_seed + np.arange(self.lanes, dtype=np.uint32)
        sharding = NamedSharding(self.mesh, LANES)
        placed = jax.make_array_from_callback(seeds.shape, sharding, lambda index: seeds[index])
        return jax.jit(jax.vmap(jax.random.key), out_shardings=sharding)(placed)

    def _shared(self, tree: Any) -> Any:
        """The same values on every device of every process."""
        sharding = NamedSharding(self.mesh, SHARED)

        def place(x: Any) -> Any:
            value = np.asarray(x)
            return jax.make_array_from_callback(value.shape, sharding, lambda index: value[index])

        return jax.tree.map(place, tree)

    def _program(
        self, fn: Callable[..., Any], inputs: Any, outputs: Any, donate: tuple[int, ...] = ()
    ) -> Any:
        local = jax.shard_map(
            fn, mesh=self.mesh, in_specs=inputs, out_specs=outputs, check_vma=False
        )
        return jax.jit(
            local,
            donate_argnums=donate,
            compiler_options=compiler_options(),
        )


def _mesh(devices: Sequence[jax.Device]) -> Mesh:
    return Mesh(np.array(devices), ("seed",), axis_types=(AxisType.Auto,))


def _all_finite(tree: Any) -> Bool[Array, ""]:
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(x)) for x in jax.tree.leaves(tree)]))


def _frozen_unless(
    alive: Bool[Array, ""], before: LearnerState, after: LearnerState
) -> LearnerState:
    """`after`, or with all that learns as it was `before`. The replay goes on, as keeping it would mean a copy."""

    def keep(old: Any, new: Any) -> Any:
        return jax.tree.map(lambda o, n: jnp.where(alive, n, o), old, new)

    return replace(
        after,
        learner=keep(before.learner, after.learner),
        rule=keep(before.rule, after.rule),
        target=keep(before.target, after.target),
    )


def _local(array: Array, read: Callable[[Any], NDArray]) -> NDArray:
    """What this process holds of an array [lanes, ...], in the order of its lanes."""
    shards = sorted(array.addressable_shards, key=lambda shard: shard.index[0].start or 0)
    return np.concatenate([read(shard) for shard in shards])


def _named(metrics: Any) -> dict[str, NDArray]:
    """Leaves by the name of their field; nested groups dissolve."""
    leaves = jax.tree_util.tree_leaves_with_path(metrics)
    return {path[-1].name: np.asarray(leaf) for path, leaf in leaves}
