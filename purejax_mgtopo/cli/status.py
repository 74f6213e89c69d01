"""`mgtopo status`: how far runs and meta-trainings are, from their records alone, so that any machine that sees the
folder can ask."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from purejax_mgtopo.cli.tables import natural_width, table_of
from purejax_mgtopo.config import Experiment, flatten
from purejax_mgtopo.errors import RunError
from purejax_mgtopo.machine.alive import is_gone
from purejax_mgtopo.population.waves import split_into_waves
from purejax_mgtopo.records.record import Status, read_config, read_events, status
from purejax_mgtopo.records.run_names import NamedRun, task_key, told_apart, word_for
from purejax_mgtopo.training.account import duration, significant

if TYPE_CHECKING:
    from purejax_mgtopo.universal.kept.standing import MetaStanding

RECENT = 20
"""Chunks over which speed is measured."""
COMPILING = 900.0
"""Seconds of silence that are no news before the first chunk: the program is being compiled."""
PATIENCE = 60.0
"""Seconds of silence that never mean anything."""


@dataclass(frozen=True)
class RunState:
    """One run's records, in numbers; NaN and None for what they do not say yet."""

    folder: Path
    experiment: Experiment
    settings: Mapping[str, Any]
    state: str
    """``finished``, ``running``, ``running?`` (recent news, but no lock to be seen), ``interrupted`` or ``failed``."""
    silence: float
    """Seconds since the last event."""
    wave: int
    waves: int
    episode: int
    """Training episodes done in the current wave."""
    returns: float
    """Mean return over the finite seeds: final, else at the last evaluation, else in the last chunk's training."""
    evaluated: bool
    """Whether an evaluation told `returns`."""
    train_return: float
    """Mean return of the last chunk's training."""
    edge_rate: float
    rate: float
    """Training episodes per second, all seeds together."""
    seconds_left: float
    non_finite: int
    checkpoint: int | None
    """Episode of the last checkpoint of the current wave."""
    error: str


def read_state(folder: Path, now: float | None = None) -> RunState:
    """The state of the run in `folder` at `now` (Unix time). Raises RunError when it is not a run."""
    config = read_config(folder)
    events = list(read_events(folder))
    chunks = _of(events, "chunk")
    wave = int(chunks[-1].get("wave", 0)) if chunks else 0
    episode = int(chunks[-1]["episode"]) if chunks else 0
    experiment = config.experiment
    waves = split_into_waves(experiment, config.means.lanes or experiment.seeds)
    now = time.time() if now is None else now
    silence = now - events[-1]["time"] if events else math.nan
    state, error = _judge(folder, events, chunks, silence)
    rate = _rate(events)
    done = sum(part.seeds for part in waves[:wave]) * experiment.episodes
    done += waves[min(wave, len(waves) - 1)].seeds * episode
    left = (experiment.seeds * experiment.episodes - done) / rate if rate > 0 else math.nan
    evaluations = [e for e in _of(events, "evaluation") if e.get("wave", 0) == wave]
    finals = [e for e in _of(events, "final") if e.get("wave", 0) == wave]
    if finals and evaluations and finals[-1]["episode"] == evaluations[-1]["episode"]:
        evaluations.append(finals[-1])
    saved = [int(e["episode"]) for e in _of(events, "checkpoint") if e.get("wave", 0) == wave]
    latest = chunks[-1] if chunks else {}
    returns = evaluations[-1].get("return_sampled") if evaluations else latest.get("train_return")
    edges = _evaluated_edges(evaluations[-1]) if evaluations else latest.get("edge_rate")
    return RunState(
        folder=folder,
        experiment=experiment,
        settings=flatten(config),
        state=state,
        silence=silence,
        wave=wave,
        waves=len(waves),
        episode=episode,
        returns=_number(returns),
        evaluated=bool(evaluations),
        train_return=_number(latest.get("train_return")),
        edge_rate=_number(edges),
        rate=rate,
        seconds_left=left if state.startswith("running") else math.nan,
        non_finite=int(latest.get("non_finite") or 0),
        checkpoint=saved[-1] if saved else None,
        error=error,
    )


def status_table(states: Sequence[RunState], width: int = 160) -> Table:
    """A table with one line per run, of the columns for which `width` has room.

    Episodes and their speed are a seed's. Nothing is cut: where it is narrow, what can be asked of one run alone goes.
    """
    columns = _columns(states)
    for name in _SPARED:
        if _needed(columns, width) <= width:
            break
        columns.pop(name, None)
        if name == "episodes":
            columns["done"] = [f"{_share(state):.0%}" for state in states]
    chosen = {
        _HEADINGS.get(name, name): columns[name] for name in sorted(columns, key=_ORDER.index)
    }
    whole = ("task", "method") if _needed(columns, width) <= width else ()
    return table_of(chosen, words=("task", "method", "state"), whole=whole)


_HEADINGS = {
    "return": "evaluation\nreturn",
    "training": "training\nreturn",
    "speed": "episodes/s\nof a seed",
}
_ORDER = ("task", "method", "state", "seeds", "wave", "episodes", "done", "return", "training",
          "edges", "speed", "left", "lost", "saved")  # fmt: skip
_SPARED = ("saved", "training", "speed", "seeds", "episodes", "edges", "wave", "lost")
"""What a narrow terminal goes without, in this order."""


def _columns(states: Sequence[RunState]) -> dict[str, list[str]]:
    """The cells of each column."""

    def told(cell: Callable[[RunState], str]) -> list[str]:
        return [cell(state) for state in states]

    columns = {
        "task": told(lambda s: s.experiment.task),
        "method": _methods(states),
        "state": told(_state_words),
        "seeds": told(lambda s: str(s.experiment.seeds)),
        "wave": told(lambda s: f"{s.wave + 1}/{s.waves}" if s.waves > 1 else ""),
        "episodes": told(lambda s: f"{s.episode:,}/{s.experiment.episodes:,}"),
        "return": told(lambda s: _or_dash(s.returns if s.evaluated else math.nan, ".2f")),
        "training": told(lambda s: _or_dash(s.train_return, ".2f")),
        "edges": told(lambda s: _or_dash(s.edge_rate, ".0%")),
        "speed": told(lambda s: significant(x) if (x := _speed(s)) == x else "-"),
        "left": told(lambda s: duration(s.seconds_left)),
        "lost": told(lambda s: str(s.non_finite or "")),
        "saved": told(lambda s: "-" if s.checkpoint is None else f"{s.checkpoint:,}"),
    }
    return {
        name: cells for name, cells in columns.items() if any(cells) or name not in ("wave", "lost")
    }


def _methods(states: Sequence[RunState]) -> list[str]:
    """The method of each run, and what tells it from others of its task and method."""
    by_task: dict[str, list[RunState]] = {}
    for state in states:
        by_task.setdefault(task_key(state.experiment.task), []).append(state)
    names: dict[int, str] = {}
    for own in by_task.values():
        found = [NamedRun(word_for(s.folder, s.experiment), s.folder, s.settings) for s in own]
        names |= {id(state): name for state, name in zip(own, told_apart(found), strict=True)}
    return [names[id(state)] for state in states]


def _needed(columns: Mapping[str, Sequence[str]], width: int) -> int:
    """Columns of the terminal that it takes to fold nothing but long words of a state."""
    whole = {_HEADINGS.get(name, name): cells for name, cells in columns.items()}
    room = max(len("interrupted,"), width - _NUMBERS)
    whole["state"] = [cell[:room] for cell in columns["state"]]
    return natural_width(whole)


_NUMBERS = 92
"""Columns of the terminal that the other cells of a table of common names take."""


def _share(state: RunState) -> float:
    return (state.wave + state.episode / state.experiment.episodes) / state.waves


def _speed(state: RunState) -> float:
    """Episodes of a seed in a second."""
    return state.rate / max(1, -(-state.experiment.seeds // state.waves))


def _or_dash(value: float, style: str) -> str:
    return "-" if math.isnan(value) else f"{value:{style}}"


def read_states(folders: Iterable[Path]) -> tuple[list[RunState], list[str]]:
    """All runs that can be read, each once, and a line for each that cannot."""
    states, problems = [], []
    for folder in {folder.resolve(): folder for folder in folders}.values():
        try:
            states.append(read_state(folder))
        except RunError as error:
            problems.append(str(error))
    return states, problems


def _judge(
    folder: Path, events: Sequence[dict[str, Any]], chunks: Sequence[dict[str, Any]], silence: float
) -> tuple[str, str]:
    """The state, and what a failed run died of.

    A lock that is held proves that the run goes on. One that is free proves little when the run is on another machine,
    whose locks may not be seen here: there, what the run is used to say, and when, decides.
    """
    found = status(folder)
    if found is Status.FINISHED:
        return "finished", ""
    if found is Status.RUNNING:
        return "running", ""
    last = events[-1] if events else {}
    began = [event.get("process") for event in events if event.get("event") in ("start", "resumed")]
    if last.get("event") == "failed":
        return "failed", str(last.get("error", ""))
    if last.get("event") == "interrupted":
        return "interrupted", ""
    if began and is_gone(began[-1]):  # killed, or quit at once
        return "interrupted", ""
    walls = [float(e.get("wall") or 0) for e in chunks[-RECENT:]]
    patience = max(PATIENCE, 5 * max(walls)) if walls else COMPILING
    if last.get("event") in ("resumed", "initialised", "start"):
        patience = max(patience, COMPILING)
    return ("running?" if silence <= patience else "interrupted"), ""


def _rate(events: Sequence[dict[str, Any]]) -> float:
    """Episodes per second over the latest chunks."""
    recent = [e for e in _warm(events, "chunk") if e.get("episodes_per_second")]
    seconds = sum(e["wall"] for e in recent)
    episodes = sum(e["episodes_per_second"] * e["wall"] for e in recent)
    return episodes / seconds if seconds else math.nan


def _warm(events: Sequence[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    """The latest of a kind but the first of each process, whose call compiles the program."""
    warm, compiled = [], False
    for event in events:
        if event.get("event") in ("start", "resumed"):
            compiled = False
        elif event.get("event") == kind:
            warm += [event] * compiled
            compiled = True
    return [event for event in warm[-RECENT:] if event.get("wall")]


def _state_words(state: RunState) -> str:
    return _in_words(state.state, state.error, state.silence)


def _in_words(state: str, error: str, silence: float) -> str:
    if state == "failed":
        return f"failed: {' '.join(error.split())[:60]}"
    if state in ("running?", "interrupted"):
        return f"{state}, no news for {duration(silence)}"
    return state


def meta_table(found: Sequence[MetaStanding], width: int = 160, now: float | None = None) -> Table:
    """A table with a line for each meta-training and task: means over the latest updates, and how long it will take."""
    names = ("meta-training", "state", "updates", "task", *_MEASURES, "updates/s", "left", "saved")
    columns: dict[str, list[str]] = {name: [] for name in names}
    for one in found:
        before, after = _of_all_tasks(one, time.time() if now is None else now)
        for number, task in enumerate(one.tasks):
            told = one.measures.get(task, {})
            own = [_or_dash(told.get(k, math.nan), style) for k, style in _MEASURES.values()]
            if number:  # the rest stands in the first line
                before, after = [""] * len(before), [""] * len(after)
            for name, cell in zip(names, [*before, task, *own, *after], strict=True):
                columns[name].append(cell)
    if all(cell == "-" for cell in columns["size\nof f"]):  # evolution does not tell it
        del columns["size\nof f"]
    states = [cell[: len("interrupted,")] for cell in columns["state"]]  # longer ones fold
    for name in ("saved", "updates/s", "size\nof f", "edges"):
        if natural_width(columns | {"state": states}) > width:
            columns.pop(name, None)
    return table_of(columns, words=("meta-training", "state", "task"))


_MEASURES = {
    "priced\nreturn": ("return", ".2f"),
    "edges": ("edge_rate", ".0%"),
    "size\nof f": ("correction", ".3f"),
}
"""Headings, the measures beneath them, and how these are written."""


def _of_all_tasks(one: MetaStanding, now: float) -> tuple[list[str], list[str]]:
    """The cells of a meta-training before those of its tasks, and after them."""
    silence = now - one.events[-1]["time"] if one.events else math.nan
    state, error = _judge(one.folder, one.events, _of(one.events, "update"), silence)
    state = "finished" if one.finished else state
    warm = _warm(one.events, "update")
    rate = len(warm) / sum(event["wall"] for event in warm) if warm else math.nan
    left = (one.steps - one.step) / rate if state.startswith("running") else math.nan
    saved = "-" if one.saved is None else f"{one.saved:,}"
    before = [
        one.folder.resolve().name,
        _in_words(state, error, silence),
        f"{one.step:,}/{one.steps:,}",
    ]
    return before, ["-" if math.isnan(rate) else significant(rate), duration(left), saved]


def _evaluated_edges(event: dict[str, Any]) -> Any:
    return event.get("edge_rate", event.get("edge_rate_sampled"))


def _of(events: Sequence[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [event for event in events if event.get("event") == kind]


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)
