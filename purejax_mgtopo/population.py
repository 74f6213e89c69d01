"""Many seeds in one XLA program: the single-seed algorithm, batched along a pluggable seed axis, over all devices.

A *lane* is a seed inside the program. Every device holds the same number of lanes; no device talks to another.

- ``vmap`` (accelerators): the lanes of a device advance together, as one batched program.
- ``map`` (CPU): they advance in turn, on one host device per core. There, vmapping whole training runs gains nothing,
  makes the LSTM slower, and with two or more threads can leave all threads of XLA's pool asleep for good.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Float
from numpy.typing import NDArray

from purejax_mgtopo.algorithm import Algorithm, LearnerState, UpdateMetrics
from purejax_mgtopo.config import Config
from purejax_mgtopo.evaluate import EvaluationMetrics, evaluate
from purejax_mgtopo.types import Clock

LANES = PartitionSpec("seed")
SHARED = PartitionSpec()


@flax.struct.dataclass
class PopulationState:
    """All seeds, and the clock that they share."""

    clock: Clock
    seeds: LearnerState
    """Every leaf with a leading axis of lanes, sharded over the devices."""


@flax.struct.dataclass
class LaneReport:
    """What one seed tells after a chunk."""

    training: UpdateMetrics
    """Means over the chunk."""
    evaluation: EvaluationMetrics
    """NaN where the chunk held none."""
    finite: Bool[Array, ""]
    """All parameters are finite numbers."""


@dataclass(frozen=True)
class ChunkReport:
    """What the host hears after a chunk: NumPy arrays [S], by metric."""

    episode: int
    env_steps: int
    training: Mapping[str, NDArray]
    evaluation: Mapping[str, NDArray] | None
    finite: NDArray


def seed_axis(config: Config) -> str:
    """How the lanes of one device are batched: ``vmap`` or ``map``."""
    if config.seed_axis != "auto":
        return config.seed_axis
    return "map" if jax.default_backend() == "cpu" else "vmap"


class Population:
    """The training program of a configuration: `init` once, then `advance` chunk by chunk."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.algorithm = Algorithm(config)
        available = jax.devices()
        count = min(config.devices or len(available), len(available), config.seeds)
        self.mesh = Mesh(np.array(available[:count]), ("seed",), axis_types=(AxisType.Auto,))
        self.lanes_per_device = -(-config.seeds // count)
        """Rounded up: the last device may run seeds that are not reported."""
        over_lanes = _over_lanes(seed_axis(config))
        self._init = self._program(over_lanes(self.algorithm.init), (LANES,), LANES)
        self._advance = self._program(
            lambda seeds, clock: over_lanes(partial(self._advance_lane, clock=clock))(seeds),
            (LANES, SHARED),
            (LANES, LANES),
            donate=(0,),
        )

    def init(self) -> PopulationState:
        """Create all seeds and play their warm-up."""
        lanes = self.mesh.size * self.lanes_per_device
        seeds = self.config.first_seed + np.arange(lanes, dtype=np.uint32)
        keys = jax.device_put(jax.vmap(jax.random.key)(seeds), NamedSharding(self.mesh, LANES))
        clock = jax.device_put(self.algorithm.start_clock(), NamedSharding(self.mesh, SHARED))
        return PopulationState(clock=clock, seeds=jax.block_until_ready(self._init(keys)))

    def advance(self, state: PopulationState) -> tuple[PopulationState, ChunkReport]:
        """Train every seed for one chunk of episodes; `state` is used up."""
        seeds, lanes = self._advance(state.seeds, state.clock)
        clock = state.clock.advanced(self.config.chunk_episodes)
        episode = int(clock.episode)
        told = jax.tree.map(lambda x: np.asarray(x)[: self.config.seeds], lanes)
        warmup = self.config.learner.warmup_episodes
        report = ChunkReport(
            episode=episode,
            env_steps=(warmup + episode) * self.algorithm.env.horizon,
            training=_named(told.training),
            evaluation=_named(told.evaluation) if self._evaluates(episode) else None,
            finite=told.finite,
        )
        return PopulationState(clock=clock, seeds=seeds), report

    def compiled(self, state: PopulationState) -> Any:
        """The chunk's program, compiled for `state` but not run: for its text, its memory and its cost."""
        return self._advance.lower(state.seeds, state.clock).compile()

    def _advance_lane(self, state: LearnerState, clock: Clock) -> tuple[LearnerState, LaneReport]:
        """One seed, one chunk: the whole of training that is not the host's."""
        config = self.config

        def iterate(carry: tuple, _: None) -> tuple:
            state, clock = carry
            state, metrics = self.algorithm.iterate(state, clock)
            return (state, clock.advanced(config.updates_per_iteration)), metrics

        metrics: UpdateMetrics
        (state, clock), metrics = jax.lax.scan(
            iterate, (state, clock), length=config.iterations_per_chunk
        )
        evaluation = jax.lax.cond(  # the clock is common to all lanes, so this stays a branch
            self._evaluates(clock.episode), partial(evaluate, self.algorithm), _absent, state
        )
        finite = [jnp.all(jnp.isfinite(x)) for x in jax.tree.leaves((state.learner, state.rule))]
        training = jax.tree.map(partial(jnp.mean, axis=0), metrics)
        return state, LaneReport(training, evaluation, jnp.all(jnp.stack(finite)))

    def _evaluates(self, episode: Any) -> Any:
        """Every so often, and after the last chunk."""
        return (episode % self.config.evaluation.every == 0) | (episode >= self.config.episodes)

    def _program(
        self, fn: Callable[..., Any], inputs: Any, outputs: Any, donate: tuple[int, ...] = ()
    ) -> Any:
        local = jax.shard_map(
            fn, mesh=self.mesh, in_specs=inputs, out_specs=outputs, check_vma=False
        )
        return jax.jit(local, donate_argnums=donate, compiler_options=_compiler_options())


def _over_lanes(axis: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The seed axis: lifts a function of one lane to all lanes of a device."""
    return {"vmap": jax.vmap, "map": lambda fn: partial(jax.lax.map, fn)}[axis]


@functools.cache
def _compiler_options() -> dict[str, int] | None:
    """On CPU, let loops use the widest vectors there are: XLA halves them by default (measured: 4 to 7 %)."""
    options = {"xla_cpu_prefer_vector_width": 512}
    if jax.default_backend() != "cpu":
        return None
    try:
        jax.jit(lambda x: x, compiler_options=options)(0.0)
    except Exception:  # options come and go with versions of XLA; none is needed for right results
        return None
    return options


def _absent(state: LearnerState) -> EvaluationMetrics:
    del state
    names = EvaluationMetrics.__dataclass_fields__
    return EvaluationMetrics(**{name: jnp.full((), jnp.nan) for name in names})


def _named(metrics: Any) -> dict[str, Float[np.ndarray, " S"]]:
    """Leaves by the name of their field; nested groups dissolve."""
    leaves = jax.tree_util.tree_leaves_with_path(metrics)
    return {path[-1].name: np.asarray(leaf) for path, leaf in leaves}
