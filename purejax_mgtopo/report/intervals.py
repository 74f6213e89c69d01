"""A picture of methods by their intervals, with the seeds behind them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape
from numpy.typing import NDArray

from purejax_mgtopo.analysis.statistics import Interval
from purejax_mgtopo.report.charts import (
    BOTTOM,
    WIDTH,
    Axis,
    Look,
    interval_text,
    marks,
    number,
    svg,
)
from purejax_mgtopo.report.embedded import LINE, table_data

NAME, VALUE = 8.0, 6.8
"""Units that a letter takes of a name and of a value, at most."""


@dataclass(frozen=True)
class IntervalRow:
    """One method in a chart of intervals. `seeds` are drawn as dots: all, or quantiles of `of` seeds."""

    label: str
    look: Look
    interval: Interval
    seeds: NDArray
    note: str = ""
    of: int = 0
    """Seeds that there are; more than are drawn where those are quantiles."""

    @property
    def drawn(self) -> str:
        """What the dots are."""
        count = len(self.seeds)
        return f"{count} quantiles of {self.of} seeds" if self.of > count else "seeds"


def interval_chart(rows: Sequence[IntervalRow], *, title: str, x_label: str) -> Markup:
    """One row per method: its seeds as dots, their interquartile mean, and its interval."""
    # A name and a value that do not fit beside each other stand one above the other.
    texts = [interval_text(row.interval) + (f" {row.note}" if row.note else "") for row in rows]
    stacked = any(
        NAME * len(row.label) + VALUE * len(text) > WIDTH - 36
        for row, text in zip(rows, texts, strict=True)
    )
    pitch, top = 64 if stacked else 48, 4
    height = top + pitch * len(rows) + BOTTOM
    known = [
        v
        for row in rows
        for v in (*row.seeds, row.interval.low, row.interval.high, row.interval.point)
        if math.isfinite(v)
    ]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    room = (high - low) * 0.05 or 0.5
    across = Axis(low - room, high + room, 12, WIDTH - 12)
    base = height - BOTTOM
    parts = [
        f'<path class="grid" d="M{x:.1f} {top}V{base}"/>'
        f'<text class="tick" x="{x:.1f}" y="{base + 14}" text-anchor="middle">{text}</text>'
        for v, text in marks(across.low, across.high, 5)
        for x in (across(v),)
    ]
    parts.append(
        f'<text class="label" x="{WIDTH / 2}" y="{base + 29}" text-anchor="middle">{escape(x_label)}</text>'
    )
    for k, (row, text) in enumerate(zip(rows, texts, strict=True)):
        y = top + pitch * (k + 1) - 20
        interval = row.interval
        place = (
            f'x="12" y="{y - 13}"'
            if stacked
            else f'x="{WIDTH - 12}" y="{y - 13}" text-anchor="end"'
        )
        told = [f"{row.label} {text}"]
        if len(row.seeds):
            told.append(f"{row.drawn} {', '.join(number(v) for v in sorted(row.seeds))}")
        parts.append(
            f'<g class="{row.look.colour}" data-line="{escape(row.label)}" data-tip="{escape(LINE.join(told))}">'
            f'<rect class="reach" x="0" y="{y + 20 - pitch}" width="{WIDTH}" height="{pitch}"/>'
            f'<text class="name" x="12" y="{y - 29 if stacked else y - 13}">{escape(_short(row.label))}</text>'
            f'<text class="value" {place}>{escape(text)}</text>'
        )
        dots = "".join(f"M{across(v):.1f} {y + 11}h0" for v in row.seeds)
        parts.append(f'<path class="seeds" d="{dots}"/>' if dots else "")
        if math.isfinite(interval.low):
            a, b = across(interval.low), across(interval.high)
            parts.append(
                f'<path class="whisker" d="M{a:.1f} {y}H{b:.1f}M{a:.1f} {y - 5}v10M{b:.1f} {y - 5}v10"/>'
            )
        if math.isfinite(interval.point):
            at = f"translate({across(interval.point):.1f} {y}) scale(1.5)"
            parts.append(f'<path class="dot" d="{row.look.shape}" transform="{at}"/>')
        parts.append("</g>")
    description = "; ".join(f"{row.label} {interval_text(row.interval)}" for row in rows)
    table = [
        [row.label, *ends_of(row.interval), row.drawn, " ".join(f"{v:.5g}" for v in row.seeds)]
        for row in rows
    ]
    data = table_data(title, ("method", "value", "low", "high", "dots", "values"), table)
    return svg(height, title, description, parts, more=f' data-table="{escape(data)}"')


def ends_of(interval: Interval) -> tuple[float, float, float]:
    """An interval's point and its two ends."""
    return float(interval.point), float(interval.low), float(interval.high)


def _short(label: str) -> str:
    """`label` as it fits in a row of its own: its end tells it apart as much as its beginning."""
    most = int((WIDTH - 24) / NAME)
    half = (most - 1) // 2
    return label if len(label) <= most else f"{label[:half]}\u2026{label[-half:]}"
