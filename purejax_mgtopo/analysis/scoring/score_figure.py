"""The picture of `mgtopo score`: a panel for each task, and one for all that have a score if there are several; a row
for each method."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from purejax_mgtopo.analysis.drawing import AS_IT_IS, save_figure
from purejax_mgtopo.analysis.scoring.rule_score import LEVEL, RuleScores, TaskScores
from purejax_mgtopo.analysis.statistics import Interval, stratified_bootstrap
from purejax_mgtopo.errors import RunError
from purejax_mgtopo.methods import SILENT

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_POINT, _GUIDE = "#0072B2", "#888888"
_ACROSS, _ROW = 2.6, 0.3  # inches: a panel's width, and the height that a method takes
_MOST_ACROSS = 4


def score_figure(told: RuleScores, path: str | os.PathLike[str]) -> Path:
    """Draw `told` (see `draw_scores`) and write it as `save_figure` does. Raises as both."""
    return save_figure(draw_scores(told), path)


def draw_scores(told: RuleScores) -> Figure:
    """Scores of all methods, the highest over tasks on top, with intervals; returns on a task that has no score.

    The panel of all tasks leaves out a method that lacks one of them: its score there would be of other tasks.
    Dashed lines stand at 0, which is silence, and at 1, the best known topology. Where there is no score, the dashed
    line is what `none` returns.

    Raises RunError where no run is finished.
    """
    from matplotlib.figure import Figure

    order = told.ranked
    if not order:
        raise RunError("no run is finished: there is no score to draw")
    panels: list[TaskScores | None] = list(told.tasks)
    if sum(not task.why for task in told.tasks) > 1:
        panels.insert(0, None)
    across = min(len(panels), _MOST_ACROSS)
    down = -(-len(panels) // across)
    figure = Figure(
        figsize=(_ACROSS * across + 1, down * (_ROW * len(order) + 1)), layout="constrained"
    )
    grid = figure.subplots(down, across, sharey=True, squeeze=False)
    for axes, panel in zip(grid.flat, panels, strict=False):
        if panel is None:
            whole = {name: told.over_tasks(name) for name in order if told.everywhere(name)}
            _dots(axes, whole, order, (0.0, 1.0))
            axes.set_title("all tasks that have a score", fontsize=9)
            axes.set_xlabel("score", fontsize=8)
        else:
            _task(axes, panel, order)
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    return figure


def _task(axes: Axes, task: TaskScores, order: Sequence[str]) -> None:
    scores = {name: task.scores(name) for name in task.returns}
    scored = not task.why
    values = scores if scored else task.returns
    intervals = {
        name: stratified_bootstrap([found], level=LEVEL)
        for name, found in values.items()
        if found is not None
    }
    guides: tuple[float, ...] = (0.0, 1.0)
    if not scored:
        guides = (intervals[SILENT].point,) if SILENT in intervals else ()
    _dots(axes, intervals, order, guides)
    axes.set_title(task.task if scored else f"{task.task}: no score", fontsize=9, **AS_IT_IS)
    axes.set_xlabel("score" if scored else "final return", fontsize=8)


def _dots(
    axes: Axes,
    intervals: Mapping[str, Interval | None],
    order: Sequence[str],
    guides: Sequence[float],
) -> None:
    for guide in guides:
        axes.axvline(guide, color=_GUIDE, linestyle="--", linewidth=0.8)
    for row, name in enumerate(order):
        found = intervals.get(name)
        if found is not None:
            # A single seed has no interval: its ends are NaN, and nothing is drawn.
            axes.plot([found.low, found.high], [row, row], color=_POINT, linewidth=1.6)
            axes.plot([found.point], [row], "o", color=_POINT, markersize=4)
    axes.set_yticks(range(len(order)), order, fontsize=8, **AS_IT_IS)
    axes.set_ylim(len(order) - 0.5, -0.5)
    axes.tick_params(axis="x", labelsize=8)
    axes.grid(axis="x", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
