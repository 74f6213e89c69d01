"""`mgtopo status`: how far runs are, from their records alone, so that any machine that sees the folder can ask."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from purejax_mgtopo.config import Experiment
from purejax_mgtopo.errors import RunError
from purejax_mgtopo.population.waves import split_into_waves
from purejax_mgtopo.records.record import Status, read_config, read_events, status
from purejax_mgtopo.training.progress import duration

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
    state: str
    """``finished``, ``running``, ``running?`` (recent news, but no lock to be seen), ``interrupted`` or ``failed``."""
    silence: float
    """Seconds since the last event."""
    wave: int
    waves: int
    episode: int
    """Training episodes done in the current wave."""
    returns: float
    """Mean return over the finite seeds at the last evaluation; before the first one, in the last chunk's training."""
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
    rate = _rate(chunks)
    done = sum(part.seeds for part in waves[:wave]) * experiment.episodes
    done += waves[min(wave, len(waves) - 1)].seeds * episode
    left = (experiment.seeds * experiment.episodes - done) / rate if rate > 0 else math.nan
    evaluations = [e for e in _of(events, "evaluation") if e.get("wave", 0) == wave]
    saved = [int(e["episode"]) for e in _of(events, "checkpoint") if e.get("wave", 0) == wave]
    latest = chunks[-1] if chunks else {}
    returns = evaluations[-1].get("return_sampled") if evaluations else latest.get("train_return")
    edges = _evaluated_edges(evaluations[-1]) if evaluations else latest.get("edge_rate")
    return RunState(
        folder=folder,
        experiment=experiment,
        state=state,
        silence=silence,
        wave=wave,
        waves=len(waves),
        episode=episode,
        returns=_number(returns),
        edge_rate=_number(edges),
        rate=rate,
        seconds_left=left if state.startswith("running") else math.nan,
        non_finite=int(latest.get("non_finite") or 0),
        checkpoint=saved[-1] if saved else None,
        error=error,
    )


def status_table(states: Sequence[RunState]) -> Table:
    """A table with one line per run."""
    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("task", "method"):
        table.add_column(heading, overflow="fold")
    table.add_column("state", overflow="fold", min_width=12)
    for heading in (
        "seeds",
        "wave",
        "episodes",
        "return",
        "edges",
        "ep/s",
        "left",
        "lost",
        "saved",
    ):
        table.add_column(heading, justify="right", no_wrap=True)
    for state in states:
        experiment = state.experiment
        table.add_row(
            experiment.task,
            experiment.method,
            _state_words(state),
            str(experiment.seeds),
            f"{state.wave + 1}/{state.waves}" if state.waves > 1 else "",
            f"{state.episode:,}/{experiment.episodes:,}",
            "-" if math.isnan(state.returns) else f"{state.returns:.2f}",
            "-" if math.isnan(state.edge_rate) else f"{state.edge_rate:.0%}",
            "-" if math.isnan(state.rate) else f"{state.rate:,.0f}",
            duration(state.seconds_left),
            str(state.non_finite),
            "-" if state.checkpoint is None else f"{state.checkpoint:,}",
        )
    return table


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
    if last.get("event") == "failed":
        return "failed", str(last.get("error", ""))
    if last.get("event") == "interrupted":
        return "interrupted", ""
    walls = [float(e.get("wall") or 0) for e in chunks[-RECENT:]]
    patience = max(PATIENCE, 5 * max(walls)) if walls else COMPILING
    if last.get("event") in ("resumed", "initialised", "start"):
        patience = max(patience, COMPILING)
    return ("running?" if silence <= patience else "interrupted"), ""


def _rate(chunks: Sequence[dict[str, Any]]) -> float:
    """Episodes per second over the latest chunks but the very first, whose call compiles the program."""
    recent = [e for e in chunks[1:][-RECENT:] if e.get("wall") and e.get("episodes_per_second")]
    seconds = sum(e["wall"] for e in recent)
    episodes = sum(e["episodes_per_second"] * e["wall"] for e in recent)
    return episodes / seconds if seconds else math.nan


def _state_words(state: RunState) -> str:
    if state.state == "failed":
        return f"failed: {' '.join(state.error.split())[:60]}"
    if state.state in ("running?", "interrupted"):
        return f"{state.state}, no news for {duration(state.silence)}"
    return state.state


def _evaluated_edges(event: dict[str, Any]) -> Any:
    return event.get("edge_rate", event.get("edge_rate_sampled"))


def _of(events: Sequence[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [event for event in events if event.get("event") == kind]


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)
