"""What a rule says of edges, in pictures and in a sentence each."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from purejax_mgtopo.analysis.statistics import Band
from purejax_mgtopo.report import charts
from purejax_mgtopo.report.charts import Look, Series, number
from purejax_mgtopo.report.rule.summary import RuleSaid, Sides

SIDE_LOOKS = {"open": Look("orange", "", "o"), "closed": Look("blue", "6 3", "s")}
"""As in the player, open edges are orange."""


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
            "Where both lines come to zero the rule has become REINFORCE.",
        ),
        (
            "f against the price of an edge", replayed, "price of an open edge for one step", said.by_price,
            "The life's own steps, asked again as if an edge had another price, while rewards and decisions "
            f"stay; its own was {number(said.price)}. Level lines: to the rule it means nothing.",
        ),
        (
            "f against the number of agents", made_up, "agents", said.by_agents,
            "Synthetic teams: each edge is one of the life's, drawn with replacement, and all else is the life's own; "
            f"that had {said.agents} agents. Level lines: to the rule it means nothing.",
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
            chart = charts.line_chart(
                lines, title=title, x_label=x_label, height=190, limits=limits
            )
            pictures.append(Picture(caption, note, sentence, chart))
    return pictures


def _limits(every: list[Sides]) -> tuple[float, float]:
    lines = [line for sides in every for line in (sides.open, sides.closed) if line is not None]
    ends = [end for line in lines for end in (line.low, line.high, np.zeros(1))]
    if not ends:
        return -1.0, 1.0
    low, high = float(min(map(np.min, ends))), float(max(map(np.max, ends)))
    room = 0.06 * (high - low) or 1.0
    return low - room, high + room


def in_a_sentence(said: RuleSaid) -> str:
    """Which way the rule pushes, on the whole."""
    on_open, on_closed = said.on_open, said.on_closed
    means = (
        f"f is {signed(on_open)} on open edges and {signed(on_closed)} on closed ones, on average"
    )
    if math.isnan(on_open) or math.isnan(on_closed):
        return f"{means}."
    if on_open == on_closed == 0:
        return f"{means}: this is REINFORCE."
    if on_open <= 0 <= on_closed:
        does = "besides what REINFORCE does, the rule closes edges"
    elif on_closed <= 0 <= on_open:
        does = "besides what REINFORCE does, the rule opens edges"
    elif on_open > 0:
        does = "besides what REINFORCE does, the rule makes more likely whatever was decided"
    else:
        does = "besides what REINFORCE does, the rule makes less likely whatever was decided"
    return f"{means}: {does}."


def signed(value: float) -> str:
    """Three digits and a sign."""
    text = number(value)
    return f"+{text}" if value > 0 else text
