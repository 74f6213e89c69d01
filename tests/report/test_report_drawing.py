"""Numbers, ticks, lines and colours of the report's charts."""

from __future__ import annotations

import dataclasses
import itertools
import re
from pathlib import Path

import numpy as np
import pytest
from browsed import TASKS, Page
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath
from synthetic_runs import write_run

from purejax_mgtopo import methods
from purejax_mgtopo.analysis.statistics import (
    Band,
    Interval,
)
from purejax_mgtopo.cli import main as cli
from purejax_mgtopo.report.charts import (
    Look,
    Series,
    focus,
    interval_text,
    line_chart,
    number,
    ticks,
)
from purejax_mgtopo.report.collect import POINTS
from purejax_mgtopo.report.intervals import IntervalRow, interval_chart
from purejax_mgtopo.report.page import looks_of, render
from purejax_mgtopo.report.report import build_report


def test_curves_are_thinned_and_keep_both_ends(tmp_path):
    write_run(tmp_path / "long", TASKS[0], "meta", seeds=2, evaluations=150, pairs=False)
    run = build_report([tmp_path], episodes=False).runs[0]
    assert len(run.returns.episodes) == POINTS
    assert (run.returns.episodes[0], run.returns.episodes[-1]) == (500, 75_000)
    assert run.pairs is None
    assert (
        "rates of single pairs were not recorded"
        in Page(render(build_report([tmp_path], episodes=False))).words
    )


def test_numbers_and_intervals():
    assert [number(x) for x in (-22.14, 0.0, -0.0, 12_345, np.nan)] == [
        "\u221222.1",
        "0",
        "0",
        "12.3k",
        "\u2013",
    ]
    assert interval_text(Interval(-21.3, -22.44, -20.0)) == "\u221221.3 [\u221222.4, \u221220.0]"
    assert interval_text(Interval(-98.3, -100.4, -97.8)) == "\u221298.3 [\u2212100.4, \u221297.8]"
    assert interval_text(Interval(-111.0, -130.2, -97.8)) == "\u2212111 [\u2212130, \u221298]"
    assert interval_text(Interval(-0.001, -2.5, 0.2)) == "0.00 [\u22122.50, 0.20]"
    assert interval_text(Interval(3.0, np.nan, np.nan)) == "3"
    assert interval_text(Interval(0.0, 0.0, 0.0)) == "0 [0, 0]"


@pytest.mark.parametrize(
    ("low", "high"), [(-30, -20), (0, 1), (-0.04, 1.04), (3, 3.001), (-2e6, 5e6)]
)
def test_ticks_are_round_and_inside(low, high):
    found = ticks(low, high, 5)
    assert 2 <= len(found) <= 7 and low <= found[0] and found[-1] <= high
    steps = np.diff(found)
    np.testing.assert_allclose(steps, steps[0], rtol=1e-6)


def _line(values, x=None):
    values = np.asarray(values, float)
    unknown = np.full_like(values, np.nan)
    x = np.arange(len(values), dtype=float) if x is None else x
    return Series("meta", Look("red", "", "o"), x, Band(values, unknown, unknown))


def test_a_terrible_beginning_leaves_the_picture_and_is_told():
    values = np.r_[-500, -300, -100, np.linspace(-25, -20, 9)]
    low, high = focus([_line(values)])
    assert -31 < low < -25 and -20 < high < -18
    assert "starts at \u2212500" in line_chart([_line(values)], title="t", x_label="x")
    plain = _line(np.linspace(-40, -20, 12))
    assert focus([plain])[0] < -40
    assert "starts at" not in line_chart([plain], title="t", x_label="x")


def test_a_line_goes_where_its_values_are():
    picture = str(
        line_chart([_line([0.0, 1.0])], title="t", x_label="x", limits=(0, 1), height=200)
    )
    path = re.search(r'class="line" d="M([\d.]+) ([\d.]+)L([\d.]+) ([\d.]+)"', picture)
    assert [float(v) for v in path.groups()] == [44, 200 - 34, 350, 12]


def test_methods_look_as_in_the_figures_and_unlike_each_other(report):
    names = [*dict.fromkeys(method.name for method in methods.METHODS.values()), "mine", "yours"]
    first = report.comparisons[0]
    runs = tuple(dataclasses.replace(first.runs[0], method=name) for name in names)
    looks = looks_of(
        dataclasses.replace(report, comparisons=(dataclasses.replace(first, runs=runs),))
    )
    seen = {(look.colour, look.dash, look.shape) for look in looks.values()}
    assert len(seen) == len(looks) == len(names)
    assert looks["meta"] == Look("red", "", "o") and looks["full"].dash == "2.4 2.4"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_stand_out_from_the_page(scheme):
    """WCAG 2.2: 3:1 for what is drawn, 4.5:1 for text."""
    style = (Path(cli.__file__).parents[1] / "report" / "style.css").read_text()
    light, dark = re.findall(r":root \{(.*?)\}", style, re.S)[:2]
    found = dict(re.findall(r"--(\w+): (#\w{6})", light if scheme == "light" else dark))
    for ground in ("page", "card"):
        for name in ("black", "grey", "blue", "sky", "green", "orange", "red", "purple"):
            assert _contrast(found[name], found[ground]) >= 3, (name, ground)
        for name in ("ink", "soft", "link"):
            assert _contrast(found[name], found[ground]) >= 4.5, (name, ground)


@pytest.mark.parametrize("note", ["", "at 5.5k episodes"])
@pytest.mark.parametrize(
    "names",
    [
        ["none", "meta"],
        ["meta", "meta_commnet, hidden=64", "meta_commnet, hidden=128"],
        ["gated_acml, final_episodes=1000, batch_size=256", "none"],
        [f"reinforce+commnet, learner.policy_learning_rate={x}, seeds={x}" for x in (10, 20)],
    ],
)
def test_names_and_values_meet_neither_each_other_nor_the_edge(names, note):
    """Measured by the widths of DejaVu, one of the widest fonts that a page may get."""
    look, interval = Look("red", "", "o"), Interval(-22.14, -122.7, -20.93)
    rows = [IntervalRow(name, look, interval, np.arange(3.0), note) for name in names]
    picture = str(interval_chart(rows, title="final returns", x_label="final return of a seed"))
    boxes = []
    for kind, attributes, text in re.findall(
        r'<text class="(name|value)" (.*?)>(.*?)</text>', picture
    ):
        font = FontProperties(family="DejaVu Sans", weight="bold" if kind == "name" else "normal")
        width = TextPath((0, 0), text, size=12.5, prop=font).get_extents().width
        x, y = (float(re.search(rf'\b{k}="([\d.]+)"', attributes)[1]) for k in "xy")
        left = x - width if 'text-anchor="end"' in attributes else x
        assert 0 <= left and left + width <= 360, text
        boxes.append((left, left + width, y - 10, y + 3))
    assert len(boxes) == 2 * len(names)
    for a, b in itertools.combinations(boxes, 2):
        assert a[1] <= b[0] or b[1] <= a[0] or a[3] <= b[2] or b[3] <= a[2], (a, b)
    whole = re.findall(r'<text class="name".*?>(.*?)</text>', picture)
    assert len(set(whole)) == len(names)  # shortened, they still differ


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_are_apart_for_every_kind_of_colour_vision(scheme):
    """CIE 1976 distances after Machado et al. 2009 (severity 1); about 2 is the least that is seen at all."""
    style = (Path(cli.__file__).parents[1] / "report" / "style.css").read_text()
    light, dark = re.findall(r":root \{(.*?)\}", style, re.S)[:2]
    found = dict(re.findall(r"--(\w+): (#\w{6})", light if scheme == "light" else dark))
    names = ("black", "grey", "blue", "sky", "green", "orange", "red", "purple")
    for kind, matrix in _VISION.items():
        seen = {name: _lab(matrix @ _linear(found[name])) for name in names}
        for a, b in itertools.combinations(names, 2):
            assert np.linalg.norm(seen[a] - seen[b]) > 15, (kind, a, b)


_VISION = {
    "usual": np.eye(3),
    "protan": np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
                        [-0.003882, -0.048116, 1.051998]]),
    "deutan": np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
                        [-0.011820, 0.042940, 0.968881]]),
    "tritan": np.array([[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
                        [0.004733, 0.691367, 0.303900]]),
}  # fmt: skip


def _linear(colour):
    parts = np.array([int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)])
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)


def _lab(rgb):
    to_xyz = np.array([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750],
                       [0.0193339, 0.1191920, 0.9503041]])  # fmt: skip
    x = to_xyz @ np.clip(rgb, 0, 1) / np.array([0.95047, 1, 1.08883])
    f = np.where(x > 0.008856, np.cbrt(x), 7.787 * x + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def test_only_axes_that_some_task_knows_are_offered(report):
    """A task whose runs have no clock in their records, as of older versions, cannot be drawn against hours."""
    comparison = report.comparisons[0]

    def page(clocks):
        runs = tuple(
            dataclasses.replace(
                run,
                returns=dataclasses.replace(
                    run.returns, hours=run.returns.episodes if clock else None
                ),
            )
            for run, clock in zip(comparison.runs, clocks, strict=True)
        )
        changed = dataclasses.replace(comparison, runs=runs)
        return render(dataclasses.replace(report, comparisons=(changed,)))

    every = [True] * len(comparison.runs)
    assert '<option value="hours">' in page(every)
    for clocks in ([False] * len(every), [False, *every[1:]]):
        assert '<option value="env_steps">' in page(clocks)
        assert '<option value="hours">' not in page(clocks)


def _contrast(a, b):
    def light(colour):
        parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
        r, g, b = (c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
        return 0.2126 * r + 0.7152 * g + 0.0722 * b

    high, low = sorted((light(a), light(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)
