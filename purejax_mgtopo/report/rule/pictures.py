"""What a rule says of edges, in pictures and in a sentence each."""

from __future__ import annotations

import math
from dataclasses import dataclass

from markupsafe import Markup

from purejax_mgtopo.analysis.statistics import Band
from purejax_mgtopo.report import charts
from purejax_mgtopo.report.charts import Look, Series, number
from purejax_mgtopo.report.rule.summary import RuleSaid, Sides

SIDE_LOOKS = {"open": Look("orange", "", "o"), "closed": Look("blue", "6 3", "s")}
"""Open edges are orange, here and in the player."""
LEAST = 0.05
"""What a picture shows to either side of zero at least, so that next to nothing looks like it."""
HARDLY = 0.0005
"""What is told as zero."""


@dataclass(frozen=True)
class Picture:
    """A chart with its caption, what it shows, and how to read it."""

    caption: str
    note: str
    sentence: str
    chart: Markup


def said_pictures(said: RuleSaid, method: str, task: str) -> list[Picture]:
    """f against advantage, progress, price and N, all on one scale."""
    replayed, made_up = "replayed, told of another price", "made-up teams"
    told = [
        (
            "f against the advantage", "as it was", "advantage, in standard deviations", said.by_advantage,
            "A line that rises trusts the advantage more than REINFORCE does, one that falls less; a level one pushes "
            "whatever came of the step.",
        ),
        (
            "f over the life", "as it was", "share of the life that is over", said.by_progress,
            "Where both lines come together the rule leaves it to REINFORCE whether to open edges.",
        ),
        (
            "f against the price of an edge", replayed, "price of an open edge for one step", said.by_price,
            "The life's own steps, asked again as if an edge had another price, while rewards and decisions stay; its "
            f"own was {number(said.price)}. Where lines are level, the price means nothing to the rule.",
        ),
        (
            "f against the number of agents", made_up, "agents", said.by_agents,
            "Synthetic teams: each edge is one of the life's, drawn with replacement, and all else is the life's own; "
            f"that had {said.agents} agents. Where lines are level, a team's size means nothing to the rule.",
        ),
    ]  # fmt: skip
    limits = _limits([sides for *_, sides, _ in told])
    pictures = []
    for caption, note, x_label, sides, sentence in told:
        lines = [
            Series(f"{side} edges", look, line.x, Band(line.mean, line.low, line.high))
            for side, look in SIDE_LOOKS.items()
            if (line := getattr(sides, side)) is not None
        ]
        if lines:
            title = f"{caption}: {method} on {task}, seed {said.seed}"
            places = None
            if sides is said.by_agents:  # there are no halves of agents
                places = [(float(x), number(x)) for x in lines[0].x]
            chart = charts.line_chart(
                lines, title=title, x_label=x_label, height=190, limits=limits, places=places
            )
            pictures.append(Picture(caption, note, sentence, chart))
    return pictures


def _limits(every: list[Sides]) -> tuple[float, float]:
    lines = [line for sides in every for line in (sides.open, sides.closed) if line is not None]
    low = min([-LEAST, *(float(line.low.min()) for line in lines)])
    high = max([LEAST, *(float(line.high.max()) for line in lines)])
    room = 0.06 * (high - low)
    return low - room, high + room


def in_a_sentence(said: RuleSaid) -> str:
    """Which way the rule pushes, on the whole."""
    on_open, on_closed = said.on_open, said.on_closed
    means = (
        f"On average f is {signed(on_open)} on open edges and {signed(on_closed)} on closed ones"
    )
    if math.isnan(on_open) or math.isnan(on_closed):
        return f"{means}."
    if abs(on_open - on_closed) < HARDLY:
        return f"{means}: on the whole the rule neither opens nor closes edges."
    does = "closes" if on_open < on_closed else "opens"
    return f"{means}: besides what REINFORCE does, the rule {does} edges."


def signed(value: float) -> str:
    """Three decimals and a sign; a dash for what is not known."""
    if math.isnan(value):
        return "\u2013"
    return f"{value:+.3f}".replace("-", "\u2212") if abs(value) >= HARDLY else "0.000"
