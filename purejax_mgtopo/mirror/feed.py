"""The rows of a run's W&B mirror from its records, in order, each once.

A row is a chunk's, or that of the untrained team. Its step grows by one for each training episode of a seed, and by one
more from wave to wave, where the next wave's untrained team has its place; so it means the same after a resume. An
evaluation joins the row of its chunk when *all* seeds of the run are known at that episode, that is in the last wave:
statistics are never of a part of the seeds. Of several processes this one hears its own seeds only, so there
evaluations follow at the end, when the records are one table.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from purejax_mgtopo.config import Config
from purejax_mgtopo.mirror.rows import (
    Row,
    evaluation_row,
    progress_row,
    seed_row,
    step_of,
    together,
)
from purejax_mgtopo.population.waves import split_into_waves
from purejax_mgtopo.records.events import EVENTS, NewLines
from purejax_mgtopo.records.metrics import Evaluation, read_metrics


@dataclass(frozen=True)
class LogEntry:
    """What is logged at one step."""

    step: int
    row: Row


class Feed:
    """The rows that a run's records hold and that have not been taken yet.

    Args:
        since: the last step that the mirror has already; -1 for none.
        alone: this process hears of every seed.
    """

    def __init__(self, folder: Path, config: Config, since: int = -1, alone: bool = True) -> None:
        self._folder, self._alone = folder, alone
        self._experiment = experiment = config.experiment
        waves = split_into_waves(experiment, config.means.lanes or experiment.seeds)
        self._last_wave = waves[-1].index
        self._start = step_of(self._last_wave, 0, experiment)
        """The step at which the last wave begins."""
        self._step = since
        self._events = NewLines(folder / EVENTS)
        self._parts: dict[int, dict[int, Evaluation]] = {}
        """Evaluations by episode, then by first seed."""
        self._seed_steps: dict[int, int] = {}
        """The last episode logged of a seed."""
        self._loaded = False

    @property
    def step(self) -> int:
        """The last step taken."""
        return self._step

    def add(self, evaluation: Evaluation) -> None:
        """An evaluation just made; it need not be on disk yet."""
        self._load()
        self._parts.setdefault(evaluation.episode, {})[int(evaluation.seeds[0])] = evaluation

    def take(self) -> Iterator[LogEntry]:
        """Rows of the chunks, and of the untrained team, that are new in the records."""
        self._load()
        for event in self._events.take():
            kind = event.get("event")
            untrained = kind == "evaluation" and not event["episode"] and self._alone
            if kind != "chunk" and not untrained:
                continue
            step = step_of(event.get("wave", 0), int(event["episode"]), self._experiment)
            if step <= self._step:
                continue
            row = {} if untrained else progress_row(event, self._experiment)
            if self._alone and event.get("wave", 0) == self._last_wave:
                whole = self._whole(int(event["episode"]))
                row |= {} if whole is None else evaluation_row(whole, self._experiment)
            self._step = step
            if row:
                yield LogEntry(step, row)
        if self._alone:
            self._forget(self._step - self._start)

    def take_rest(self) -> Iterator[LogEntry]:
        """Rows for when all processes are done: evaluations that could not join a chunk's row, in rows of their own."""
        if self._alone:
            return
        self._reload()
        for episode in sorted(self._parts):
            whole = self._whole(episode)
            if whole is not None:
                self._step += 1
                yield LogEntry(self._step, evaluation_row(whole, self._experiment))

    def take_seed(self, seed: int, since: int) -> Iterator[LogEntry]:
        """Rows of one seed that are new since episode `since`; call before `take`, which forgets."""
        self._load()
        since = max(since, self._seed_steps.get(seed, -1))
        for episode in sorted(self._parts):
            own = [part for part in self._parts[episode].values() if seed in part.seeds]
            if episode > since and own:
                self._seed_steps[seed] = episode
                yield LogEntry(episode, seed_row(own[0], seed))

    def final(self) -> Evaluation | None:
        """The last evaluation of all seeds, from the records."""
        self._reload()
        wholes = [whole for episode in self._parts if (whole := self._whole(episode)) is not None]
        return max(wholes, key=lambda whole: whole.episode, default=None)

    def _whole(self, episode: int) -> Evaluation | None:
        parts = list(self._parts.get(episode, {}).values())
        if sum(len(part.seeds) for part in parts) < self._experiment.seeds:
            return None
        whole = together(parts)
        return whole if len(whole.seeds) == self._experiment.seeds else None

    def _forget(self, episode: int) -> None:
        """Let go of evaluations that were logged; with thousands of seeds they are large."""
        for logged in [e for e in self._parts if e <= episode and self._whole(e) is not None]:
            del self._parts[logged]

    def _load(self) -> None:
        """Evaluations from before this process: of earlier waves, or of the same one until its checkpoint.

        Not earlier than the first chunk, before which a resumed run rewinds its records.
        """
        if not self._loaded:
            self._reload()

    def _reload(self) -> None:
        self._loaded = True
        for part in read_metrics(sorted(self._folder.glob("metrics*.parquet"))):
            self._parts.setdefault(part.episode, {})[int(part.seeds[0])] = part
