"""One HTML page from the report's model, which needs nothing but itself: pictures, style, script and data inside."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from importlib.resources import files
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from purejax_mgtopo import __version__
from purejax_mgtopo.analysis.figures import styles
from purejax_mgtopo.analysis.statistics import FEW, Band
from purejax_mgtopo.report import charts
from purejax_mgtopo.report.charts import Look, Series
from purejax_mgtopo.report.controls import channels_of, percent, sentence
from purejax_mgtopo.report.costs import cost_chart
from purejax_mgtopo.report.intervals import IntervalRow, interval_chart
from purejax_mgtopo.report.model import (
    Across,
    Comparison,
    LearnedAdvantage,
    Measured,
    MetricCurve,
    Origin,
    Playback,
    ReportContent,
    Watched,
)
from purejax_mgtopo.report.rule import pictures
from purejax_mgtopo.report.words import (
    across_verdict,
    caveats,
    duration_text,
    settings_of,
    standing,
    verdict,
    what_final_means,
)

ETA_LOOKS = {
    "learned": Look("red", "", "o"),
    "baseline": Look("blue", "6 3", "^"),
    "initial": Look("grey", "2 3", "s"),
}
_COLOURS = {
    "#000000": "black",
    "#7f7f7f": "grey",
    "#0072B2": "blue",
    "#56B4E9": "sky",
    "#009E73": "green",
    "#E69F00": "orange",
    "#D55E00": "red",
    "#CC79A7": "purple",
}


def render(report: ReportContent) -> str:
    """The page as HTML."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("purejax_mgtopo.report", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": charts.number,
        "interval": charts.interval_text,
        "probability": _probability,
        "minutes": duration_text,
        "correlation": _correlation,
        "percent": percent,
    }
    looks = looks_of(report)
    return environment.get_template("template.html.j2").render(
        report=report,
        looks=looks,
        version=__version__,
        style=Markup(_own("style.css")),
        script=Markup(_own("playback.js") + _own("curves.js")),
        axes=_known_axes(report),
        replays=Markup(playback_json(report.watched)),
        verdict=verdict,
        across_verdict=across_verdict,
        caveats=caveats(report.comparisons),
        standing=standing,
        few=FEW,
        what_final_means=what_final_means,
        origins=_origins(report),
        learned=[w for w in report.watched if w.learned is not None],
        spoken=[w for w in report.watched if w.said is not None or w.unsaid],
        rule=pictures,
        eta_looks=ETA_LOOKS,
        settings=settings_of(report.runs),
        final_chart=lambda comparison: final_chart(comparison, looks),
        cost_chart=lambda comparison: cost_chart(comparison, looks),
        weighed_of=lambda watched: [chart for one in watched for chart in weight_charts(one)],
        curve_chart=lambda comparison, name: curve_chart(comparison, name, looks),
        measured_charts=lambda comparison: measured_charts(comparison, looks),
        pair_chart=lambda run: charts.heat_map(
            run.pairs, title=f"open rate of each edge: {run.method} on {run.task}"
        ),
        across_chart=lambda across: across_chart(across, looks),
        profile_chart=lambda across: profile_chart(across, looks),
        learned_charts=learned_charts,
        kept_sentence=sentence,
        channels_of=channels_of,
        judged=any(not math.isnan(run.recall) for run in report.runs),
        math=math,
    )


def looks_of(report: ReportContent) -> dict[str, Look]:
    """How each method is drawn, as in the figures."""
    methods = list(dict.fromkeys(run.method for run in report.runs))
    return {
        method: Look(_COLOURS[colour], _dashes(line), marker)
        for method, (colour, line, marker) in styles(methods).items()
    }


def weight_charts(watched: Watched) -> list[tuple[str, Markup]]:
    """What a method shows of pairs: the mean over an episode's steps, with a caption."""
    return [
        (
            f"{watched.method}: {name}, {playback.standing} seed {playback.seed}",
            charts.heat_map(
                np.asarray(values, float).mean(axis=0),
                title=f"{name} of {watched.method} on {watched.task}, seed {playback.seed}",
                weights=True,
            ),
        )
        for playback in watched.playbacks
        for name, values in playback.pairs.items()
    ]


def final_chart(comparison: Comparison, looks: dict[str, Look]) -> Markup:
    """Final returns: seeds, interquartile means, intervals."""
    rows = [
        IntervalRow(
            label=run.method,
            look=looks[run.method],
            interval=run.final,
            seeds=_some(run.finals),
            of=len(run.finals),
            note="" if run.finished else f"at {charts.number(run.episode)} episodes",
        )
        for run in comparison.runs
        if len(run.finals)
    ]
    title = f"final return of each method on {comparison.task}"
    return interval_chart(rows, title=title, x_label="final return of a seed")


def curve_chart(comparison: Comparison, name: str, looks: dict[str, Look]) -> Markup:
    """Learning curves (`returns`, or normalised `scores`) or edge rates (`edges`) of all methods on a task.

    Once for each axis that all runs know; all but the first are for the page's script to show.
    """
    found = [
        (run.method, curve)
        for run in comparison.runs
        for curve in (getattr(run, name),)
        if isinstance(curve, MetricCurve)
    ]
    if not found:
        return Markup("<p>No evaluation yet.</p>")
    what = {"scores": "normalised score", "edges": "share of open edges"}.get(name, "return")
    shape: dict[str, Any] = {"height": 150, "limits": (-0.04, 1.04)} if name == "edges" else {}
    title = f"{what} over training on {comparison.task}"
    return charts.over_training(found, looks, title=title, **shape)


def measured_charts(
    comparison: Comparison, looks: dict[str, Look]
) -> list[tuple[str, str, Markup]]:
    """A small chart for each measure that some method has of its own, with its name and what it is."""
    found: dict[str, list[tuple[str, Measured]]] = {}
    for run in comparison.runs:
        for one in run.measured:
            found.setdefault(one.name, []).append((run.method, one))
    pictures = []
    for name, own in found.items():
        said: dict[str, list[str]] = {}
        for method, one in own:
            said.setdefault(one.about, []).append(method)
        # Members may call different things by one name.
        words = [
            f"{', '.join(by)}: {about}" if len(said) > 1 else about for about, by in said.items()
        ]
        lines = [(method, one.curve) for method, one in own]
        title = f"{name} over training on {comparison.task}"
        picture = charts.over_training(lines, looks, title=title, height=150)
        pictures.append((name, "; ".join(words), picture))
    return pictures


def _known_axes(report: ReportContent) -> dict[str, str]:
    """Those against which some task's curves can be drawn: all of its runs know them."""
    tasks = [[run.returns for run in c.runs if run.returns] for c in report.comparisons]
    return {
        axis: words
        for axis, words in charts.AXES.items()
        if any(own and all(getattr(curve, axis) is not None for curve in own) for own in tasks)
    }


def across_chart(across: Across, looks: dict[str, Look]) -> Markup:
    """Returns over all tasks, each on the scale of its methods."""
    rows = [IntervalRow(a.method, looks[a.method], a.score, np.empty(0)) for a in across.methods]
    return interval_chart(
        rows, title="normalised return over all tasks", x_label="normalised return"
    )


def profile_chart(across: Across, looks: dict[str, Look]) -> Markup:
    """Performance profiles."""
    lines = [
        Series(a.method, looks[a.method], across.thresholds, a.profile) for a in across.methods
    ]
    title = "performance profiles: share of runs above a normalised return"
    return charts.line_chart(
        lines, title=title, x_label="normalised return \u03c4", limits=(-0.04, 1.04)
    )


def learned_charts(learned: LearnedAdvantage) -> list[tuple[str, Markup]]:
    """One picture per sender: what REINFORCE, the learned and the initial eta make of each step."""
    steps = np.arange(len(learned.reinforce), dtype=float)
    pictures = []
    for column in range(learned.learned.shape[1]):
        sender = column + (column >= learned.agent)
        values = [
            ("initial \u03b7", ETA_LOOKS["initial"], learned.initial[:, column]),
            ("REINFORCE", ETA_LOOKS["baseline"], learned.reinforce),
            ("learned \u03b7", ETA_LOOKS["learned"], learned.learned[:, column]),
        ]
        lines = [Series(label, look, steps, _bare(line)) for label, look, line in values]
        alike = learned.resemblance[learned.agent, column]
        words = "constant" if math.isnan(alike) else f"correlation {_correlation(alike)}"
        title = f"normalised advantages of {learned.agent} hearing {sender}"
        everything = np.concatenate([line for _, _, line in values])
        room = 0.1 + 1.05 * float(np.abs(everything).max())
        picture = charts.line_chart(
            lines, title=title, x_label="step", height=160, limits=(-room, room)
        )
        pictures.append((f"{learned.agent} hears {sender}: {words}", picture))
    return pictures


EXTENT = 1250
"""Half the side of the player's picture, where an arena's is 1000: the same for all, whoever flees."""


def playback_json(watched: Sequence[Watched]) -> str:
    """The playback's data; safe inside a script element."""
    played = [_playback(w, playback) for w in watched for playback in w.playbacks]
    return json.dumps(played, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _playback(watched: Watched, playback: Playback) -> dict[str, Any]:
    return {
        "task": watched.task,
        "method": watched.method,
        "seed": playback.seed,
        "standing": playback.standing,
        **({"analysed": True} if watched.learned and watched.learned.seed == playback.seed else {}),
        "agents": playback.masks.shape[1],
        "extent": EXTENT,
        "things": [
            {
                "role": thing.role,
                "colour": thing.colour,
                "fill": thing.fill,
                "label": thing.label,
                "radius": thing.radius,
                "places": thing.places.ravel().tolist(),
            }
            for thing in playback.things
        ],
        "claims": [
            {"agent": claim.agent, "places": claim.places.ravel().tolist()}
            for claim in playback.claims
        ],
        "masks": [[_digits(row) for row in step] for step in playback.masks],
        "told": {
            name: [[_digits(agent) for agent in step] for step in values]
            for name, values in playback.agents.items()
        },
        "weights": [
            np.nan_to_num(values).round(2).reshape(len(values), -1).tolist()
            for values in playback.pairs.values()
        ][:1],
        "rewards": [round(float(r), 4) if math.isfinite(r) else 0.0 for r in playback.rewards],
    }


def _digits(values: NDArray) -> str:
    """Whole numbers of an agent, side by side."""
    return "".join(f"{value:.0f}" for value in np.atleast_1d(np.nan_to_num(values)))


def _origins(report: ReportContent) -> list[tuple[Origin, list[str]]]:
    """Runs by what made them: the runs of a sweep share a command, a commit and a machine."""
    groups: dict[Origin, list[str]] = {}
    for run in report.runs:
        same = replace(run.origin, started="")  # runs of one command start one after the other
        groups.setdefault(same, []).append(f"{run.task}/{run.method}")
    return list(groups.items())


def _own(name: str) -> str:
    return files("purejax_mgtopo.report").joinpath(name).read_text(encoding="utf-8")


def _some(values: np.ndarray, limit: int = 40) -> np.ndarray:
    """All seeds, or of many as many evenly spaced quantiles, extremes included."""
    if len(values) <= limit:
        return values
    return np.quantile(values, np.linspace(0, 1, limit))


def _bare(line: np.ndarray) -> Band:
    unknown = np.full_like(line, np.nan)
    return Band(line, unknown, unknown)


def _dashes(line: Any) -> str:
    """Matplotlib's dashes, in units of the line's width, as SVG's."""
    return "" if line == "-" else " ".join(f"{2 * length:g}" for length in line[1])


def _probability(value: float) -> str:
    return "\u2013" if math.isnan(value) else f"{value:.2f}"


def _correlation(value: float) -> str:
    return "\u2013" if math.isnan(value) else f"{value:+.2f}".replace("-", "\u2212")
