"""Many seeds in one XLA program: the single-seed algorithm, batched along a pluggable seed axis, over all devices.

A second program evaluates all seeds: before the first chunk, when it is time to, and, on other episodes, at the end.

A *lane* is a seed inside the program. Every device holds the same number of lanes; no device talks to another, unless
the method has something that all seeds share, and with several processes (hosts) each hears from its own lanes only.
How a device batches its lanes: see `lanes`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array

from purejax_mgtopo.algorithm.algorithm import Algorithm, LearnerState
from purejax_mgtopo.algorithm.evaluate import FINAL, evaluate, with_nan
from purejax_mgtopo.algorithm.kernels.target import made_of, platform
from purejax_mgtopo.algorithm.types import Both, Clock, Measures, Purpose
from purejax_mgtopo.config import Config
from purejax_mgtopo.errors import ConfigError
from purejax_mgtopo.machine.compiler import compiler_options, matmul_precision
from purejax_mgtopo.population.ahead import Ahead
from purejax_mgtopo.population.frozen import alive, all_finite
from purejax_mgtopo.population.lanes import devices_for, lanes_together, over_lanes
from purejax_mgtopo.population.reading import here, mean_of, of_lanes
from purejax_mgtopo.population.state import ChunkReport, LaneReport, LaneState, PopulationState
from purejax_mgtopo.population.waves import Wave, split_into_waves

LANES = PartitionSpec("seed")
SHARED = PartitionSpec()


class Population:
    """The training program of a configuration: `init` a wave of seeds, then `advance` it chunk by chunk.

    Args:
        lanes: seeds in the program at a time; by default all. Rounded up to a multiple of what the devices and
            micro-batches need: the rest are idle lanes, which compute and are not reported.
        devices: what shares the lanes, in place of what the configuration says.

    Raises ConfigError for a method whose seeds share something, if they do not all fit at a time.
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
        self._together = partial(over_lanes, batch=batch)
        self._init = self._program(self._together(self._init_lane), (LANES,), LANES)
        shares = bool(jax.tree.leaves(self._shared_shapes()))
        if shares and len(self.waves) > 1:
            raise ConfigError(
                f"all seeds of {experiment.method} share what they learn, so that they cannot run in waves: "
                f"give all {experiment.seeds} a lane, or ask for fewer seeds"
            )
        self._advance = Ahead(
            self._program(
                self._advance_together if shares else self._advance_alone,
                (LANES, SHARED, SHARED),
                (LANES, SHARED, LANES),
                donate=(0,),
            )
        )
        self._evaluate = Ahead(self._program(self._evaluate_lanes, (LANES, SHARED), LANES))

    @property
    def scheduled(self) -> bool:
        """Whether what is learned by some episode depends on how many are to follow."""
        return self.algorithm.parts.scheduled

    def init(self, wave: Wave | None = None) -> PopulationState:
        """Create the seeds of a wave (by default the first) and play their warm-up."""
        first = (wave or self.waves[0]).first_seed
        later = self.abstract()
        self._advance.begin(lambda: self.compiled(later))
        self._evaluate.begin(lambda: self.compiled_evaluation(later))
        with matmul_precision(self.config.means.precision):
            lanes = self._init(self._keys(first))
            shared = self._shared_shapes()
            if jax.tree.leaves(
                shared
            ):  # making nothing would still compile the key it is made from
                shared = self._everywhere(self._init_shared())
        return PopulationState(self._everywhere(self.algorithm.start_clock()), shared, lanes)

    def advance(
        self, state: PopulationState, wave: Wave | None = None
    ) -> tuple[PopulationState, ChunkReport]:
        """Train every seed for one chunk of episodes; `state` is used up."""
        wave = wave or self.waves[0]
        # Counted here: adding two numbers on the device would be one more program.
        clock = jax.tree.map(np.asarray, state.clock)
        before = None if clock.episode else self._untrained(state.lanes, wave)
        with matmul_precision(self.config.means.precision):
            lanes, shared, by_lane = self._advance(state.lanes, state.clock, state.shared)
        clock = clock.advanced(self.config.experiment.chunk_episodes)
        report = self._chunk_report(lanes, by_lane, int(clock.episode), wave)
        state = PopulationState(self._everywhere(clock), shared, lanes)
        return state, replace(report, before=before)

    def abstract(self) -> PopulationState:
        """Shapes, types and shardings of a state; nothing is computed."""
        seeds = jax.ShapeDtypeStruct((self.lanes,), np.uint32)
        lanes = jax.eval_shape(self._init, jax.eval_shape(jax.vmap(jax.random.key), seeds))
        clock = jax.eval_shape(self.algorithm.start_clock)
        shared = self._shared_shapes()

        def placed(tree: Any, spec: PartitionSpec) -> Any:
            def one(x: Any) -> jax.ShapeDtypeStruct:
                # XLA spreads nothing of what has no element.
                sharding = NamedSharding(self.mesh, spec if x.size else SHARED)
                return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)

            return jax.tree.map(one, tree)

        return PopulationState(placed(clock, SHARED), placed(shared, SHARED), placed(lanes, LANES))

    def compiled(self, state: PopulationState) -> Any:
        """The chunk's program, compiled for `state` (arrays or shapes) but not run: for its text, memory and cost."""
        with matmul_precision(self.config.means.precision):
            return self._advance.lower(state.lanes, state.clock, state.shared).compile()

    def compiled_evaluation(self, state: PopulationState) -> Any:
        """The evaluation's program, as `compiled` gives the chunk's."""
        with matmul_precision(self.config.means.precision):
            batch = jax.ShapeDtypeStruct((), np.int32, sharding=NamedSharding(self.mesh, SHARED))
            return self._evaluate.lower(state.lanes.seed, batch).compile()

    def _shared_shapes(self) -> Both:
        return jax.eval_shape(self._init_shared)

    def _init_shared(self) -> Both:
        return self.algorithm.parts.init_shared(
            Purpose.SHARING.key(self.config.experiment.first_seed)
        )

    def _init_lane(self, key: Array) -> LaneState:
        tally = {name: jnp.zeros(()) for name in self.algorithm.measures}
        return LaneState(seed=self.algorithm.init(key), alive=jnp.ones((), bool), tally=tally)

    def _advance_alone(
        self, lanes: LaneState, clock: Clock, shared: Both
    ) -> tuple[LaneState, Both, LaneReport]:
        """One chunk of every lane of a device, each from its beginning to its end: no seed knows of another."""
        experiment = self.config.experiment

        def chunk(lane: LaneState) -> tuple[LaneState, LaneReport]:
            def iterate(carry: tuple, _: None) -> tuple:
                seed, clock = carry
                seed, measures = self.algorithm.iterate(seed, clock, shared)[:2]
                return (seed, clock.advanced(experiment.updates_per_iteration)), measures

            length = experiment.iterations_per_chunk
            measures: Measures
            (seed, ended), measures = jax.lax.scan(iterate, (lane.seed, clock), length=length)
            # Asked once, because parameters that are not finite stay so: asking means a pass over all that is learned.
            lane = alive(lane, seed, self.algorithm.followed)
            return self._end_chunk(lane, _mean_over_time(measures), ended)

        lanes, by_lane = self._together(chunk, in_place=True)(lanes)
        return lanes, shared, by_lane

    def _advance_together(
        self, lanes: LaneState, clock: Clock, shared: Both
    ) -> tuple[LaneState, Both, LaneReport]:
        """One chunk, an iteration of all lanes after the other: after each, what they share moves by the mean of the
        updates that living lanes ask for, over all devices."""
        experiment, parts = self.config.experiment, self.algorithm.parts
        here = jax.lax.axis_index("seed") * self.lanes_per_device
        counts = here + jnp.arange(self.lanes_per_device) < experiment.seeds  # idle lanes do not

        def iterate(carry: tuple, _: None) -> tuple:
            lanes, clock, shared = carry

            def one(lane: LaneState) -> tuple[LaneState, tuple]:
                seed, measures, update = self.algorithm.iterate(lane.seed, clock, shared)
                lane = alive(lane, seed, self.algorithm.followed)
                return lane, (measures, update, lane.alive & all_finite(update))

            lanes, (measures, updates, sound) = self._together(one, in_place=True)(lanes)
            sound &= counts
            living = jnp.maximum(jax.lax.psum(jnp.sum(sound), "seed"), 1)

            def mean(update: Array) -> Array:
                wanted = jnp.where(sound.reshape(-1, *(1,) * (update.ndim - 1)), update, 0)
                return jax.lax.psum(jnp.sum(wanted, axis=0), "seed") / living

            shared = parts.apply(shared, jax.tree.map(mean, updates))
            return (lanes, clock.advanced(experiment.updates_per_iteration), shared), measures

        start, length = (lanes, clock, shared), experiment.iterations_per_chunk
        measures: Measures
        (lanes, ended, shared), measures = jax.lax.scan(iterate, start, length=length)

        def tell(lane_and_measures: tuple[LaneState, Measures]) -> tuple[tuple, LaneReport]:
            lane, report = self._end_chunk(*lane_and_measures, ended)
            return (lane, lane_and_measures[1]), report

        both = (lanes, _mean_over_time(measures))
        (lanes, _), by_lane = self._together(tell, in_place=True)(both)
        return lanes, shared, by_lane

    def _end_chunk(
        self, lane: LaneState, training: Measures, clock: Clock
    ) -> tuple[LaneState, LaneReport]:
        """A lane at the end of a chunk, and what it tells; it counts anew where an evaluation follows."""
        experiment = self.config.experiment
        tally = jax.tree.map(jnp.add, lane.tally, training)
        every = experiment.evaluation.every
        chunks = ((clock.episode - 1) % every + 1) // experiment.chunk_episodes
        evaluates = self._evaluates(clock.episode)
        mean = jax.tree.map(lambda x: x / chunks, tally)
        tally = jax.tree.map(lambda x: jnp.where(evaluates, jnp.zeros_like(x), x), tally)
        return replace(lane, tally=tally), LaneReport(training, mean, finite=lane.alive)

    def _evaluates(self, episode: Any) -> Any:
        """Whether an evaluation is due: every so often, and after the last chunk."""
        experiment = self.config.experiment
        return (episode % experiment.evaluation.every == 0) | (episode >= experiment.episodes)

    def _final_batches(self, episode: int) -> range:
        """The batches of the final evaluation, if it is due."""
        experiment = self.config.experiment
        last = experiment.evaluation.final_batches if episode == experiment.episodes else 0
        return range(1, last + 1)

    def _evaluate_lanes(self, seeds: LearnerState, batch: Array) -> Any:
        return self._together(lambda seed: evaluate(self.algorithm, seed, batch))(seeds)

    def _evaluated(self, lanes: LaneState, batches: Sequence[int]) -> list[Any]:
        """What all lanes do in each of these batches of episodes."""
        with matmul_precision(self.config.means.precision):
            numbers = [self._everywhere(np.int32(batch)) for batch in batches]
            return [self._evaluate(lanes.seed, number) for number in numbers]

    def _untrained(self, lanes: LaneState, wave: Wave) -> ChunkReport:
        """The report of episode 0."""
        unknown = dict.fromkeys(self.algorithm.measures, lanes.alive)
        by_lane = LaneReport(unknown, unknown, finite=lanes.alive)
        report = self._chunk_report(lanes, by_lane, 0, wave)
        nan = np.full(len(report.seeds), np.nan, np.float32)
        told = (report.training, report.since_evaluation or {})
        training, since = (dict.fromkeys(names, nan) for names in told)
        return replace(report, training=training, since_evaluation=since)

    def _chunk_report(
        self, state: LaneState, by_lane: LaneReport, episode: int, wave: Wave
    ) -> ChunkReport:
        """The lanes' reports without idle lanes, and the final evaluation; of several processes, this one's part."""
        lanes = here(by_lane.finite, lambda shard: np.arange(self.lanes)[shard.index])
        ours = lanes < wave.seeds
        local: Any = of_lanes(by_lane, ours)
        evaluation = final = None
        evaluates, finals = self._evaluates(episode), self._final_batches(episode)
        if evaluates:
            answers = self._evaluated(state, [0, *finals])
            evaluation, *told = (with_nan(of_lanes(answer, ours)) for answer in answers)
            if self.config.experiment.evaluation.final_batches:
                final = {name: mean_of([x[name] for x in told], ours[ours]) for name in FINAL}
        since = dict(local.since_evaluation)
        since["train_edge_rate"] = since.pop("edge_rate")
        warmup = self.config.experiment.learner.warmup_episodes
        return ChunkReport(
            episode=episode,
            env_steps=(warmup + episode) * self.algorithm.env.horizon,
            seeds=wave.first_seed + lanes[ours],
            training=local.training,
            evaluation=evaluation,
            since_evaluation=since if evaluates else None,
            finite=local.finite,
            final=final,
        )

    def _keys(self, first_seed: int) -> Any:
        seeds = first_seed + np.arange(self.lanes, dtype=np.uint32)
        sharding = NamedSharding(self.mesh, LANES)
        placed = jax.make_array_from_callback(seeds.shape, sharding, lambda index: seeds[index])
        return jax.jit(jax.vmap(jax.random.key), out_shardings=sharding)(placed)

    def _everywhere(self, tree: Any) -> Any:
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
            made_of(self.config.means.kernels, fn),
            mesh=self.mesh,
            in_specs=inputs,
            out_specs=outputs,
            check_vma=False,
        )
        return jax.jit(
            local,
            donate_argnums=donate,
            compiler_options=compiler_options(platform(), self.config.means.precision),
        )


def _mesh(devices: Sequence[jax.Device]) -> Mesh:
    return Mesh(np.array(devices), ("seed",), axis_types=(AxisType.Auto,))


def _mean_over_time(measures: dict[str, Array]) -> dict[str, Array]:
    return jax.tree.map(partial(jnp.mean, axis=0), measures)
