"""`mgtopo status`: how far runs and meta-trainings are, in tables."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from purejax_mgtopo.cli.tables import natural_width, table_of
from purejax_mgtopo.records.run_names import NamedRun, task_key, told_apart, word_for
from purejax_mgtopo.training.account import duration, significant
from purejax_mgtopo.training.run_state import RunState, judge, of_kind, warm_events

if TYPE_CHECKING:
    from purejax_mgtopo.universal.kept.standing import MetaStanding


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
    state, error = judge(one.folder, one.events, of_kind(one.events, "update"), silence)
    state = "finished" if one.finished else state
    warm = warm_events(one.events, "update")
    rate = len(warm) / sum(event["wall"] for event in warm) if warm else math.nan
    left = (one.steps - one.step) / rate if state.startswith("running") else math.nan
    saved = "-" if one.saved is None else f"{one.saved:,}"
    before = [
        one.folder.resolve().name,
        _in_words(state, error, silence),
        f"{one.step:,}/{one.steps:,}",
    ]
    return before, ["-" if math.isnan(rate) else significant(rate), duration(left), saved]
