"""Inline SVG pictures: light, responsive, and coloured by the page, so that they follow its dark mode.

Every picture is 360 units wide, about the width of a phone; wider pages show several side by side.
Text is real text. Colours are the page's custom properties, `--blue` and so on.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import ArrayLike, NDArray

from purejax_mgtopo.analysis.figures import compact
from purejax_mgtopo.analysis.statistics import Band, Interval
from purejax_mgtopo.report.embedded import chart_data, table_data
from purejax_mgtopo.report.model import MetricCurve

WIDTH, LEFT, RIGHT, TOP, BOTTOM = 360, 44, 10, 12, 34

_SHAPES = {
    "s": "M-3-3h6v6h-6z",
    "^": "M0-4L4 3H-4z",
    "v": "M0 4L4-3H-4z",
    "<": "M-4 0L3-4V4z",
    ">": "M4 0L-3-4V4z",
    "D": "M0-4L4 0L0 4L-4 0z",
    "d": "M0-4L2.6 0L0 4L-2.6 0z",
    "P": "M-1.3-4h2.6v2.7h2.7v2.6h-2.7v2.7h-2.6v-2.7h-2.7v-2.6h2.7z",
    "X": "M-4-2.2L-2.2-4L0-1.8L2.2-4L4-2.2L1.8 0L4 2.2L2.2 4L0 1.8L-2.2 4L-4 2.2L-1.8 0z",
    "*": "M0-4.5L1.2-1.4L4.3-1.4L1.8.6L2.7 3.7L0 1.9L-2.7 3.7L-1.8.6L-4.3-1.4L-1.2-1.4z",
    "p": "M0-4L3.8-1.2L2.4 3.2H-2.4L-3.8-1.2z",
    "h": "M0-4L3.5-2V2L0 4L-3.5 2V-2z",
    "H": "M-2-3.5H2L4 0L2 3.5H-2L-4 0z",
    "8": "M-1.6-3.8H1.6L3.8-1.6V1.6L1.6 3.8H-1.6L-3.8 1.6V-1.6z",
}
_CIRCLE = "M-3.2 0a3.2 3.2 0 1 0 6.4 0a3.2 3.2 0 1 0-6.4 0z"
_ids = itertools.count()


@dataclass(frozen=True)
class Look:
    """How a method is drawn everywhere: the page's colour, an SVG dash pattern, a marker."""

    colour: str
    dash: str
    marker: str

    @property
    def shape(self) -> str:
        """The marker as an SVG path."""
        return _SHAPES.get(self.marker, _CIRCLE)

    def swatch(self) -> Markup:
        """A short piece of the line, for legends."""
        return Markup(
            '<svg class="swatch {}" viewBox="0 0 34 12" aria-hidden="true">'
            '<path class="line" d="M1 6H33"{}/><path class="dot" d="{}" transform="translate(17 6)"/></svg>'
        ).format(self.colour, Markup(self._dash()), self.shape)

    def _dash(self) -> str:
        return f' stroke-dasharray="{self.dash}"' if self.dash else ""


@dataclass(frozen=True)
class Series:
    """One line with its band; `band.low` may be NaN throughout (no band)."""

    label: str
    look: Look
    x: NDArray
    band: Band
    seeds: Sequence[NDArray] = ()
    """Lines of single seeds, thin, for the page's script to show."""


def line_chart(
    series: Sequence[Series],
    *,
    title: str,
    x_label: str,
    height: int = 220,
    limits: tuple[float, float] | None = None,
    axis: str = "",
    places: Sequence[tuple[float, str]] | None = None,
) -> Markup:
    """Lines with bands. `limits` fixes the y axis; else a bad beginning may leave it (see `focus`).

    The numbers go along, for the page's script; `axis` names what is drawn against, where a figure has several. Named
    `places` on the x axis take the place of round numbers.
    """
    low, high = limits or focus(series)
    x_low = min(float(s.x[0]) for s in series)
    x_high = max(float(s.x[-1]) for s in series)
    across = Axis(x_low, x_high if x_high > x_low else x_low + 1, LEFT, WIDTH - RIGHT)
    up = Axis(low, high, height - BOTTOM, TOP)
    parts = [grid(across, up, height, x_label, places)]
    clip = f"clip{next(_ids)}"
    parts.append(
        f'<clipPath id="{clip}"><rect x="{LEFT}" y="{TOP - 4}" width="{WIDTH - LEFT - RIGHT + 4}" '
        f'height="{height - BOTTOM - TOP + 8}"/></clipPath><g clip-path="url(#{clip})">'
    )
    for s in series:
        x = across(s.x)
        if len(x) > 1 and np.isfinite(s.band.low).all():
            outline = np.concatenate([up(s.band.high), up(s.band.low)[::-1]])
            area = _points(np.concatenate([x, x[::-1]]), outline)
            parts.append(
                f'<path class="band {s.look.colour}" data-line="{escape(s.label)}" d="M{area}z"/>'
            )
    for rank, s in enumerate(series):
        x, y = across(s.x), up(s.band.point)
        path = f'<path class="line" d="M{_points(x, y)}"{s.look._dash()}/>' if len(x) > 1 else ""
        own = "".join(f"M{_points(x, up(seed))}" for seed in s.seeds if len(x) > 1)
        path += f'<path class="each" d="{own}"/>' if own else ""
        step = max(1, -(-len(x) // 6))
        first = rank * step // len(series)
        marks = "".join(
            f'<path class="dot" d="{s.look.shape}" transform="translate({a:.1f} {b:.1f})"/>'
            for a, b in zip(x[first::step], y[first::step], strict=True)
        )
        parts.append(
            f'<g class="{s.look.colour}" data-line="{escape(s.label)}"><title>{escape(s.label)}</title>'
            f"{path}{marks}</g>"
        )
    parts.append("</g>")
    lowest = min(float(np.min(s.band.point)) for s in series)
    if lowest < low:
        parts.append(f'<text class="note" x="2" y="{height - 4}">starts at {number(lowest)}</text>')
    highest = max(float(np.max(s.band.point)) for s in series)
    if highest > high:
        parts.append(f'<text class="note" x="{LEFT}" y="9">reaches {number(highest)}</text>')
    description = "; ".join(f"{s.label} ends at {number(s.band.point[-1])}" for s in series)
    data = chart_data(title, x_label, (across.low, across.high, LEFT, WIDTH - RIGHT, WIDTH), series)
    more = f' data-series="{escape(data)}"' + (f' data-axis="{axis}"' if axis else "")
    return svg(height, title, description, parts, more=more)


AXES = {
    "episodes": "training episodes",
    "env_steps": "environment steps of a seed",
    "hours": "hours",
}
"""What curves can be drawn against."""


def over_training(
    found: Sequence[tuple[str, MetricCurve]], looks: Mapping[str, Look], **drawn: Any
) -> Markup:
    """Curves by method, once for each axis that all know; all but the first are for the page's script to show.

    Args:
        drawn: what else `line_chart` is told.
    """
    pictures: list[Markup] = []
    for axis, words in AXES.items():
        places = [getattr(curve, axis) for _, curve in found]
        if all(place is not None for place in places):
            lines = [
                Series(method, looks[method], place, curve.band, list(curve.seeds))
                for (method, curve), place in zip(found, places, strict=True)
            ]
            pictures.append(line_chart(lines, x_label=words, axis=axis, **drawn))
    first, *others = pictures
    # A template is no part of the page until the script takes from it.
    return first + Markup("<template>{}</template>").format(Markup("").join(others))


def heat_map(rates: NDArray, *, title: str, weights: bool = False) -> Markup:
    """Open rates [N, N] by receiver (row) and sender (column), or weights, whose diagonal is drawn too."""
    n = len(rates)
    side = max(22, min(48, 156 // n))
    left, top = 20, 40
    height = top + side * n + 4
    width = left + side * n + 4
    small = ' style="font-size:10px"' if side < 30 else ""
    unit = "" if weights else " of steps"
    parts = ['<text class="label" x="0" y="12">to \u2193 \u2002from \u2192</text>']
    for i in range(n):
        centre = side * i + side / 2
        parts.append(
            f'<text class="tick" x="{left + centre}" y="{top - 8}" text-anchor="middle">{i}</text>'
            f'<text class="tick" x="{left - 6}" y="{top + centre + 4}" text-anchor="end">{i}</text>'
        )
        for j in range(n):
            x, y = left + side * j, top + side * i
            if i == j and not weights:
                parts.append(f'<path class="grid" d="M{x + 4} {y + 4}l{side - 8} {side - 8}"/>')
                continue
            rate = float(rates[i, j])
            tone = "strong" if rate > 0.78 else "weak"  # where either has a contrast of 4
            parts.append(
                f'<g data-tip="{i} hears {j}: {rate:.1%}{unit}">'
                f"<title>agent {i} hears agent {j}: {rate:.1%}{unit}</title>"
                f'<rect class="cell" x="{x + 1}" y="{y + 1}" width="{side - 2}" height="{side - 2}" '
                f'rx="3" fill-opacity="{0.04 + 0.96 * rate:.3f}"/><text class="{tone}" x="{x + side / 2}" '
                f'y="{y + side / 2 + 4}" text-anchor="middle"{small}>{100 * rate:.0f}</text></g>'
            )
    description = "; ".join(
        f"{i} hears {j} in {rates[i, j]:.0%}" for i in range(n) for j in range(n) if i != j
    )
    pairs = [(i, j) for i in range(n) for j in range(n) if weights or i != j]
    table = [[i, j, float(rates[i, j])] for i, j in pairs]
    data = table_data(title, ("to", "from", "weight" if weights else "share of steps"), table)
    return svg(height, title, description, parts, width, f' data-table="{escape(data)}"')


def focus(series: Sequence[Series]) -> tuple[float, float]:
    """Limits of the y axis. A terrible first quarter may leave the picture rather than flatten the rest."""
    late, early = [], []
    for s in series:
        cut = len(s.x) // 4 if len(s.x) >= 8 else 0
        for line in s.band:
            values = line[np.isfinite(line)]
            late.append(values[min(cut, len(values) - 1) :] if len(values) else values)
            early.append(values[:cut])
    inside = np.concatenate(late)
    low, high = float(inside.min()), float(inside.max())
    everything = np.concatenate([inside, *early])
    room = (high - low) or 1.0
    if float(everything.max()) - float(everything.min()) <= 2.5 * room:
        low, high = float(everything.min()), float(everything.max())
    room = (high - low) or 1.0
    return low - 0.06 * room, high + 0.06 * room


def ticks(low: float, high: float, wanted: int) -> list[float]:
    """Round numbers within [low, high], about as many as wanted."""
    rough = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough)
    first = math.ceil(low / step - 1e-9)
    digits = max(12, 3 - math.floor(math.log10(step)))  # gradients may be smaller than any return
    return [round(k * step, digits) for k in range(first, math.floor(high / step + 1e-9) + 1)]


def marks(low: float, high: float, wanted: int) -> list[tuple[float, str]]:
    """Round numbers as `ticks` gives, each with its text: as many digits for all as tell each by its very value."""
    values = ticks(low, high, wanted)
    near = 1e-6 * (high - low)
    digits = next(
        (d for d in range(3, 16) if all(abs(float(f"{v:.{d}g}") - v) <= near for v in values)), 16
    )
    return [(value, number(value, digits)) for value in values]


def number(value: float, digits: int = 3) -> str:
    """So many digits and a true minus sign; a dash for what is not known."""
    if not math.isfinite(value):
        return "\u2013"
    text = compact(float(f"{value:.{digits}g}"), max(4, digits))
    return "0" if text == "-0" else text.replace("-", "\u2212")


def interval_text(interval: Interval) -> str:
    """An interval as text, such as `-22.1 [-22.7, -20.9]`."""
    if not math.isfinite(interval.low):
        return number(interval.point)
    values = (interval.point, interval.low, interval.high)
    largest = max(abs(value) for value in values)
    if largest >= 1000 or largest == 0:
        point, low, high = (number(value) for value in values)
    else:  # as many decimals for all as the largest needs for three digits
        decimals = min(6, 2 - math.floor(math.log10(largest)))
        if interval.high - interval.low < 10:  # hundreds would hide how wide it is
            decimals = max(decimals, 1)
        rounded = (round(value, decimals) + 0.0 for value in values)  # no negative zero
        point, low, high = (
            f"{value:.{max(decimals, 0)}f}".replace("-", "\u2212") for value in rounded
        )
    return f"{point} [{low}, {high}]"


@dataclass(frozen=True)
class Axis:
    """Data from `low` to `high` onto the page from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: ArrayLike) -> NDArray:
        share = (np.asarray(value, float) - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)


def grid(
    across: Axis,
    up: Axis,
    height: int,
    x_label: str,
    along: Sequence[tuple[float, str]] | None = None,
) -> str:
    """Both axes; `along` takes the place of round numbers on the x axis."""
    base = height - BOTTOM
    parts = []
    for value, text in marks(up.low, up.high, 5):
        y = float(up(value))
        parts.append(
            f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>'
            f'<text class="tick" x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{text}</text>'
        )
    for value, text in along or marks(across.low, across.high, 4):
        x = float(across(value))
        parts.append(
            f'<text class="tick" x="{x:.1f}" y="{base + 15}" text-anchor="middle">{text}</text>'
        )
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(
        f'<text class="label" x="{middle}" y="{base + 30}" text-anchor="middle">{escape(x_label)}</text>'
    )
    return "".join(parts)


def _points(x: NDArray, y: NDArray) -> str:
    y = np.clip(y, -2000, 2000)  # what lies far outside of the picture needs no precision
    return "L".join(f"{a:.1f} {b:.1f}" for a, b in zip(x, y, strict=True))


def svg(
    height: float,
    title: str,
    description: str,
    parts: Sequence[str],
    width: float = WIDTH,
    more: str = "",
) -> Markup:
    """A picture of these parts, with its title and what it says in words."""
    name = f"chart{next(_ids)}"
    head = (
        f'<svg class="chart" viewBox="0 0 {width} {height}" role="img" aria-labelledby="{name}t {name}d"{more}>'
        f'<title id="{name}t">{escape(title)}</title><desc id="{name}d">{escape(description)}</desc>'
    )
    return Markup(head + "".join(parts) + "</svg>")
