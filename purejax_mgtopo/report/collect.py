"""The report's model from folders on disk. Reads; writes nothing, and starts no JAX."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from purejax_mgtopo.analysis.across_tasks import (
    improvement_across_tasks,
    observed_scale,
    performance_profile,
)
from purejax_mgtopo.analysis.curves import summarise_run
from purejax_mgtopo.analysis.normalised import (
    ends,
    normalised_band,
    normalised_interval,
    normalised_score,
)
from purejax_mgtopo.analysis.statistics import (
    Interval,
    curve_interval,
    finite_seeds,
    improvement_interval,
    interquartile_mean,
    stratified_bootstrap,
)
from purejax_mgtopo.config import Config, flatten
from purejax_mgtopo.plugins.meanings import meanings_of
from purejax_mgtopo.records.glossary import GLOSSARY
from purejax_mgtopo.records.metrics import FINAL
from purejax_mgtopo.records.record import CONFIG, read_events, status
from purejax_mgtopo.records.run_data import RunData, load_run
from purejax_mgtopo.records.run_names import NamedRun, told_apart, told_tasks, word_for
from purejax_mgtopo.report.model import (
    Across,
    Aggregate,
    Comparison,
    Measured,
    MetricCurve,
    Origin,
    Run,
)

POINTS = 60  # evaluations that a curve shows at most: one for every six units of its width

SEED_LINES = 20
"""Seeds whose own lines a chart can show, of the lowest numbers: more would hide each other."""


def read_run(folder: Path) -> tuple[Run, RunData]:
    """One run. Raises RunError where it cannot be read."""
    data = load_run(folder)
    experiment = data.experiment
    method = word_for(folder, experiment)
    evaluated = len(data.episodes) > 0
    healthy = data.healthy
    summary = summarise_run(method, data)
    events = list(read_events(folder))
    returns = _curve(data, data.return_sampled)
    run = Run(
        folder=str(folder),
        task=experiment.task,
        method=method,
        status=status(folder),
        episode=int(data.episodes[-1]) if evaluated else 0,
        episodes=experiment.episodes,
        seeds=experiment.seeds,
        told=len(data.seeds) if evaluated else 0,
        lost=tuple(int(seed) for seed in data.seeds[~healthy]) if evaluated else (),
        minutes=_seconds(events) / 60,
        final=summary.final_return,
        finals=data.final.return_sampled[healthy].astype(float),
        played=data.final.episodes,
        own_final=data.final.own,
        score=normalised_interval(experiment.task, summary.final_return),
        edge_rate=summary.edge_rate,
        bits=_last(data, "bits_per_step", healthy),
        precision=_last(data, "edge_precision", healthy),
        recall=_last(data, "edge_recall", healthy),
        returns=returns,
        scores=_scores(experiment.task, returns),
        edges=_curve(data, data.edge_rate),
        pairs=_pairs(data, healthy),
        settings=tuple(flatten(Config(experiment, data.means)).items()),
        origin=_origin(folder),
        failures=tuple(
            f"episode {event.get('episode', '?')}: {event.get('error', 'no reason recorded')}"
            for event in events
            if event.get("event") == "failed"
        ),
        measured=_measured(data),
    )
    return run, data


def compare(runs: Iterable[Run]) -> tuple[Comparison, ...]:
    """Runs by task, in order of appearance; names that would clash are told apart by folder.

    A task that has several names is shown by the first.
    """
    runs, by_task = list(runs), dict[str, list[Run]]()
    for task, run in zip(told_tasks([run.task for run in runs]), runs, strict=True):
        by_task.setdefault(task, []).append(replace(run, task=task))
    return tuple(_comparison(task, _distinct(own)) for task, own in by_task.items())


def across(comparisons: Sequence[Comparison]) -> Across | None:
    """All methods over the tasks that each of them was run on; None with fewer than two of either."""
    every = [{run.method: run for run in c.runs if len(run.finals)} for c in comparisons]
    known = list(dict.fromkeys(m for runs in every for m in runs))
    # Methods that miss a task would be compared on other tasks than their rivals.
    methods = [m for m in known if all(m in runs for runs in every)]
    if len(every) < 2 or len(methods) < 2:
        return None
    finals = {m: [runs[m].finals for runs in every] for m in methods}
    try:
        scales = [observed_scale([finals[m][t] for m in methods]) for t in range(len(every))]
    except ValueError:  # a task on which all seeds of all methods are alike has no scale
        return None
    scores = {
        m: [scale(values) for scale, values in zip(scales, finals[m], strict=True)] for m in methods
    }
    thresholds = np.linspace(0, 1, 41)
    aggregates = [
        Aggregate(
            method=m,
            score=stratified_bootstrap(scores[m]),
            profile=performance_profile(scores[m], thresholds),
        )
        for m in methods
    ]
    aggregates.sort(key=lambda a: -a.score.point)
    return Across(
        tasks=tuple(c.task for c in comparisons),
        thresholds=thresholds,
        methods=tuple(aggregates),
        missing=tuple(m for m in known if m not in methods),
        improvement=_matrix(
            [finals[a.method] for a in aggregates], lambda x, y: improvement_across_tasks(x, y)
        ),
        fewest=min(len(own) for m in methods for own in finals[m]),
    )


def standing_seeds(data: RunData) -> list[tuple[int, str]]:
    """Seeds worth watching: best, median and worst by final return, as (seed, standing)."""
    final, healthy = data.final.return_sampled, np.flatnonzero(data.healthy)
    ranked = healthy[np.argsort(-final[healthy], kind="stable")]
    places = {"best": 0, "median": len(ranked) // 2, "worst": len(ranked) - 1}
    seen: dict[int, str] = {}
    for name, place in places.items():
        if len(ranked):
            seen.setdefault(int(data.seeds[ranked[place]]), name)
    if len(seen) == 1:
        return [(seed, "only") for seed in seen]
    return list(seen.items())


def _comparison(task: str, runs: Sequence[Run]) -> Comparison:
    ranked = sorted(runs, key=lambda r: -r.final.point if len(r.finals) else np.inf)
    improvement = _matrix([r.finals for r in ranked], improvement_interval)
    return Comparison(task=task, runs=tuple(ranked), improvement=improvement)


def _matrix(scores: Sequence[Any], compare: Any) -> tuple[tuple[Interval | None, ...], ...]:
    """Every pair once; the other half is the mirror image."""
    count = len(scores)
    cells: list[list[Interval | None]] = [[None] * count for _ in range(count)]
    for a, b in itertools.combinations(range(count), 2):
        if not len(scores[a]) or not len(scores[b]):
            continue
        interval = compare(scores[a], scores[b])
        cells[a][b] = interval
        cells[b][a] = Interval(1 - interval.point, 1 - interval.high, 1 - interval.low)
    return tuple(tuple(row) for row in cells)


def _distinct(runs: Sequence[Run]) -> list[Run]:
    """Runs of one method carry the settings in which they differ, or else what tells their folders apart."""
    found = [NamedRun(run.method, Path(run.folder), dict(run.settings)) for run in runs]
    return [replace(run, method=name) for run, name in zip(runs, told_apart(found), strict=True)]


def _curve(data: RunData, values: NDArray) -> MetricCurve | None:
    episodes = data.episodes
    shown = np.unique(np.linspace(0, len(episodes) - 1, min(POINTS, len(episodes))).astype(int))
    healthy = data.healthy & finite_seeds(values)[0] if len(episodes) else np.zeros(0, bool)
    if not healthy.any():
        return None
    hours = data.wall[shown] / 3600 if len(data.wall) == len(episodes) else np.array([np.nan])
    grows = bool(np.isfinite(hours).all() and (np.diff(hours) >= 0).all())
    return MetricCurve(
        episodes[shown].astype(float),
        curve_interval(values[healthy][:, shown]),
        env_steps=data.env_steps[shown].astype(float),
        hours=hours if grows else None,
        seeds=values[healthy][:SEED_LINES, shown].astype(float),
    )


def _measured(data: RunData) -> tuple[Measured, ...]:
    """A curve for each column that not every method has, over the evaluations at which a healthy seed has it."""
    words = meanings_of(data.experiment.topology, data.experiment.messages)
    found = []
    for name, values in data.columns.items():
        if values.ndim != 2 or name in GLOSSARY or name.startswith(FINAL):
            continue
        own = values[data.healthy]
        # The untrained team, for one, has learned nothing yet.
        known = np.asarray(np.isfinite(own).any(axis=0))
        kept = replace(
            data,
            episodes=data.episodes[known],
            env_steps=data.env_steps[known],
            wall=data.wall[known] if len(data.wall) == len(known) else data.wall,
        )
        curve = _curve(kept, values[:, known])
        if curve is not None:  # without lines of single seeds: there are many such charts
            lines = np.empty((0, len(curve.episodes)))
            found.append(Measured(name, words.get(name, ""), replace(curve, seeds=lines)))
    return tuple(found)


def _scores(task: str, returns: MetricCurve | None) -> MetricCurve | None:
    if returns is None or ends(task) is None:
        return None
    seeds = normalised_score(task, returns.seeds)
    return replace(returns, band=normalised_band(task, returns.band), seeds=seeds)


def _pairs(data: RunData, healthy: NDArray) -> NDArray | None:
    rates = data.pair_rate
    if rates is None or not healthy.any():
        return None
    final = np.asarray(rates[healthy, -1], float)
    known = np.isfinite(final).all(axis=(1, 2))
    return final[known].mean(axis=0) if known.any() else None


def _last(data: RunData, name: str, healthy: NDArray) -> float:
    """Interquartile mean over the healthy seeds that have it, at the last evaluation; NaN where there is none."""
    if name not in data.columns or not len(data.episodes):
        return np.nan
    values = np.asarray(data.columns[name][healthy, -1], float)
    known = values[np.isfinite(values)]
    return float(interquartile_mean(known)) if len(known) else np.nan


def _seconds(events: Sequence[dict[str, Any]]) -> float:
    """Wall time recorded, over all the processes that worked on the run."""
    total = last = 0.0
    for event in events:
        seconds = event.get("seconds")
        if not isinstance(seconds, int | float):
            continue
        if seconds < last:  # the clock starts anew with each process
            total += last
        last = float(seconds)
    return total + last


def _origin(folder: Path) -> Origin:
    try:
        document = json.loads((folder / CONFIG).read_text(encoding="utf-8-sig"))
    except (OSError, ValueError):
        document = {}
    git, device = document.get("git") or {}, document.get("device") or {}
    commit = git.get("commit") or "not recorded"
    if git.get("dirty"):
        commit += " with local changes"
    words = [f"{device['count']} x {device['kind']}"] if device.get("kind") else ["not recorded"]
    if device.get("cores"):
        words.append(f"{device['cores']} CPU cores, {device.get('machine', '')}".rstrip(", "))
    versions = document.get("versions") or {}
    return Origin(
        command=str(document.get("command") or "not recorded"),
        started=str(document.get("started") or "not recorded"),
        commit=str(commit),
        device="; ".join(words),
        versions=tuple((str(k), str(v)) for k, v in versions.items()),
    )
