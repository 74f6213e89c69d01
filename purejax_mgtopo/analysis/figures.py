"""Learning curves as a PNG: one panel per task, return above, edge rate below, one colour a method.

Lines are interquartile means over seeds, bands their 95 % bootstrap intervals (see `statistics`).
Matplotlib is imported inside the functions, so that importing this module costs nothing, and used
through its objects only: no pyplot, no global state, no display. Shapes: S seeds, E evaluations.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import cycle, product
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from purejax_mgtopo.analysis.drawing import AS_IT_IS, plain_legend, save_figure
from purejax_mgtopo.analysis.normalised import LABEL, ends, normalised_score, returns_at
from purejax_mgtopo.analysis.statistics import curve_interval, finite_seeds
from purejax_mgtopo.methods import METHODS, SPARE_COLOURS, SPARE_LINES, SPARE_MARKERS, Style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.gridspec import SubplotSpec

References = Mapping[str, Sequence[tuple[str, float]]]


@dataclass(frozen=True)
class Curve:
    """One method on one task. A seed with a non-finite return is left out, and counted.

    task, method: a pair of names occurs once in a figure.
    episodes: [E] training episodes at each evaluation.
    returns: [S, E] evaluation returns.
    edge_rate: [S, E] share of open edges, 0 to 1; a seed with NaN is left out of this axis.
    """

    task: str
    method: str
    episodes: NDArray
    returns: NDArray
    edge_rate: NDArray


def learning_curves(
    runs: Sequence[Curve],
    path: str | os.PathLike[str],
    *,
    title: str | None = None,
    return_label: str = "episodic team return (greedy gates)",
    reference_lines: References | None = None,
) -> Path:
    """Draw `runs` (see `draw`) and write them as `save_figure` does. Raises as both."""
    figure = draw(runs, title=title, return_label=return_label, reference_lines=reference_lines)
    return save_figure(figure, path)


def draw(
    runs: Sequence[Curve],
    *,
    title: str | None = None,
    return_label: str = "episodic team return (greedy gates)",
    reference_lines: References | None = None,
) -> Figure:
    """The figure behind `learning_curves`: axes in pairs (return, edge rate), a pair per task.

    Tasks and methods come in order of first appearance. `reference_lines` maps a task to (label,
    value) pairs, drawn as dotted grey lines; tasks that are not drawn are passed over.
    Raises ValueError for no runs, a repeated (task, method), or arrays of the wrong shape.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    _check(runs)
    tasks = list(dict.fromkeys(run.task for run in runs))
    methods = list(dict.fromkeys(run.method for run in runs))
    looks = styles(methods)
    columns = len(tasks) if len(tasks) <= 3 else min(4, -(-len(tasks) // 2))
    rows = -(-len(tasks) // columns)
    width = 5.6 if columns == 1 else 3.6 * columns
    figure = Figure(figsize=(width, 0.9 + 3.6 * rows), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08)  # type: ignore[union-attr, call-arg]
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(rows, columns)
    references = reference_lines or {}
    for index, task in enumerate(tasks):
        own = [run for run in runs if run.task == task]
        upper, lower = _panel(figure, grid[divmod(index, columns)])
        for run in own:
            _draw_curve(upper, lower, run, looks[run.method], methods.index(run.method), methods)
        if all(len(run.episodes) == 1 for run in own):
            upper.set_xticks(sorted({float(run.episodes[0]) for run in own}))
            upper.margins(x=0.5)
        upper.set_title(task, fontsize=10, **AS_IT_IS)
        _focus(upper, own)
        _draw_references(upper, references.get(task, ()))
        _score_axis(upper, task, labelled=index % columns == columns - 1 or task == tasks[-1])
        if index % columns == 0:
            # Wrapped, so that it stays beside its own axes and off the edge rate's label.
            upper.set_ylabel(fill(return_label, 24), fontsize=9, **AS_IT_IS)
            lower.set_ylabel("edge rate", fontsize=9)
            figure.align_ylabels([upper, lower])
        # With a short last row every panel carries the label, so that all are equally high.
        if index // columns == rows - 1 or len(tasks) < rows * columns:
            lower.set_xlabel("training episodes", fontsize=9)
    _legend(figure, [_label(m, [r for r in runs if r.method == m]) for m in methods], looks, runs)
    if title:
        figure.suptitle(fill(title, int(11 * width)), fontsize=11, **AS_IT_IS)
    return figure


def _panel(figure: Figure, place: SubplotSpec) -> tuple[Axes, Axes]:
    pair = place.subgridspec(2, 1, height_ratios=(3, 1), hspace=0.04)
    upper, lower = pair.subplots(sharex=True, squeeze=False)[:, 0]
    for axes in (upper, lower):
        axes.grid(color="0.92", linewidth=0.7)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
    upper.tick_params(labelbottom=False)
    # Beyond 0 and 1, because a rule that is always or never open must not hide in the frame.
    lower.set_ylim(-0.12, 1.12)
    lower.set_yticks((0, 0.5, 1), labels=("0", "0.5", "1"))
    lower.xaxis.set_major_formatter(lambda value, _: compact(value))
    lower.locator_params(axis="x", nbins=6)
    return upper, lower


def _draw_curve(
    upper: Axes, lower: Axes, run: Curve, style: Style, rank: int, methods: Sequence[str]
) -> None:
    from matplotlib.transforms import ScaledTranslation

    episodes = np.asarray(run.episodes, dtype=np.float64)
    returns, edge_rate = np.asarray(run.returns), np.asarray(run.edge_rate)
    healthy, _ = finite_seeds(returns)
    known = healthy & finite_seeds(edge_rate)[0]
    single = len(episodes) == 1
    every = -(-len(episodes) // 8)
    for axes, values in ((upper, returns[healthy]), (lower, edge_rate[known])):
        if len(values) == 0:
            continue
        band = curve_interval(values)
        look = {**_look(style), "zorder": 3, "clip_on": axes is upper}
        # Staggered, so that methods which coincide show their markers side by side.
        marks = (rank * every // len(methods), every)
        drawn = axes.plot(episodes, band.point, markevery=marks, label=run.method, **look)
        if len(values) > 1 and not single:
            shade = axes.fill_between(episodes, band.low, band.high, color=style[0], alpha=0.16)
            shade.set(linewidth=0, zorder=2)
        elif len(values) > 1:  # a band over a single point has no area
            look |= {"marker": "", "linestyle": "-", "zorder": 2}
            drawn += axes.plot([episodes[0]] * 2, [band.low[0], band.high[0]], **look)
        if single:
            # All methods share one x: stand them 9 points apart. Not while plotting, since a
            # transform given there would mislead the automatic limits.
            inches = (rank - (len(methods) - 1) / 2) / 8
            shift = ScaledTranslation(inches, 0, axes.figure.dpi_scale_trans)
            for line in drawn:
                line.set_transform(axes.transData + shift)


def _focus(axes: Axes, runs: Sequence[Curve]) -> None:
    """Keep the first quarter of training, where returns may be terrible, from flattening all that follows."""
    late, early = [], []
    for run in runs:
        returns = np.asarray(run.returns)[finite_seeds(run.returns)[0]]
        if len(run.episodes) < 8 or len(returns) == 0:
            return
        band = curve_interval(returns)
        ends = band.point if len(returns) == 1 else np.stack([band.low, band.high])
        cut = len(run.episodes) // 4
        early.append(ends[..., :cut])
        late.append(ends[..., cut:])
    bottom, top = (float(f([f(part) for part in late])) for f in (np.min, np.max))
    lowest = float(np.min([np.min(part) for part in early]))
    room = max(top - bottom, 1e-9)
    if top - lowest > 2.5 * room:
        axes.set_ylim(bottom - 0.25 * room, top + 0.08 * room)
        note = f"starts at {compact(lowest)}"
        axes.annotate(  # on the right: the curves come up on the left
            note, (1, 0), (-4, 4), xycoords="axes fraction", textcoords="offset points", fontsize=7, color="0.3",
            ha="right",
        )  # fmt: skip


def _score_axis(axes: Axes, task: str, labelled: bool) -> None:
    """On the right, the same heights as normalised scores, where the task has a scale."""
    if ends(task) is None:
        return
    to_score, to_return = partial(normalised_score, task), partial(returns_at, task)
    right = axes.secondary_yaxis("right", functions=(to_score, to_return))
    right.tick_params(labelsize=7, colors="0.45")
    right.spines["right"].set_visible(False)
    if labelled:
        right.set_ylabel(LABEL.replace(" (", "\n("), fontsize=8, color="0.45")


def _look(style: Style) -> dict[str, Any]:
    colour, line, marker = style
    edge = {"markersize": 5, "markeredgecolor": "white", "markeredgewidth": 0.5}
    return {"color": colour, "linestyle": line, "linewidth": 1.6, "marker": marker, **edge}


def _draw_references(axes: Axes, lines: Sequence[tuple[str, float]]) -> None:
    """Dotted lines, each text left or right, above or below its line: where it meets the least."""
    if not lines:
        return
    curves = [line.get_xydata() for line in axes.get_lines()]
    for _, value in lines:
        axes.axhline(value, color="0.45", linestyle=":", linewidth=0.9, zorder=1)
    axes.autoscale_view()
    to_axes, x = axes.transData - axes.transAxes, np.linspace(0, 1, 201)
    across = [np.asarray(to_axes.transform(curve)) for curve in curves]
    drawn = [np.interp(x, c[:, 0], c[:, 1], left=np.nan, right=np.nan) for c in across]
    levels = [to_axes.transform((0, value))[1] for _, value in lines]
    drawn += [np.full_like(x, level) for level in levels]
    panel = np.asarray(axes.get_window_extent().size) / axes.figure.dpi
    for (label, value), level in zip(lines, levels, strict=True):
        width, height = np.array([0.1 + 0.055 * len(label), 0.16]) / panel  # inches at 7 points
        spots = []
        for right, below in product((False, True), repeat=2):
            middle = level - height / 2 if below else level + height / 2
            text = np.where(x > 1 - width if right else x < width, middle, np.nan)
            met = int((np.abs(np.array(drawn) - text) < 0.49 * height).sum())
            spots.append((met, right, below, text))
        _, right, below, text = min(spots, key=lambda spot: spot[0])
        drawn.append(text)
        axes.annotate(
            label, (1 if right else 0, value), (-3 if right else 3, -2 if below else 1.5),
            xycoords=axes.get_yaxis_transform(), textcoords="offset points", fontsize=7,
            ha="right" if right else "left", va="top" if below else "bottom", color="0.3",
            **AS_IT_IS,
        )  # fmt: skip


def _legend(
    figure: Figure, labels: Sequence[str], styles: Mapping[str, Style], runs: Sequence[Curve]
) -> None:
    from matplotlib.lines import Line2D

    pairs = zip(labels, styles.values(), strict=True)
    handles = [Line2D([], [], label=label, **_look(style)) for label, style in pairs]
    inches = 0.6 + 0.058 * max(len(label) for label in labels)  # an entry's width at 8 points
    rows = -(-len(labels) // max(1, int(figure.get_figwidth() / inches)))
    columns = -(-len(labels) // rows)  # rows of even length
    banded = any(finite_seeds(run.returns)[1] > 1 for run in runs)
    title = "line: interquartile mean; band: 95 % bootstrap interval" if banded else None
    legend = figure.legend(
        handles=handles, loc="outside lower center", ncols=columns, fontsize=8, frameon=False,
        handlelength=3.2, columnspacing=1.4, title=title, title_fontsize=8,
    )  # fmt: skip
    plain_legend(legend)


def _label(method: str, runs: Sequence[Curve]) -> str:
    """`meta (8 seeds)`, or a range over tasks: `meta (7-8 of 8 seeds finite)`."""

    def span(counts: Sequence[int]) -> str:
        return "\u2013".join(str(count) for count in sorted({min(counts), max(counts)}))

    asked = [len(run.returns) for run in runs]
    finite = [finite_seeds(run.returns)[1] for run in runs]
    noun = "seed" if max(asked) == 1 else "seeds"
    count = span(asked) if asked == finite else f"{span(finite)} of {span(asked)}"
    return f"{method} ({count} {noun}{'' if asked == finite else ' finite'})"


def styles(methods: Sequence[str]) -> dict[str, Style]:
    """How methods look together: known ones alike in every figure where no other one of their colour is shown.

    As long as there are colours, no two methods share one: the later one in the table of methods takes another, and
    keeps its line and marker. Methods without a style of their own take spare ones in turn.
    """
    own = _apart([name for name in METHODS if name in methods])
    taken = {part for colour, _, marker in own.values() for part in (colour, marker)}
    # Colours and markers that nobody wears come first (the sort is stable); no style repeats before the 56th.
    colours, markers = (
        cycle(sorted(spare, key=lambda part: part in taken))
        for spare in (SPARE_COLOURS, SPARE_MARKERS)
    )
    spare = zip(colours, cycle(SPARE_LINES), markers, strict=False)
    return {name: own[name] if name in own else next(spare) for name in methods}


def _apart(known: Sequence[str]) -> dict[str, Style]:
    """The styles of known methods, each of another colour while there are any."""
    own: dict[str, Style] = {}
    for name in known:
        colour, _, _ = style = METHODS[name].style
        if colour not in {taken for taken, _, _ in own.values()}:
            own[name] = style
    free = [c for c in SPARE_COLOURS if c not in {taken for taken, _, _ in own.values()}]
    for name in known:
        if name not in own:
            colour, line, marker = METHODS[name].style
            own[name] = (free.pop(0) if free else colour, line, marker)
    return own


def compact(number: float, digits: int = 4) -> str:
    """Tick labels without a row of zeros: 500, 2.5k, 10k, 1.2M."""
    for size, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= size:
            return f"{number / size:.{digits}g}{suffix}"
    return f"{number:.{digits}g}"


def _check(runs: Sequence[Curve]) -> None:
    if not runs:
        raise ValueError("no runs to draw")
    names = [f"{run.method} on {run.task}" for run in runs]
    for name, run in zip(names, runs, strict=True):
        if names.count(name) > 1:
            raise ValueError(f"{name} is given twice")
        evaluations, shape = np.shape(run.episodes), np.shape(run.returns)
        if len(evaluations) != 1 or len(shape) != 2 or 0 in shape or shape[1:] != evaluations:
            raise ValueError(f"{name}: episodes {evaluations} must be [E], returns {shape} [S, E]")
        if np.shape(run.edge_rate) != shape:
            raise ValueError(f"{name}: edge_rate {np.shape(run.edge_rate)} differs from returns")
