"""The numbers behind a chart, for the page's script: values under the pointer, and tables to take away."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

LINE = "\n"
"""Between the lines of what is told under the pointer."""


def chart_data(
    name: str, x: str, axis: tuple[float, float, float, float, float], series: Sequence[Any]
) -> str:
    """A chart of `charts.Series` as JSON.

    Args:
        axis: the x axis's ends, their places in the picture, and its width.
    """
    low, high, left, right, width = axis
    return json.dumps(
        {
            "name": name,
            "x": x,
            "low": low,
            "high": high,
            "left": left,
            "right": right,
            "width": width,
            "series": [_numbers(one) for one in series],
        },
        allow_nan=False,
        separators=(",", ":"),
    )


def table_data(name: str, head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A chart's numbers as JSON for ` data-table`, headings first; None for what is not known."""
    cells = [
        [_digits(np.array([cell]))[0] if isinstance(cell, float) else cell for cell in row]
        for row in rows
    ]
    return json.dumps({"name": name, "rows": [list(head), *cells]}, separators=(",", ":"))


def _numbers(series: Any) -> dict[str, Any]:
    """A line's numbers, five digits of each; None for what is not known."""
    band = series.band
    return {
        "label": series.label,
        "x": [float(f"{value:.7g}") for value in series.x],
        "point": _digits(band.point),
        "low": _digits(band.low),
        "high": _digits(band.high),
    }


def _digits(values: NDArray) -> list[float | None]:
    return [float(f"{v:.5g}") if math.isfinite(v) else None for v in np.asarray(values, float)]
