"""A stand-in for the compiled program: instant, deterministic, and free of JAX."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from synthetic_runs import changed

from purejax_mgtopo.checkpoints.stored import wave_number
from purejax_mgtopo.config import Config, EvaluationConfig, Experiment
from purejax_mgtopo.errors import RunError
from purejax_mgtopo.population.state import ChunkReport
from purejax_mgtopo.population.waves import Wave, split_into_waves
from purejax_mgtopo.training.progress import SilentReporter, Tick

Measured = dict[str, np.ndarray]


class State(NamedTuple):
    episode: int
    chunks: tuple[Measured, ...]
    """Since the last evaluation."""


@dataclass
class FakePopulation:
    """Returns climb from -10; seed s is s higher. `before_chunk(n)` runs before chunk n of the run."""

    config: Config
    before_chunk: Callable[[int], None] = lambda n: None
    broken_seed: int | None = None
    lanes: int = 0
    scheduled: bool = False

    @property
    def waves(self) -> Sequence[Wave]:
        return split_into_waves(self.config.experiment, self.lanes or self.config.experiment.seeds)

    def init(self, wave: Wave) -> State:
        return State(0, ())

    def advance(self, state: State, wave: Wave) -> tuple[State, ChunkReport]:
        config = self.config.experiment
        episode = state.episode + config.chunk_episodes
        self.before_chunk(wave.index * config.chunks + state.episode // config.chunk_episodes)
        numbers = wave.first_seed + np.arange(wave.seeds)
        seeds = numbers.astype(np.float32)
        value = seeds - 10 + episode / 100
        finite = np.ones(wave.seeds, bool)
        if self.broken_seed is not None:
            finite = numbers != self.broken_seed
            value = np.where(finite, value, np.nan)
        training = {
            "train_return": value - 1,
            "edge_rate": 0.75 + 0 * value,
            "critic_loss": 2 + 0 * value,
        }
        chunks = (*state.chunks, training)
        evaluation = since = None
        if episode % config.evaluation.every == 0 or episode >= config.episodes:
            ones = np.ones_like(seeds)
            evaluation = {
                "return_sampled": value,
                "return_greedy": value + 0.5,
                "edge_rate": 0.25 * ones,
                "edge_rate_greedy": 0.5 * ones,
            }
            since = {name: np.mean([c[name] for c in chunks], axis=0) for name in training}
            since["train_edge_rate"] = since.pop("edge_rate")
            chunks = ()
        return State(episode, chunks), ChunkReport(
            episode=episode,
            env_steps=25 * (episode + config.learner.warmup_episodes),
            seeds=numbers,
            training=training,
            since_evaluation=since,
            evaluation=evaluation,
            finite=finite,
        )


class Found(NamedTuple):
    state: State
    episode: int
    bitwise: bool = True


@dataclass
class FakeStore:
    """Keeps states in memory, by folder; `full` makes every save fail as a full disk does."""

    kept: dict[Path, dict[int, State]]
    full: bool = False
    bitwise: bool = True
    scores: list[float] = dataclasses.field(default_factory=list)
    folder: Path = Path()

    def __call__(
        self, folder: Path, population: object, wave: Wave, say: Callable[[str], None]
    ) -> FakeStore:
        self.kept.setdefault(folder, {})
        return dataclasses.replace(self, folder=folder, scores=self.scores)

    def complete(self, episode: int) -> bool:
        return episode in self.kept[self.folder]

    def restore(self) -> Found | None:
        saved = self.kept[self.folder]
        return Found(saved[max(saved)], max(saved), self.bitwise) if saved else None

    def save(self, state: State, score: float) -> None:
        if self.full:
            raise RunError("cannot save: No space left on device")
        assert not math.isinf(score) or score < 0
        self.scores.append(score)
        self.kept[self.folder][state.episode] = state

    def forget_later(self) -> list[int]:
        number = wave_number(self.folder)
        beside = [path for path in self.kept if path.parent == self.folder.parent]
        later = [path for path in beside if wave_number(path) > number]
        for path in later:
            del self.kept[path]
        return [wave_number(path) for path in later]

    def settle(self) -> None: ...
    def close(self, alone: bool = False) -> None: ...


def small(**changes: object) -> Config:
    """Four chunks of ten episodes, an evaluation every second one, three seeds."""
    base = Experiment(
        task="toy_follow_holder",
        seeds=3,
        episodes=40,
        chunk_episodes=10,
        evaluation=EvaluationConfig(every=20, episodes=2),
    )
    return changed(Config(base), **changes)


class Notes(SilentReporter):
    def __init__(self) -> None:
        self.notes: list[str] = []
        self.ticks: list[Tick] = []

    def note(self, line: str) -> None:
        self.notes.append(line)

    def tick(self, tick: Tick) -> None:
        self.ticks.append(tick)


class Killed(BaseException):
    pass
