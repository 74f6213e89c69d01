"""The picture and the table of a sweep, from its records."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from purejax_mgtopo.analysis.statistics import (
    Interval,
    curve_interval,
    interquartile_mean,
)
from purejax_mgtopo.records.files import spared
from purejax_mgtopo.records.run_data import RunData
from purejax_mgtopo.records.run_names import told_tasks

RETURN_LABEL = "episodic team return (sampled gates)"


@dataclass(frozen=True)
class RunSummary:
    """Where one run ended, over its finite seeds."""

    task: str
    method: str
    final_return: Interval
    """Interquartile mean of `RunData.final`, with its 95 % bootstrap interval."""
    edge_rate: float
    finite: int
    seeds: int
    minutes: float
    episodes: int = 0
    """Episodes of each seed that the final return is a mean of."""
    own: bool = True
    """They are the final evaluation's; else the last evaluation's."""


def draw_curves(
    runs: Sequence[tuple[str, RunData]], path: Path, *, title: str | None = None
) -> Path | None:
    """Learning curves of (method, run) pairs at `path`; None when no run holds an evaluation yet.

    Returns are those under sampled gates: the policy that training follows, and the one whose edge
    rate is drawn. Seeds that left the finite numbers are left out: they stay as they were before, with returns
    that look like any others.
    """
    from purejax_mgtopo.analysis.figures import Curve, learning_curves

    evaluated = [(method, run) for method, run in runs if len(run.episodes)]
    tasks = told_tasks([run.experiment.task for _, run in evaluated])
    curves = [
        Curve(
            task,
            method,
            run.episodes,
            np.where(run.healthy[:, None], run.return_sampled, np.nan),
            run.edge_rate,
        )
        for task, (method, run) in zip(tasks, evaluated, strict=True)
    ]
    if not curves:
        return None
    return learning_curves(curves, path, title=title, return_label=RETURN_LABEL)


def try_to_draw(
    runs: Sequence[tuple[str, RunData]],
    path: Path,
    say: Callable[[str], None],
    *,
    title: str | None = None,
) -> Path | None:
    """Draw as `draw_curves` does, but a picture that fails costs a line and not the run behind it.

    Where something lies at `path` that is no picture of ours, it stays, and the picture gets another name.
    """
    try:
        free = spared(path)
        if free != path:
            say(f"{path} holds something else, which is left alone: the picture is {free.name}")
        return draw_curves(runs, free, title=title)
    except Exception as error:
        say(f"no picture: {type(error).__name__}: {' '.join(str(error).split())}")
        return None


def summarise_run(method: str, run: RunData) -> RunSummary:
    """The final evaluation of `run` in numbers; NaN where there is nothing finite to say."""
    nothing = Interval(np.nan, np.nan, np.nan)
    final, edges = nothing, np.nan
    told, healthy = run.final, run.healthy
    if healthy.any():
        band = curve_interval(told.return_sampled[healthy, None])
        final = Interval(*(float(line[0]) for line in band))
        edges = float(interquartile_mean(told.edge_rate[healthy]))
    return RunSummary(
        task=run.experiment.task,
        method=method,
        final_return=final,
        edge_rate=edges,
        finite=int(healthy.sum()),
        seeds=run.experiment.seeds,
        minutes=run.seconds / 60,
        episodes=told.episodes,
        own=told.own,
    )
