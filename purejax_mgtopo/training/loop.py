"""The host's loop over waves of seeds and chunks of episodes: advance, record, show, keep."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from purejax_mgtopo.analysis.curves import try_to_draw
from purejax_mgtopo.errors import RunError
from purejax_mgtopo.machine import processes
from purejax_mgtopo.population.waves import Wave
from purejax_mgtopo.records.files import clear_disk_errors
from purejax_mgtopo.records.fingerprint import to_rounding
from purejax_mgtopo.records.record import FIGURES, RunRecord
from purejax_mgtopo.records.run_data import load_run
from purejax_mgtopo.records.run_names import word_for
from purejax_mgtopo.training.account import duration, seeds_in_words, significant
from purejax_mgtopo.training.ledger import Ledger
from purejax_mgtopo.training.outcome import RunResult
from purejax_mgtopo.training.progress import Reporter
from purejax_mgtopo.training.stop import StopRequest, heard
from purejax_mgtopo.training.watchdog import Watchdog

if TYPE_CHECKING:
    from purejax_mgtopo.checkpoints.checkpoints import Checkpoints, Restored
    from purejax_mgtopo.mirror.mirror import WandbMirror
    from purejax_mgtopo.population.population import Population


class LostCheckpoints(RunError):
    """A run whose checkpoints are gone; to begin it anew is for its owner to decide."""


class Loop:
    """The loop's moving parts, so that each step of it reads on its own."""

    def __init__(
        self,
        population: Population,
        record: RunRecord,
        reporter: Reporter,
        mirror: WandbMirror | None,
        checkpoints: Callable[[Wave], Checkpoints],
        name: str,
        resume_it: bool,
        anew: bool = False,
    ) -> None:
        self._population, self._record, self._reporter = population, record, reporter
        self._config, self._name, self._resume = population.config, name, resume_it
        self._anew = anew
        self._experiment = population.config.experiment
        self._checkpoints = checkpoints
        self._ledger = Ledger(self._experiment, record, reporter, mirror)
        self._saved = self._ledger.began
        self._score = math.nan
        """The score of this wave's last evaluation, as far as this process has seen it."""
        self._failed_save: str | None = None
        """Why the latest save of this wave did not succeed."""
        self._unsaved: str | None = None
        """Why the last state of a wave is not saved."""
        self._hope, self._hopeless = False, False
        """Whether a wave before this one has finite seeds; whether no seed has any longer, in the last wave."""

    def run(self) -> RunResult:
        """Train all waves, to the end or until asked to stop."""
        config, reporter = self._experiment, self._reporter
        waves = self._population.waves
        self._total = config.episodes * len(waves)
        self._ledger.waves = len(waves)
        reporter.begin(self._name, config.episodes, config.seeds)
        with heard() as stop:
            with (
                stop.answered_by(self._announce_stop, self._quit),
                Watchdog(reporter.note) as watchdog,
            ):
                try:
                    for wave in waves:
                        self._train(wave, stop, watchdog)
                        if self._ledger.episode < config.episodes:
                            break
                        self._ledger.done += config.episodes
                    else:
                        self._complete()
                except BaseException as error:
                    self._record_failure(error)
                    raise self._explained(error) from error
            return self._finish(stop)

    def _record_failure(self, error: BaseException) -> None:
        with contextlib.suppress(RunError):  # as when the disk is full
            self._record.flush()
            why = f"{type(error).__name__}: {error}"
            self._record.event("failed", error=why, episode=self._ledger.episode)
        self._reporter.end(f"failed at {self._ledger.place}")

    def _train(self, wave: Wave, stop: StopRequest, watchdog: Watchdog) -> None:
        """Lines of one wave: from its beginning, or its latest checkpoint, to its end or a request to stop."""
        config, population = self._experiment, self._population
        self._ledger.episode, self._score, self._failed_save = 0, math.nan, None
        with self._stored(wave) as store:
            if store.complete(config.episodes):
                self._ledger.episode = config.episodes
                self._ledger.lost[wave.index] = self._record.non_finite(wave)
                self._hope |= self._ledger.lost[wave.index] < wave.seeds
                return
            found = store.restore() if self._resume else None
            if self._resume:
                self._take_up(wave, found, store)
            # In the last chunk of the wave before, or while this one was prepared.
            if stop.requested_anywhere:
                return
            state = population.init(wave) if found is None else found.state
            watchdog.beat()
            wall = round(self._ledger.initialised(), 3)
            if found is None:
                self._record.event("initialised", wave=wave.index, wall=wall)
            ending = False
            while self._ledger.episode < config.episodes and not ending:
                state, report = population.advance(state, wave)
                watchdog.beat()
                score = self._ledger.take(report, wave)
                ending = self._keep(store, state, wave, score, stop)
                watchdog.beat()

    @contextlib.contextmanager
    def _stored(self, wave: Wave) -> Iterator[Checkpoints]:
        """The wave's checkpoints; at the end, all that was saved is durable."""
        store = self._checkpoints(wave)
        try:
            yield store
        except processes.ProcessGone:
            raise  # a save under way waits for it in vain
        except BaseException:
            with contextlib.suppress(Exception):  # the first error is the one to hear of
                store.close(alone=True)
            raise
        with self._tolerated(wave), clear_disk_errors(self._record.folder):
            store.close()
        self._unsaved = self._unsaved or self._failed_save

    def _take_up(self, wave: Wave, found: Restored | None, store: Checkpoints) -> None:
        """Put the records back to where the checkpoint stands.

        They are kept in the order of waves, so that all later waves come again. Their checkpoints go last: after a kill
        before that, this wave still lacks its end, and is taken up once more.
        """
        if found is None and not self._anew and wave.index in self._record.saved_waves:
            folder = self._record.folder
            raise LostCheckpoints(
                f"{folder} has had checkpoints of wave {wave.index}, and none is left: put them back, or begin that "
                f"wave anew by `mgtopo resume {folder} --anew`, which discards what was recorded of it and of all "
                "waves after it"
            )
        self._ledger.episode = 0 if found is None else found.episode
        proof = getattr(found, "records", None)
        self._record.rewind(wave, self._ledger.episode, proof)
        later = store.forget_later()
        told = found is not None and not found.bitwise  # by the checkpoint
        changes = "" if told else "; ".join(self._record.changes)
        past = self._record.extended_from if self._population.scheduled else []
        exactly = not (told or changes or past)
        self._record.event(
            "resumed", wave=wave.index, episode=self._ledger.episode, bitwise=exactly
        )
        where = self._ledger.place if self._ledger.total else "the start"
        self._reporter.note(f"{self._name}: going on from {where}")
        if later:
            begun = self._population.waves[wave.index + 1 : max(later) + 1]
            seeds = sum(each.seeds for each in begun)
            self._reporter.note(
                f"{seeds_in_words(seeds)} of later waves will be trained again, for records are kept in the order of "
                "waves"
            )
        if told or changes:
            self._reporter.note(to_rounding(changes or "see above"))
        if past:
            self._reporter.note(
                f"what {self._experiment.method} does follows the length of the whole training, which was to be "
                f"{past[0]:,} episodes: the result is not that of a run of {self._experiment.episodes:,} from the start"
            )
        self._resume = False  # later waves begin as in any run

    def _keep(
        self, store: Checkpoints, state: Any, wave: Wave, score: float, stop: StopRequest
    ) -> bool:
        """Save if it is time to; whether to end here. All processes come to the same answer.

        Between two evaluations, a checkpoint counts as good as the first of them.
        """
        now, minutes = time.monotonic(), self._config.means.checkpoint.minutes
        finished = self._ledger.episode >= self._experiment.episodes
        due = now - self._saved >= 60 * minutes
        self._score = self._score if math.isnan(score) else score
        gathered = processes.gather([stop.requested, due, self._score, self._ledger.alive])
        ending, due = bool(gathered[:, 0].any()), bool(gathered[0, 1])
        alive = bool(gathered[:, 3].any())
        self._hopeless = (
            not (alive or self._hope or finished) and wave == self._population.waves[-1]
        )
        self._hope |= finished and alive
        ending = ending or self._hopeless
        with self._tolerated(wave):
            store.settle()
            if finished or ending or due:
                self._record.flush()  # a checkpoint never knows of more than the records do
                # Of processes with seeds that are finite.
                scores = gathered[np.isfinite(gathered[:, 2]), 2]
                store.records = self._record.proof()
                store.save(state, float(np.mean(scores) if len(scores) else gathered[0, 2]))
                self._record.event(
                    "checkpoint",
                    wave=wave.index,
                    episode=self._ledger.episode,
                    wall=round(time.monotonic() - now, 3),
                )
                self._saved, self._failed_save = time.monotonic(), None
        return ending

    @contextlib.contextmanager
    def _tolerated(self, wave: Wave) -> Iterator[None]:
        """Go on after a checkpoint that cannot be written, if that is what the user wants."""
        try:
            yield
        except RunError as error:
            if self._config.means.checkpoint.on_error == "stop":
                raise
            self._saved, self._failed_save = time.monotonic(), str(error)
            with contextlib.suppress(RunError):  # as when the disk is full
                self._record.event("unsaved", wave=wave.index, episode=self._ledger.episode)
            self._reporter.note(f"{error}; training goes on (checkpoint.on_error)")

    def _complete(self) -> None:
        """All waves are trained: one table of all their seeds. Raises RunError where it lacks some."""
        self._record.flush()
        processes.gather([0.0])  # all have flushed
        processes.in_first(self._record.join)

    def _finish(self, stop: StopRequest) -> RunResult:
        done = self._ledger.done >= self._total
        seconds = time.monotonic() - self._ledger.began
        lost = sum(self._ledger.lost.values())
        episode = self._ledger.done if done else self._ledger.total
        if not done:  # else the tables are joined by now
            self._record.flush()
        words = "finished" if done else "interrupted"
        if self._hopeless:
            words = "no seed is left that is finite: stopped"
            self._record.event("failed", error=words, episode=episode, all_lost=True)
        else:
            kind = "end" if done else "interrupted"
            self._record.event(kind, episode=episode, non_finite=lost, wall=seconds)
        figure = self._draw() if done and processes.index() == 0 else None
        seeds, lanes = self._experiment.seeds, self._population.waves[0].seeds
        rate = self._ledger.speed.rate / lanes
        speed = (
            ""
            if math.isnan(rate)
            else f" ({significant(rate)} episodes/s x {seeds_in_words(lanes)})"
        )
        far = (
            f"{self._experiment.episodes:,} episodes x {seeds} seeds"
            if done
            else self._ledger.place
        )
        self._reporter.end(f"{words} after {far} in {duration(seconds)}{speed}")
        return RunResult(
            folder=self._record.folder,
            config=self._config,
            episode=episode,
            seconds=seconds,
            stopped_by=None if done or self._hopeless else stop.signal or signal.SIGTERM,
            non_finite=lost,
            figure=figure,
            hopeless=self._hopeless,
            unsaved=self._unsaved,
        )

    def _draw(self) -> Path | None:
        folder = self._record.folder
        run = load_run(folder)
        target = folder / FIGURES / "curves.png"
        method = word_for(folder, self._experiment)
        return try_to_draw([(method, run)], target, self._reporter.note)

    def _explained(self, error: BaseException) -> BaseException:
        """What to do about it, where that is known."""
        folder = self._record.folder
        if isinstance(error, processes.ProcessGone):
            return processes.ProcessGone(f"{error}; start all again by `mgtopo resume {folder}`")
        if isinstance(error, LostCheckpoints):
            return error
        if isinstance(error, RunError):
            return RunError(f"{error}; then go on by `mgtopo resume {folder}`")
        if "RESOURCE_EXHAUSTED" in str(error) or isinstance(error, MemoryError):
            lanes = self._population.waves[0].seeds
            return RunError(
                f"out of memory with {lanes} seeds at a time; `mgtopo fit` tells how many fit: start again "
                f"with fewer, for example lanes={max(1, lanes // 2)}, in another folder"
            )
        return error

    def _announce_stop(self) -> None:
        self._reporter.note(
            "stopping after this chunk, to be resumed; press Ctrl-C again to quit at once"
        )

    def _quit(self) -> None:
        """In the listener's thread: the main one may never answer. Files are always whole."""
        self._reporter.close()
        folder = self._record.folder
        with contextlib.suppress(OSError, ValueError, AttributeError):  # nobody may be reading
            print(
                f"quit at {self._ledger.place}; {folder} keeps what was recorded until its latest "
                f"checkpoint, from where `mgtopo resume {folder}` goes on",
                file=sys.stderr,
                flush=True,
            )
        os._exit(130)
