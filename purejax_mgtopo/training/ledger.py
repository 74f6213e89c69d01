"""What chunks tell, on its way to the records, the screen and the mirror; and how far, and how fast, a run is."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from purejax_mgtopo.analysis.statistics import interquartile_mean
from purejax_mgtopo.config import Experiment
from purejax_mgtopo.population.waves import Wave
from purejax_mgtopo.records.metrics import FINAL, Evaluation
from purejax_mgtopo.records.record import RunRecord
from purejax_mgtopo.training.progress import Reporter, Tick

if TYPE_CHECKING:
    from purejax_mgtopo.mirror.mirror import WandbMirror
    from purejax_mgtopo.population.population import ChunkReport


class Ledger:
    """Takes the report of every chunk, and keeps count of episodes, seconds and lost seeds."""

    def __init__(
        self,
        experiment: Experiment,
        record: RunRecord,
        reporter: Reporter,
        mirror: WandbMirror | None,
    ) -> None:
        self._experiment, self._record = experiment, record
        self._reporter, self._mirror = reporter, mirror
        self.waves = 1
        """Waves that the run has in all."""
        self.done = 0
        """Episodes of the waves before this one."""
        self.episode = 0
        """Episodes of this wave."""
        self.lost: dict[int, int] = {}
        """Seeds that left the finite numbers, by wave."""
        self.alive = True
        """Some seed of this wave, and of this process, is finite."""
        self.speed = Speed()
        self.began = self._last = time.monotonic()
        self._compiled = False

    @property
    def total(self) -> int:
        """Episodes of a seed, of all waves so far."""
        return self.done + self.episode

    @property
    def place(self) -> str:
        """``episode 400``, and of which wave where there are several."""
        wave = min(self.total // self._experiment.episodes, self.waves - 1) + 1
        several = f" of wave {wave} of {self.waves}" if self.waves > 1 else ""
        return f"episode {self.episode:,}{several}"

    def initialised(self) -> float:
        """A wave is ready for its first chunk; seconds since the run began."""
        self._last = time.monotonic()
        return self._last - self.began

    def take(self, report: ChunkReport, wave: Wave) -> float:
        """Record and show one chunk; the score of its evaluation, NaN without one."""
        if report.before is not None:
            self._take_evaluation(report.before, np.asarray(report.before.finite, bool), wave)
        now = time.monotonic()
        wall, self._last = now - self._last, now
        self.episode = report.episode
        seeds = wave.seeds
        if not self._compiled:
            self._compiled = True
            self._reporter.compiled(now - self.began)
        else:  # the first call of a program compiles it: speed is measured without it
            self.speed.add(self._experiment.chunk_episodes * seeds, wall)
        finite = np.asarray(report.finite, dtype=bool)
        self.alive = bool(finite.any())
        self.lost[wave.index] = int(finite.size - finite.sum())
        training = report.training
        left = (
            self._experiment.seeds * self._experiment.episodes
            - (wave.first_seed - self._experiment.first_seed) * self._experiment.episodes
            - self.episode * seeds
        )
        tick = Tick(
            episode=self.episode,
            train_return=_mean(training["train_return"], finite),
            edge_rate=_mean(training["edge_rate"], finite),
            rate=self.speed.rate,
            seconds_left=left / self.speed.rate,
            non_finite=sum(self.lost.values()),
            wave=wave.index,
            waves=self.waves,
            seeds=seeds,
        )
        self._record.event(
            "chunk",
            wave=wave.index,
            episode=self.episode,
            env_steps=report.env_steps,
            train_return=tick.train_return,
            edge_rate=tick.edge_rate,
            episodes_per_second=self._experiment.chunk_episodes * seeds / max(wall, 1e-9),
            wall=round(wall, 4),
            non_finite=tick.non_finite,
        )
        score = math.nan if self.alive or not finite.size else -math.inf
        if report.evaluation is not None:
            score = self._take_evaluation(report, finite, wave)
        if self._mirror is not None:
            self._mirror.chunk()
        self._reporter.tick(tick)
        return score

    def _take_evaluation(self, report: ChunkReport, finite: NDArray, wave: Wave) -> float:
        """Record an evaluation; training columns are means over the chunks since the last one."""
        assert report.evaluation is not None and report.since_evaluation is not None
        evaluation, final = report.evaluation, report.final or {}
        columns = {**evaluation, **report.since_evaluation}
        columns |= {f"{FINAL}{name}": values for name, values in final.items()}
        complete = Evaluation(
            episode=report.episode,
            env_steps=report.env_steps,
            seeds=np.asarray(report.seeds, np.int32),
            finite=finite,
            columns={name: np.asarray(x, np.float32) for name, x in columns.items()},
        )
        self._record.evaluation(complete)
        if self._mirror is not None:
            self._mirror.evaluation(complete)
        self._record.event(
            "evaluation", wave=wave.index, episode=report.episode, **_means(evaluation, finite)
        )
        means = _means(final, finite)
        if self._record.keeps_final and not all(map(math.isnan, means.values())):
            self._record.event("final", wave=wave.index, episode=report.episode, **means)
        returns = columns["return_sampled"][finite]
        returns = returns[np.isfinite(returns)]  # parameters that never were tell nothing
        return float(interquartile_mean(returns)) if len(returns) else -math.inf


class Speed:
    """Episodes per second over all seeds, compilation left out; NaN before anything is known."""

    def __init__(self) -> None:
        self._episodes, self._seconds = 0, 0.0

    def add(self, episodes: int, seconds: float) -> None:
        """Count `episodes` that took `seconds`."""
        self._episodes += episodes
        self._seconds += seconds

    @property
    def rate(self) -> float:
        """Episodes per second so far."""
        return self._episodes / max(self._seconds, 1e-9) if self._episodes else math.nan


def _means(measured: Mapping[str, NDArray], finite: NDArray) -> dict[str, float]:
    return {name: _mean(values, finite) for name, values in measured.items() if values.ndim == 1}


def _mean(values: NDArray, finite: NDArray) -> float:
    return float(np.mean(values[finite])) if finite.any() else math.nan
