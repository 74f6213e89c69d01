"""What a run leaves on disk; `run_data` reads it back as arrays.

    config.json      every setting by its flat name, versions, device, commit, command; written once
    events.jsonl     one line for the start, every chunk, every evaluation, and the end
    metrics.parquet  one row per evaluation and seed; complete and readable at every instant
    checkpoints/     the whole state of training; see `checkpoint`

Files are replaced as a whole or appended to by whole lines, so that a kill at any time leaves them
readable. A run holds a lock on its folder: a second process cannot write into it, nor mistake it
for an abandoned one. Of several processes, all but the first add their number to the names of the
files that hold their own seeds, until the first one joins them at the end.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from purejax_mgtopo.config import Config, flatten, override
from purejax_mgtopo.errors import RunError
from purejax_mgtopo.plugins.registry import plugins_of
from purejax_mgtopo.population.waves import Wave
from purejax_mgtopo.records.events import (
    EVENTS,
    all_lost,
    end_with_a_line,
    event_line,
    prefix_digest,
    read_events,
    saved_waves,
    seconds_told,
)
from purejax_mgtopo.records.files import (
    clear_disk_errors,
    make_folder,
    remove_leftovers,
    strict_json,
    sync,
    write_atomically,
)
from purejax_mgtopo.records.fingerprint import changed, fingerprint, recorded, unfit
from purejax_mgtopo.records.folders import (
    CHECKPOINTS,
    CONFIG,
    FIGURES,
    LOCK,
    METRICS,
    SWEEP,
    Status,
    each_once,
    find_runs,
    holds_something,
    numbered,
    read_config,
    refuse_existing,
    status,
    tables,
)
from purejax_mgtopo.records.locks import lock
from purejax_mgtopo.records.metrics import Evaluation, Metrics
from purejax_mgtopo.records.provenance import provenance
from purejax_mgtopo.records.seal import break_seal, seal

FORMAT = 2
"""The format of config.json. 1 held the settings as a tree besides; its flat ones are read as today's."""

__all__ = [
    "CHECKPOINTS",
    "CONFIG",
    "FIGURES",
    "SWEEP",
    "RunRecord",
    "Status",
    "all_lost",
    "each_once",
    "find_runs",
    "read_config",
    "read_events",
    "refuse_existing",
    "status",
    "tables",
]


class RunRecord:
    """The files of one run while it is being made: a context manager, holding its lock.

    Args:
        resume: go on with the records in `folder` rather than refuse them.
        process, processes: which of how many processes this is.
    """

    SHARE = 20.0
    """The table is written at most so often that writing takes one part in this many of the time."""

    def __init__(
        self,
        folder: Path,
        config: Config,
        command: str | None,
        *,
        resume: bool = False,
        process: int = 0,
        processes: int = 1,
    ) -> None:
        self.folder = folder
        config = override(config, flatten(config))  # as it will be read back: 0.0 for a float's 0
        self._asked, self._command, self._resume = config, command, resume
        self._config = config
        """What is written down: a run that is to be longer has its old length until it is taken up."""
        self._process, self._processes = process, processes
        self._open = contextlib.ExitStack()
        self._started = time.monotonic()
        self._metrics = Metrics(config)
        self._written, self._cost = -math.inf, 0.0
        self.changes: list[str] = []
        """What results depend on and is not as it was when the run was begun."""
        self.extended_from: list[int] = []
        """Episodes that it was to have before, each time that it had trained some and was made longer."""
        self.saved_waves: set[int] = set()
        """Waves of which, by what was recorded, a checkpoint had reached the disk."""

    def __enter__(self) -> RunRecord:
        with self._open as stack, clear_disk_errors(self.folder):
            first = self._process == 0
            if first and not self._resume:
                refuse_existing(self.folder)
            make_folder(self.folder)
            free = stack.enter_context(lock(self.folder / numbered(LOCK, self._process)))
            if not free or (first and not self._resume and holds_something(self.folder)):
                raise RunError(f"{self.folder} is in use by another mgtopo; choose another folder")
            if self._resume:
                self._take_up()
            elif first:
                description = {
                    "format": FORMAT,
                    "settings": flatten(self._config),
                    **provenance(self._command),
                    "fingerprint": fingerprint(self._config.experiment),
                    "plugins": plugins_of(flatten(self._config)),
                }
                write_atomically(self.folder / CONFIG, strict_json(description, indent=2).encode())
            self.flush()
            self._cost = 0.0  # the first time imports a library besides
            self._events: IO[str] = stack.enter_context(
                open(self._path(EVENTS), "a", encoding="utf-8")
            )
            sync(self.folder)  # it lists them from now on
            if first:
                remove_leftovers(self.folder, "*", "figures/*", "checkpoints/*/*")
                break_seal(self.folder)
                stack.callback(seal, self.folder, (CONFIG, EVENTS, METRICS))
            self._open = stack.pop_all()
        if not self._resume:
            self.event("start", settings=flatten(self._config))
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # The first error is the one to hear of.
        errors = contextlib.suppress(OSError) if kind else clear_disk_errors(self.folder)
        with errors:
            try:
                self._sync_events()
            finally:
                self._open.close()

    def proof(self) -> dict[str, Any]:
        """What proves, with a checkpoint, the records from before it; flush first."""
        # Of several processes, each has a table of its own seeds.
        rows = {"rows": self._metrics.digest(final=False)} if self._processes == 1 else {}
        return prefix_digest(self._path(EVENTS)) | rows

    def rewind(self, wave: Wave, episode: int, proof: Mapping[str, Any] | None = None) -> None:
        """Go back to where a wave stood after `episode`; what was recorded of later times will come again.

        From then on the run has the length that was asked for. Raises RunError, with all as it was, when what was
        recorded before is lost, or is not what `proof` says.
        """
        if proof is not None and self._process == 0:
            found = prefix_digest(self._path(EVENTS), proof["events_bytes"])
            if found["events"] != proof["events"]:
                raise RunError(self._lost(EVENTS, episode))

        def still_holds(event: Mapping[str, Any]) -> bool:
            if event.get("event") == "end":  # it will end again
                return False
            if event.get("event") not in ("chunk", "evaluation", "final", "checkpoint"):
                return True
            if not episode and event.get("wave", 0) == wave.index:  # it begins once more
                return False
            return (event.get("wave", 0), event["episode"]) <= (wave.index, episode)

        events = read_events(self._path(EVENTS))
        kept = [strict_json(event) for event in events if still_holds(event)]
        rows = self._metrics.until(wave, episode)
        if self._process == 0:
            saved = f"from before the checkpoint of episode {episode:,}"
            self._check_rows(rows, wave, episode, saved)
        if proof is not None and self._process == 0 and "rows" in proof:
            if rows.digest(final=False) != proof["rows"]:
                raise RunError(self._lost(METRICS, episode))
        with clear_disk_errors(self.folder):
            write_atomically(self._path(EVENTS), "".join(line + "\n" for line in kept).encode())
            self._events.close()
            self._events = self._open.enter_context(open(self._path(EVENTS), "a", encoding="utf-8"))
            # Until here a kill leaves a run of the old length, and its last evaluation in the table.
            self._extend(trained=bool(wave.index or episode))
        self._metrics, rows.config = rows, self._config
        rows.reopen(wave)
        self.flush()

    def _check_rows(self, rows: Metrics, wave: Wave, episode: int, which: str) -> None:
        expected = self._rows_until(wave, episode)
        if len(rows) != expected:
            raise RunError(
                f"{self._path(METRICS)} holds {len(rows)} of the {expected} rows {which}: put the original "
                f"back, or move {self.folder / CHECKPOINTS} away to begin anew"
            )

    def _lost(self, name: str, episode: int) -> str:
        return (
            f"{self.folder / name} is not what it was when the checkpoint of episode {episode:,} was saved: put the "
            f"original back, or move {self.folder / CHECKPOINTS} away to begin anew (`mgtopo resume --anew`)"
        )

    def event(self, kind: str, **fields: Any) -> None:
        """Append one line; ``seconds`` count from the start of the run, without interruptions."""
        line = event_line(kind, time.monotonic() - self._started, **fields)
        with clear_disk_errors(self.folder):
            self._events.write(line)
            self._events.flush()

    def evaluation(self, evaluation: Evaluation) -> None:
        """Add one evaluation to the metrics. They reach the disk soon; `flush` makes sure."""
        if not len(evaluation.seeds):  # all lanes of this process are idle
            return
        self._metrics.append(evaluation)
        if time.monotonic() - self._written > self.SHARE * self._cost:
            self.flush()

    @property
    def keeps_final(self) -> bool:
        """Whether the table has room for a final evaluation."""
        return self._metrics.keeps_final

    def non_finite(self, wave: Wave) -> int:
        """Seeds of a wave that are frozen, as far as this process knows."""
        return self._metrics.non_finite(wave)

    def flush(self) -> None:
        """Make all records durable."""
        began = time.monotonic()
        with clear_disk_errors(self.folder):
            write_atomically(self._path(METRICS), self._metrics.as_parquet())
            self._sync_events()
        self._written = time.monotonic()
        self._cost = self._written - began

    def _sync_events(self) -> None:
        if hasattr(self, "_events") and not self._events.closed:
            self._events.flush()
            os.fsync(self._events.fileno())

    def join(self) -> None:
        """In the first process, when all have flushed: one table of all seeds. Raises RunError where it lacks rows."""
        if self._process:
            return
        if self._processes > 1:
            self._join_tables()
        experiment = self._config.experiment
        every = Wave(0, experiment.first_seed, experiment.seeds)
        self._check_rows(self._metrics, every, experiment.episodes, "of a finished run")

    def _join_tables(self) -> None:
        """A kill in the midst of it leaves some rows in two tables; they are read once."""
        self._metrics = self._read_tables()
        with clear_disk_errors(self.folder):
            write_atomically(self.folder / METRICS, self._metrics.as_parquet())
            for path in tables(self.folder)[1:]:
                path.unlink()

    def _read_tables(self) -> Metrics:
        found = Metrics(self._config)
        try:
            found.joined([path for path in tables(self.folder) if path.exists()])
        except (OSError, ValueError, KeyError) as error:
            raise RunError(
                f"{self.folder / METRICS} cannot be read ({error}): put the original back, or remove it and move "
                f"{self.folder / CHECKPOINTS} away to begin anew"
            ) from None
        return found

    def _rows_until(self, wave: Wave, episode: int) -> int:
        """Rows of all waves before this one, and of this one until `episode`."""
        config, first = self._config.experiment, self._metrics.from_the_start

        def evaluations(episode: int) -> int:
            every, last = config.evaluation.every, episode == config.episodes
            return episode // every + (last and episode % every != 0) + (first and episode > 0)

        before = wave.first_seed - config.first_seed
        return before * evaluations(config.episodes) + wave.seeds * evaluations(episode)

    def _take_up(self) -> None:
        """Read what is there; a part of it may prove to be ahead of the checkpoint (see `rewind`).

        The first process takes up what all have recorded, however many they were; the others begin with nothing.
        """
        then, now = recorded(self.folder / CONFIG), fingerprint(self._config.experiment)
        if problem := unfit(then, now):
            raise RunError(f"{self.folder} cannot be gone on with: {problem}")
        self.changes = changed(then, now)
        document = self._description()
        before = document["settings"].get("episodes", self._asked.experiment.episodes)
        self._config = override(self._asked, {"episodes": before})
        self.extended_from = list(document.get("extended_from", []))
        if self._process == 0:
            self._join_tables()
        else:
            self._metrics.untrained = self._read_tables().from_the_start
        self.saved_waves = saved_waves(read_events(self._path(EVENTS)))
        self._started = time.monotonic() - seconds_told(self._path(EVENTS))
        # A line torn by a kill must not run into the next one. All else is judged by a checkpoint's proof first.
        end_with_a_line(self._path(EVENTS))

    def _extend(self, trained: bool) -> None:
        """Write down that the run is to be longer than it was, if it is; one that begins anew has no other past."""
        before, now = (each.experiment.episodes for each in (self._config, self._asked))
        past, self._config = self.extended_from, self._asked
        self.extended_from = [*past, *[before] * (before != now)] if trained else []
        if self._process == 0 and (before, past) != (now, self.extended_from):
            document = self._description()
            document["settings"]["episodes"] = now
            document.pop("extended_from", None)
            document |= {"extended_from": self.extended_from} if self.extended_from else {}
            write_atomically(self.folder / CONFIG, strict_json(document, indent=2).encode())

    def _description(self) -> Any:
        return json.loads((self.folder / CONFIG).read_text(encoding="utf-8-sig"))

    def _path(self, name: str) -> Path:
        return self.folder / numbered(name, self._process)
