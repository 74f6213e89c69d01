"""A picture of returns against what their communication costs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from purejax_mgtopo.analysis.statistics import Interval
from purejax_mgtopo.report.charts import (
    BOTTOM,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Axis,
    Look,
    grid,
    interval_text,
    number,
    svg,
)
from purejax_mgtopo.report.embedded import LINE, table_data
from purejax_mgtopo.report.intervals import ends_of
from purejax_mgtopo.report.model import Comparison


@dataclass(frozen=True)
class Place:
    """One method in a chart of returns against their cost."""

    label: str
    look: Look
    cost: float
    interval: Interval


def cost_chart(comparison: Comparison, looks: dict[str, Look]) -> Markup | None:
    """Returns against the bits that they cost; None where no run knows both."""
    known = [r for r in comparison.runs if math.isfinite(r.bits) and math.isfinite(r.final.point)]
    if not known:
        return None
    places = [Place(r.method, looks[r.method], r.bits, r.final) for r in known]
    title = f"return against bits per step on {comparison.task}"
    return place_chart(places, title=title, x_label="bits per step")


def place_chart(places: Sequence[Place], *, title: str, x_label: str, height: int = 220) -> Markup:
    """Intervals against costs, which stand at powers of ten, and at zero."""
    cost = [math.log10(1 + place.cost) for place in places]
    ends = [v for p in places for v in ends_of(p.interval) if math.isfinite(v)]
    room = (max(ends) - min(ends)) * 0.06 or 0.5
    across = Axis(-0.1, max(1.0, *cost) + 0.2, LEFT, WIDTH - RIGHT)
    up = Axis(min(ends) - room, max(ends) + room, height - BOTTOM, TOP)
    marks = [(0.0, "0"), *((math.log10(1 + 10.0**k), number(10.0**k)) for k in range(9))]
    parts = [grid(across, up, height, x_label, [m for m in marks if m[0] <= across.high])]
    for place, c in zip(places, cost, strict=True):
        x, y = float(across(c)), float(up(place.interval.point))
        low, high = (
            float(up(v)) if math.isfinite(v) else y
            for v in (place.interval.low, place.interval.high)
        )
        parts.append(
            f'<g class="{place.look.colour}" data-line="{escape(place.label)}" '
            f'data-tip="{escape(_told(place, x_label))}">'
            f"<title>{escape(place.label)}</title>"
            f'<path class="reach" stroke-width="24" d="M{x:.1f} {low - 8:.1f}V{high + 8:.1f}"/>'
            f'<path class="whisker" d="M{x:.1f} {low:.1f}V{high:.1f}"/>'
            f'<path class="dot" d="{place.look.shape}" transform="translate({x:.1f} {y:.1f}) scale(1.5)"/></g>'
        )
    description = "; ".join(
        f"{p.label} {interval_text(p.interval)} at {number(p.cost)} bits" for p in places
    )
    table = [[p.label, float(p.cost), *ends_of(p.interval)] for p in places]
    data = table_data(title, ("method", x_label, "value", "low", "high"), table)
    return svg(height, title, description, parts, more=f' data-table="{escape(data)}"')


def _told(place: Place, x_label: str) -> str:
    """What stands under the pointer."""
    return LINE.join(
        [f"{place.label} {interval_text(place.interval)}", f"{number(place.cost)} {x_label}"]
    )
