"""Networks of a trained run, read back from its checkpoints, for playing, evaluating and exporting."""

from __future__ import annotations

import operator
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flax.struct
import jax
import numpy as np
from numpy.typing import NDArray

from purejax_mgtopo.algorithm.algorithm import Algorithm, LearnerState
from purejax_mgtopo.algorithm.maddpg import ActorCritic
from purejax_mgtopo.algorithm.types import Both
from purejax_mgtopo.checkpoints.stored import (
    BadCheckpoint,
    latest_steps,
    of_another_format,
    read_arrays,
    read_meta,
    wave_folders,
)
from purejax_mgtopo.config import Experiment, Means
from purejax_mgtopo.errors import ConfigError, RunError
from purejax_mgtopo.machine.paths import expanded
from purejax_mgtopo.machine.programs import let_go_if_many
from purejax_mgtopo.machine.startup import refuse_strict_modes
from purejax_mgtopo.records.record import CHECKPOINTS, read_config
from purejax_mgtopo.trained.begun import as_trained

_PREFIX, _ALIVE = "lanes.seed.", "lanes.alive"


@flax.struct.dataclass
class Networks:
    """All that a seed has learned; leaves may carry a leading axis of seeds."""

    learner: ActorCritic
    parts: Both
    """The states of topology rule and message interpreter."""

    @classmethod
    def of_state(cls, state: LearnerState) -> Networks:
        """What a seed's state has learned."""
        return cls(learner=state.learner, parts=state.parts)


@dataclass(frozen=True)
class TrainedRun:
    """Trained seeds of one run."""

    folder: Path
    experiment: Experiment
    means: Means
    algorithm: Algorithm
    seeds: tuple[int, ...]
    networks: Networks
    """Every leaf [S, ...], in the order of `seeds`."""
    episode: int
    """Training episodes behind them; the fewest, where waves have come to different ends."""
    frozen: frozenset[int] = frozenset()
    """Seeds that have left the finite numbers, and stay as they were before."""

    def __repr__(self) -> str:
        lost = f", {len(self.frozen)} not finite" if self.frozen else ""
        return (
            f"<TrainedRun {self.experiment.task}, {self.experiment.method}: {_span(self.seeds)} after "
            f"{self.episode:,} episodes{lost}; {self.folder}>"
        )

    def of(self, seed: int) -> Networks:
        """One seed's networks. Raises ConfigError for a seed that was not loaded."""
        if seed not in self.seeds:
            raise ConfigError(f"seed {seed} is not among {_span(self.seeds)} of {self.folder}")
        lane = self.seeds.index(seed)
        return jax.tree.map(lambda x: x[lane], self.networks)


def load_trained(folder: str | Path, seeds: Sequence[int] | None = None) -> TrainedRun:
    """The networks of a run's seeds (by default all that have a checkpoint), from the latest sound ones.

    A seed that is asked for twice is loaded once: twice the same is no second sample. Only the networks of those seeds
    are read from disk. Raises RunError where there is no sound checkpoint, and ConfigError for seeds that the run does
    not have or that are no whole numbers.
    """
    folder = expanded(folder)
    seeds = None if seeds is None else tuple(dict.fromkeys(_whole(seed) for seed in seeds))
    if seeds == ():
        raise ConfigError(f"say which seeds of {folder}; none at all were asked for")
    config = read_config(folder)
    refuse_strict_modes()
    let_go_if_many()
    algorithm = Algorithm(as_trained(config.experiment))
    names, shapes, structure = _layout(algorithm)
    stored = [name for name, shape in zip(names, shapes, strict=True) if shape.size]
    stored.append(_ALIVE)
    found: dict[int, _Lane] = {}
    problems: list[str] = []
    for wave in wave_folders(folder / CHECKPOINTS):
        for path in latest_steps(wave):
            try:
                found |= _read_wave(path, stored, seeds)
            except BadCheckpoint as error:
                problems.append(f"{path}: {error}")
                continue
            if problems:  # an older team is another team
                note = f"checkpoint {problems[-1]}; networks are those of episode {path.name}"
                print(f"mgtopo: {note}; `mgtopo resume {folder}` mends it", file=sys.stderr)
            break
    if not found:
        why = f" ({problems[0]})" if problems else ""
        raise RunError(f"{folder} has no checkpoint to read networks from{why}")
    chosen = tuple(sorted(found)) if seeds is None else seeds
    for seed in chosen:
        if seed not in found or found[seed].arrays is None:
            raise ConfigError(f"{folder} has no trained seed {seed}; it has {_span(sorted(found))}")
    leaves = [
        np.stack([found[seed].leaf(name, shape) for seed in chosen])
        for name, shape in zip(names, shapes, strict=True)
    ]
    return TrainedRun(
        folder=folder,
        experiment=config.experiment,
        means=config.means,
        algorithm=algorithm,
        seeds=chosen,
        networks=jax.tree.unflatten(structure, leaves),
        episode=min(found[seed].episode for seed in chosen),
        frozen=frozenset(seed for seed in chosen if not found[seed].alive),
    )


def _whole(seed: Any) -> int:
    """A seed's number. Raises ConfigError for what is no whole number, which another seed would be loaded for."""
    try:
        return operator.index(seed)
    except TypeError:
        raise ConfigError(f"seeds are whole numbers, not {seed!r}") from None


@dataclass(frozen=True)
class _Lane:
    """One seed in a checkpoint; without arrays if nobody asked for it."""

    episode: int
    arrays: Mapping[str, NDArray] | None
    index: int = 0

    @property
    def alive(self) -> bool:
        assert self.arrays is not None
        return bool(self.arrays[_ALIVE][self.index])

    def leaf(self, name: str, shape: jax.ShapeDtypeStruct) -> NDArray:
        assert self.arrays is not None
        return self.arrays[name][self.index] if shape.size else np.zeros(shape.shape, shape.dtype)


def _read_wave(path: Path, names: Sequence[str], seeds: Sequence[int] | None) -> dict[int, _Lane]:
    """The seeds of one checkpoint, those in `seeds` (None: all) with arrays. Raises BadCheckpoint, and RunError
    if another version wrote it."""
    meta = read_meta(path)
    if problem := of_another_format(path.parent, meta):
        raise RunError(problem)
    first, count, episode = meta["wave"]["first_seed"], meta["wave"]["seeds"], meta["episode"]
    asked = [seed for seed in range(first, first + count) if seeds is None or seed in seeds]
    lanes = {seed: _Lane(episode, None) for seed in range(first, first + count)}
    if asked:
        arrays = read_arrays(path, names, [seed - first for seed in asked])
        lanes |= {seed: _Lane(episode, arrays, index) for index, seed in enumerate(asked)}
    return lanes


def _layout(algorithm: Algorithm) -> tuple[list[str], list[jax.ShapeDtypeStruct], Any]:
    """Names in a checkpoint, shapes and tree of one seed's networks."""
    state = jax.eval_shape(algorithm.init, jax.eval_shape(lambda: jax.random.key(0)))
    networks = Networks.of_state(state)
    leaves = jax.tree_util.tree_leaves_with_path(networks)
    names = [_PREFIX + jax.tree_util.keystr(path, simple=True, separator=".") for path, _ in leaves]
    return names, [leaf for _, leaf in leaves], jax.tree.structure(networks)


def _span(seeds: Sequence[int]) -> str:
    seeds = list(seeds)
    if len(seeds) > 1 and seeds[-1] - seeds[0] == len(seeds) - 1:
        return f"seeds {seeds[0]} to {seeds[-1]}"
    return f"seeds {', '.join(map(str, seeds))}"
