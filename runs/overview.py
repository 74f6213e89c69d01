"""The picture of results on the first page: where seeds end, four questions, from the records in this folder.

`python runs/figures.py results.png` draws it. A large mark is the interquartile mean over seeds, its bar the 95 %
bootstrap interval, and each small dot a seed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from purejax_mgtopo import load_run
from purejax_mgtopo.analysis.drawing import save_figure
from purejax_mgtopo.analysis.figures import styles
from purejax_mgtopo.analysis.normalised import normalised_score
from purejax_mgtopo.analysis.statistics import Interval, stratified_bootstrap

RUNS = Path(__file__).resolve().parent
DATA = (
    "quickstart/records",
    "reference/records",
    "reference_meta/longer",
    "reference_right/records",
    "reference_right/entropy",
    "learner/records",
    "paper/base_learner.json",
)
"""All that is read, below this folder."""

TASK_COLOURS = {
    "the paper's settings": ("#7f7f7f", "s"),
    "three changed, twice the updates": ("#E69F00", "D"),
    "and a factored critic": ("#0072B2", "^"),
}
_THREE = "reference_right/records/reference_N3"
RIGHT_RUNS = {
    name: f"{_THREE}/{name}"
    for name in (
        "none", "random", "full", "commnet", "stgs", "reinforce", "meta", "steady", "edge", "right",
    )
} | {"reinforce, held open*": "reference_right/entropy/reference_N3/e003"}  # fmt: skip
"""What is shown of `reference_N3`, as far as its records are there: rows, and folders below this one."""
SILENT, KNOWING = -11.88, -3.17
"""Best returns of `reference_N2` for teams that know nothing of each other and that know all (runs/reference)."""
SILENT_OF_THREE = -15.32
"""That of `reference_N3` for teams that know nothing of each other; the best of all, -4.38, lies far to the right."""


@dataclass(frozen=True)
class Group:
    """The seeds of one mark."""

    row: str
    """What stands beside the row."""
    values: NDArray[np.float64]
    """[S] a number for each seed: a return, or a score where the panel says so."""
    series: str = ""
    """Which of a row's marks this is, where a row has several."""

    @property
    def interval(self) -> Interval:
        """Interquartile mean over seeds, with its 95 % interval."""
        return stratified_bootstrap([self.values])


@dataclass(frozen=True)
class Panel:
    """One question with its answer."""

    title: str
    unit: str
    groups: tuple[Group, ...]
    marks: tuple[tuple[str, float], ...] = ()
    """What is known of the task besides: labels and places of dotted lines."""


def panels(
    runs: Path = RUNS, right_runs: Mapping[str, str] = RIGHT_RUNS
) -> tuple[Panel, Panel, Panel, Panel]:
    """What the picture says, from the records below `runs`. Raises RunError and OSError where they are not there."""
    return (
        Panel(
            "Is it found out that talk pays?\ntoy_crossed_goals, 700 episodes",
            "return of an episode (25 rounds)",
            _finals(runs / "quickstart/records/toy_crossed_goals", ("none", "full", "meta")),
            (("best without messages", -32.0), ("best with", 0.0)),
        ),
        Panel(
            "Is talk worth what it can be?\nreference_N2, 20,000 episodes",
            "return of an episode",
            (
                *_evaluated(
                    runs / "reference/records/evaluation.parquet",
                    ("none", "full", "reinforce", "meta"),
                ),
                *_finals(runs / "reference_meta/longer/reference_N2", ("steady",)),
            ),
            (("best silent team", SILENT), ("best of all", KNOWING)),
        ),
        Panel(
            "Does it matter who talks to whom?\nreference_N3, 10,000 episodes; * tuned by hand",
            "return of an episode",
            tuple(
                _final(row, runs / place)
                for row, place in right_runs.items()
                if (runs / place).is_dir()
            ),
            (("best silent team", SILENT_OF_THREE),),
        ),
        Panel(
            "Is a task learned at all, without messages?\nThe paper's eight, 20,000 episodes",
            "normalised score (0 random, 1 expert)",
            _learner(runs),
            (("random", 0.0), ("expert", 1.0)),
        ),
    )


def _finals(folder: Path, methods: Sequence[str]) -> tuple[Group, ...]:
    """Those methods whose records are in `folder`."""
    return tuple(_final(name, folder / name) for name in methods if (folder / name).is_dir())


def _final(row: str, folder: Path) -> Group:
    """Final returns of a run's finite seeds."""
    run = load_run(folder)
    return Group(row, run.final.return_sampled[run.healthy].astype(np.float64))


def _evaluated(table: Path, methods: Sequence[str]) -> tuple[Group, ...]:
    """What `mgtopo evaluate` found of teams as they were trained."""
    columns = ("method", "condition", "finite", "return")
    rows = parquet.read_table(table, columns=list(columns)).to_pylist()
    groups = []
    for name in methods:
        own = [
            row["return"]
            for row in rows
            if (row["method"], row["condition"], row["finite"]) == (name, "sampled", True)
        ]
        groups.append(Group(name, np.array(own, np.float64)))
    return tuple(groups)


def _learner(runs: Path) -> tuple[Group, ...]:
    """Scores of `none` on the paper's tasks: at its settings and, where they were run, at the improved ones, and with
    a factored critic besides."""
    before, *changed = TASK_COLOURS
    measured = json.loads((runs / "paper/base_learner.json").read_text(encoding="utf-8"))["tasks"]
    groups = []
    for task, told in measured.items():
        groups.append(Group(task, normalised_score(task, told["returns"]), before))
        for series, method in zip(changed, ("improved", "factored"), strict=True):
            for found in _finals(runs / "learner/records" / task, (method,)):
                groups.append(Group(task, normalised_score(task, found.values), series))
    return tuple(groups)


def draw(shown: Sequence[Panel]) -> Figure:
    """The panels one below the other: narrow, to be read on a phone."""
    rows = [list(dict.fromkeys(group.row for group in panel.groups)) for panel in shown]
    looks = {name: (colour, mark) for name, (colour, _, mark) in styles(_methods(shown)).items()}
    heights = [
        len(names) * max(1.0, 0.6 * len(_series(panel)))
        for names, panel in zip(rows, shown, strict=True)
    ]
    figure = Figure(figsize=(4.8, 0.21 * sum(heights) + 1.05 * len(shown)))
    figure.set_layout_engine("constrained", h_pad=0.06)
    FigureCanvasAgg(figure)
    ratios = [height + 1.6 for height in heights]
    places = figure.subplots(len(shown), 1, height_ratios=ratios, squeeze=False)[:, 0]
    for axes, panel, names in zip(places, shown, rows, strict=True):
        axes.set_title(panel.title, fontsize=9.5, loc="left")
        axes.set_xlabel(panel.unit, fontsize=8.5)
        axes.set_yticks(range(len(names)), labels=names, fontsize=9)
        axes.set_ylim(len(names) - 0.5, -1.3 if panel.marks else -0.5)
        axes.tick_params(axis="x", labelsize=8.5)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x", color="0.92", linewidth=0.7)
        axes.set_axisbelow(True)
        axes.spines[["top", "right", "left"]].set_visible(False)
        _draw_groups(axes, panel, names, TASK_COLOURS | looks)
        _draw_marks(axes, panel)
    figure.legend(fontsize=8.5, frameon=False, loc="outside lower right", ncols=2, handletextpad=0)
    return figure


def _series(panel: Panel) -> list[str]:
    """The marks of a row, one for each, in order of appearance."""
    return list(dict.fromkeys(group.series for group in panel.groups))


def _methods(shown: Sequence[Panel]) -> list[str]:
    """Methods in order of appearance, so that one looks alike in all panels."""
    names = [group.row for panel in shown for group in panel.groups if not group.series]
    return list(dict.fromkeys(names))


def _draw_groups(
    axes: Axes, panel: Panel, names: Sequence[str], looks: dict[str, tuple[str, str]]
) -> None:
    series, labelled = _series(panel), set[str]()
    for group in panel.groups:
        colour, mark = looks[group.series or group.row]
        shift = 0.8 / max(2, len(series)) * (series.index(group.series) - (len(series) - 1) / 2)
        y, found = names.index(group.row) + shift, group.interval
        axes.plot(
            [found.low, found.high], [y, y], color=colour, alpha=0.3, linewidth=6,
            solid_capstyle="butt",
        )  # fmt: skip
        axes.plot(group.values, np.full(len(group.values), y), ".", color=colour, markersize=4)
        axes.plot(
            found.point, y, mark, color=colour, markersize=6.5, markeredgecolor="white",
            markeredgewidth=0.8, label=None if group.series in labelled else group.series or None,
        )  # fmt: skip
        labelled.add(group.series)


def _draw_marks(axes: Axes, panel: Panel) -> None:
    """Dotted lines, labelled above the rows: towards the middle of the panel, where there is room."""
    middle = np.mean([place for _, place in panel.marks]) if panel.marks else 0
    for label, place in panel.marks:
        left = place < middle
        axes.axvline(place, color="0.35", linestyle=":", linewidth=1.1, zorder=1)
        axes.annotate(
            f"{label} {place:.4g}".replace("-", "\u2212"), (place, -0.8), (4 if left else -4, 0),
            textcoords="offset points", fontsize=8, color="0.3", va="center",
            ha="left" if left else "right",
        )  # fmt: skip


def draw_overview(path: Path) -> None:
    """Draw the picture at `path`."""
    save_figure(draw(panels()), path)
