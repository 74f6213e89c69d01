"""One run from configuration to records: the host's loop over chunks."""

from __future__ import annotations

import contextlib
import math
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from purejax_mgtopo.config import Config, ConfigError
from purejax_mgtopo.curves import try_to_draw
from purejax_mgtopo.interrupt import StopRequest
from purejax_mgtopo.metrics import columns_of, fields_of
from purejax_mgtopo.progress import Reporter, Tick, duration, make_reporter
from purejax_mgtopo.record import FIGURES, RunRecord, load_run, refuse_existing
from purejax_mgtopo.startup import configure_platform
from purejax_mgtopo.watchdog import Watchdog


class Report(Protocol):
    """What the program says after a chunk; measurements are dataclasses or tuples of [S] arrays."""

    @property
    def episode(self) -> int: ...
    @property
    def env_steps(self) -> int: ...
    @property
    def training(self) -> Any: ...
    @property
    def evaluation(self) -> Any: ...
    @property
    def finite(self) -> NDArray: ...


class Trainable(Protocol):
    """All seeds of one configuration, as one program."""

    def init(self) -> Any: ...
    def advance(self, state: Any) -> tuple[Any, Any]: ...


Factory = Callable[[Config], Trainable]


@dataclass(frozen=True)
class RunResult:
    """How a run ended."""

    folder: Path
    config: Config
    episode: int
    """Training episodes done, per seed."""
    seconds: float
    interrupted: bool
    non_finite: int
    """Seeds whose parameters left the finite numbers."""
    figure: Path | None


def build_population(config: Config) -> Trainable:
    """The real program. JAX starts here and not before."""
    configure_platform(config)
    from purejax_mgtopo.population import Population

    return Population(config)


def train(
    config: Config,
    folder: str | Path,
    *,
    reporter: Reporter | None = None,
    population_factory: Factory = build_population,
    name: str | None = None,
    command: str | None = None,
) -> RunResult:
    """Train every seed of `config` and leave records and a picture in `folder`.

    The first Ctrl-C ends the run after the current chunk, with its records complete; a second one
    quits at once.

    Args:
        folder: made if need be; must not hold a run, for nothing is ever overwritten.
        reporter: what to show; by default a bar in a terminal and plain lines elsewhere.
        name: what to call the run on screen.
        command: the command line for config.json; by default this process's.

    Raises ConfigError or RunError, each in one line, before anything is written where that is
    possible.
    """
    folder = Path(folder)
    refuse_existing(folder)
    population = _build(population_factory, config)
    with contextlib.ExitStack() as stack:
        if reporter is None:
            reporter = make_reporter()
            stack.callback(reporter.close)
        record = stack.enter_context(RunRecord(folder, config, command))
        name = name or f"{config.task}/{config.method}"
        return _Loop(config, record, reporter, name).run(population)


class _Loop:
    """The loop's moving parts, so that each step of it reads on its own."""

    def __init__(self, config: Config, record: RunRecord, reporter: Reporter, name: str) -> None:
        self._config, self._record, self._reporter, self._name = config, record, reporter, name
        self._pending: list[dict[str, NDArray]] = []
        """Training measurements of the chunks since the last evaluation."""
        self._episode = 0
        self._non_finite = 0
        self._began = self._last = time.monotonic()
        self._steady: tuple[float, int] | None = None
        """When the first chunk was done, and its last episode."""

    def run(self, population: Trainable) -> RunResult:
        config, record, reporter = self._config, self._record, self._reporter
        reporter.begin(self._name, config.episodes, config.seeds)
        with (
            StopRequest(self._announce_stop, self._quit) as stop,
            Watchdog(reporter.note) as watchdog,
        ):
            try:
                state = population.init()
                watchdog.beat()
                self._last = time.monotonic()
                record.event("initialised", wall=round(self._last - self._began, 3))
                while self._episode < config.episodes and not stop.requested:
                    state, report = population.advance(state)
                    watchdog.beat()
                    self._take(report)
            except BaseException as error:
                record.event(
                    "failed", error=f"{type(error).__name__}: {error}", episode=self._episode
                )
                reporter.end(f"failed at episode {self._episode:,}")
                raise
        return self._finish()

    def _take(self, report: Report) -> None:
        """Record and show one chunk."""
        config, record = self._config, self._record
        now = time.monotonic()
        wall, self._last = now - self._last, now
        self._episode = int(report.episode)
        if self._steady is None:
            # The first call of a program compiles it, so that speed is measured from here on.
            self._steady = (now, self._episode)
            self._reporter.compiled(now - self._began)
        finite = np.asarray(report.finite, dtype=bool)
        self._non_finite = int(finite.size - finite.sum())
        training = fields_of(report.training)
        self._pending.append(training)
        tick = Tick(
            episode=self._episode,
            train_return=_mean(training["train_return"], finite),
            edge_rate=_mean(training["edge_rate"], finite),
            rate=self._rate(),
            seconds_left=(config.episodes - self._episode) * config.seeds / self._rate(),
            non_finite=self._non_finite,
        )
        record.event(
            "chunk",
            episode=tick.episode,
            env_steps=int(report.env_steps),
            train_return=tick.train_return,
            edge_rate=tick.edge_rate,
            episodes_per_second=config.chunk_episodes * config.seeds / max(wall, 1e-9),
            wall=round(wall, 4),
            non_finite=tick.non_finite,
        )
        if report.evaluation is not None:
            self._take_evaluation(report, finite)
        self._reporter.tick(tick)

    def _take_evaluation(self, report: Report, finite: NDArray) -> None:
        """Record an evaluation; training columns are means over the chunks since the last one."""
        with np.errstate(invalid="ignore"):
            training = {
                name: np.mean([chunk[name] for chunk in self._pending], axis=0)
                for name in self._pending[0]
            }
        self._pending = []
        evaluation = fields_of(report.evaluation)
        columns = columns_of(training, evaluation)
        self._record.evaluation(self._episode, int(report.env_steps), columns, finite)
        means = {name: _mean(values, finite) for name, values in evaluation.items()}
        self._record.event("evaluation", episode=self._episode, **means)

    def _finish(self) -> RunResult:
        done = self._episode >= self._config.episodes
        seconds = time.monotonic() - self._began
        summary = {"episode": self._episode, "non_finite": self._non_finite, "wall": seconds}
        self._record.event("end" if done else "interrupted", **summary)
        figure = self._draw() if done else None
        speed = "" if math.isnan(self._rate()) else f" ({self._rate():,.0f} episodes/s)"
        self._reporter.end(
            f"{'finished' if done else 'interrupted'} after {self._episode:,} episodes x "
            f"{self._config.seeds} seeds in {duration(seconds)}{speed}"
        )
        return RunResult(
            folder=self._record.folder,
            config=self._config,
            episode=self._episode,
            seconds=seconds,
            interrupted=not done,
            non_finite=self._non_finite,
            figure=figure,
        )

    def _rate(self) -> float:
        """Episodes per second over all seeds since the first chunk; NaN before the second."""
        if self._steady is None or self._steady[1] == self._episode:
            return math.nan
        since, first = self._steady
        return (self._episode - first) * self._config.seeds / max(self._last - since, 1e-9)

    def _draw(self) -> Path | None:
        folder = self._record.folder
        run = load_run(folder)
        if not len(run.episodes):
            self._reporter.note(
                f"no picture: no evaluation came within {self._config.episodes:,} episodes; "
                f"evaluation.every is {self._config.evaluation.every}"
            )
            return None
        target = folder / FIGURES / "curves.png"
        return try_to_draw([(self._config.method, run)], target, self._reporter.note)

    def _announce_stop(self) -> None:
        self._reporter.note("stopping after this chunk; press Ctrl-C again to quit at once")

    def _quit(self) -> None:
        """In the listener's thread: the main one may never answer. Files are always whole."""
        self._reporter.close()
        print(
            f"quit at episode {self._episode:,}; {self._record.folder} keeps what was recorded",
            file=sys.stderr,
        )
        sys.stderr.flush()
        os._exit(130)


def _build(factory: Factory, config: Config) -> Trainable:
    try:
        return factory(config)
    except ConfigError:
        raise
    except ValueError as error:
        # Packages below know nothing of ConfigError, e.g. the environments with an unknown task.
        raise ConfigError(str(error)) from error


def _mean(values: NDArray, finite: NDArray) -> float:
    return float(np.mean(values[finite])) if finite.any() else math.nan
