"""How far a run is, from its records alone, so that any machine that sees the folder can ask."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from purejax_mgtopo.config import Config, Experiment, flatten
from purejax_mgtopo.errors import RunError
from purejax_mgtopo.machine.alive import is_gone
from purejax_mgtopo.population.waves import split_into_waves
from purejax_mgtopo.records.record import EVENTS, Status, read_config, read_events, status

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
    """Mean return over the finite seeds, of a run under way over those of its wave: final, else at the last evaluation,
    else in the last chunk's training."""
    evaluated: bool
    """Whether an evaluation told `returns`."""
    train_return: float
    """Mean return of the last chunk's training, of the same seeds."""
    edge_rate: float
    rate: float
    """Training episodes per second, all seeds together."""
    seconds_left: float
    non_finite: int
    """Seeds that left the finite numbers, in all waves so far."""
    checkpoint: int | None
    """Episode of the last checkpoint of the current wave."""
    error: str


def read_state(folder: Path, now: float | None = None) -> RunState:
    """The state of the run in `folder` at `now` (Unix time).

    Raises RunError where it is not a run, or an event does not say what every event of its kind does.
    """
    config = read_config(folder)
    try:
        return _state(folder, config, list(read_events(folder)), now)
    except (KeyError, TypeError, ValueError) as error:
        lacking = f"lacks {error}" if isinstance(error, KeyError) else f"is damaged: {error}"
        raise RunError(f"{folder / EVENTS}: an event {lacking}") from None


def _state(
    folder: Path, config: Config, events: Sequence[dict[str, Any]], now: float | None
) -> RunState:
    chunks = of_kind(events, "chunk")
    wave = int(chunks[-1].get("wave", 0)) if chunks else 0
    episode = int(chunks[-1]["episode"]) if chunks else 0
    experiment = config.experiment
    waves = split_into_waves(experiment, config.means.lanes or experiment.seeds)
    now = time.time() if now is None else now
    silence = now - events[-1]["time"] if events else math.nan
    state, error = judge(folder, events, chunks, silence)
    rate = _rate(events)
    done = sum(part.seeds for part in waves[:wave]) * experiment.episodes
    done += waves[min(wave, len(waves) - 1)].seeds * episode
    left = (experiment.seeds * experiment.episodes - done) / rate if rate > 0 else math.nan
    saved = [int(e["episode"]) for e in of_kind(events, "checkpoint") if e.get("wave", 0) == wave]
    begun = [_told_of(events, number, part.seeds) for number, part in enumerate(waves[: wave + 1])]
    shown = begun if state == "finished" else begun[-1:]
    evaluated = all(told.evaluation for told in shown)
    return RunState(
        folder=folder,
        experiment=experiment,
        settings=flatten(config),
        state=state,
        silence=silence,
        wave=wave,
        waves=len(waves),
        episode=episode,
        returns=_mean(
            shown,
            lambda told: (
                told.evaluation.get("return_sampled")
                if evaluated
                else told.chunk.get("train_return")
            ),
        ),
        evaluated=evaluated,
        train_return=_mean(shown, lambda told: told.chunk.get("train_return")),
        edge_rate=_mean(
            shown,
            lambda told: (
                _evaluated_edges(told.evaluation) if evaluated else told.chunk.get("edge_rate")
            ),
        ),
        rate=rate,
        seconds_left=left if state.startswith("running") else math.nan,
        non_finite=sum(told.lost for told in begun),
        checkpoint=saved[-1] if saved else None,
        error=error,
    )


@dataclass(frozen=True)
class _Wave:
    """The last that was told of a wave; no entries where nothing was."""

    seeds: int
    """Those that are finite."""
    lost: int
    chunk: Mapping[str, Any]
    evaluation: Mapping[str, Any]
    """The final evaluation, else the last on the way."""


def _told_of(events: Sequence[dict[str, Any]], wave: int, seeds: int) -> _Wave:
    own = [event for event in events if event.get("wave", 0) == wave]
    chunks, evaluations, finals = (of_kind(own, x) for x in ("chunk", "evaluation", "final"))
    if finals and evaluations and finals[-1]["episode"] == evaluations[-1]["episode"]:
        evaluations.append(finals[-1])
    chunk = chunks[-1] if chunks else {}
    lost = int(chunk.get("non_finite") or 0)
    return _Wave(seeds - lost, lost, chunk, evaluations[-1] if evaluations else {})


def _mean(waves: Sequence[_Wave], value: Callable[[_Wave], Any]) -> float:
    """Over the finite seeds of `waves`; NaN where one of them does not tell it."""
    known = [(_number(value(told)), told.seeds) for told in waves if told.seeds or len(waves) == 1]
    weight = sum(seeds for _, seeds in known)
    if len(known) == 1 or not weight:
        return known[0][0] if known else math.nan
    return sum(number * seeds for number, seeds in known) / weight


def read_states(folders: Iterable[Path]) -> tuple[list[RunState], list[str]]:
    """All runs that can be read, each once, and a line for each that cannot."""
    states, problems = [], []
    for folder in {folder.resolve(): folder for folder in folders}.values():
        try:
            states.append(read_state(folder))
        except RunError as error:
            problems.append(str(error))
    return states, problems


def judge(
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
    recent = [e for e in warm_events(events, "chunk") if e.get("episodes_per_second")]
    seconds = sum(e["wall"] for e in recent)
    episodes = sum(e["episodes_per_second"] * e["wall"] for e in recent)
    return episodes / seconds if seconds else math.nan


def warm_events(events: Sequence[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    """The latest of a kind but the first of each process, whose call compiles the program."""
    warm, compiled = [], False
    for event in events:
        if event.get("event") in ("start", "resumed"):
            compiled = False
        elif event.get("event") == kind:
            warm += [event] * compiled
            compiled = True
    return [event for event in warm[-RECENT:] if event.get("wall")]


def _evaluated_edges(event: Mapping[str, Any]) -> Any:
    return event.get("edge_rate", event.get("edge_rate_sampled"))


def of_kind(events: Sequence[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    """Those of `events` that are of a kind, in their order."""
    return [event for event in events if event.get("event") == kind]


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)
