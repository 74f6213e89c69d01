"""Normalised scores against numbers worked out by hand from the stored scales."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax_mpe
import numpy as np
import pytest
from jax_mpe import experts
from synthetic_runs import write_run

from purejax_mgtopo.analysis import normalised
from purejax_mgtopo.analysis.figures import Curve, draw
from purejax_mgtopo.analysis.normalised import (
    normalised_band,
    normalised_interval,
    normalised_score,
    returns_at,
)
from purejax_mgtopo.analysis.statistics import Band, Interval
from purejax_mgtopo.report.collect import read_run

STORED: dict[str, Any] = json.loads(
    files(jax_mpe).joinpath("experts", "scales.json").read_text(encoding="utf-8")
)["tasks"]


@pytest.mark.parametrize("task", sorted(STORED))
def test_random_is_0_and_the_expert_1(task: str) -> None:
    random, expert = STORED[task]["random"], STORED[task]["expert"]
    returns = np.array([[random, expert], [(random + expert) / 2, 2 * expert - random]])
    np.testing.assert_allclose(normalised_score(task, returns), [[0, 1], [0.5, 2]], atol=1e-12)
    np.testing.assert_allclose(normalised_score(task, -30.0), experts.normalised_score(task, -30.0))
    np.testing.assert_allclose(returns_at(task, normalised_score(task, returns)), returns)


def test_by_hand() -> None:
    """Navigation: (-20 + 52.5136) / (-7.5373 + 52.5136) = 32.5136 / 44.9763."""
    task = "navigation_N3_l3"
    assert normalised_score(task, -20.0) == pytest.approx(0.722905, abs=1e-6)
    assert normalised_score("predator_prey_N3_l3@shipped", 0.0) == pytest.approx(
        0.0374415, abs=1e-6
    )
    found = normalised_interval(task, Interval(-20.0, -30.0, -10.0))
    expected = (0.722905, 0.500566, 0.945244)
    np.testing.assert_allclose((found.point, found.low, found.high), expected, atol=1e-6)
    band = normalised_band(task, Band(*(np.array([x, -52.5136]) for x in (-20.0, -30.0, -10.0))))
    np.testing.assert_allclose(np.stack(band), np.stack([expected, [0] * 3], 1), atol=1e-6)


@pytest.mark.parametrize(
    "task", ["navigation_N4_l2", "predator_prey_N3_l3@scripted", "nothing_N3", ""]
)
def test_without_a_scale_there_is_no_score(task: str) -> None:
    assert np.isnan(normalised_score(task, [1.0, 2.0])).all()
    assert np.isnan(returns_at(task, [0.0, 1.0])).all()
    assert np.isnan(normalised_interval(task, Interval(1.0, 0.0, 2.0)).point)


def test_a_scale_that_does_not_grow_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "experts").mkdir()
    ends = {"rises": (-3, 1), "level": (2, 2), "falls": (4, 1)}
    document = {"tasks": {n: {"random": low, "expert": high} for n, (low, high) in ends.items()}}
    (tmp_path / "experts" / "scales.json").write_text(json.dumps(document))
    places: list[str | None] = [str(tmp_path / "__init__.py"), None]
    specs = [SimpleNamespace(origin=place) for place in places]
    for spec, found in (*zip(specs, ({"rises": (-3, 1)}, {}), strict=True), (None, {})):
        monkeypatch.setattr(normalised, "find_spec", lambda name, spec=spec: spec)
        assert normalised._ends.__wrapped__() == found


def test_figures_have_a_second_axis_where_there_is_a_scale() -> None:
    def right(task: str) -> Any:
        values = np.array([[-40.0, -20.0], [-41.0, -21.0]])
        figure = draw([Curve(task, "meta", np.array([1.0, 2.0]), values, 0 * values)])
        figure.canvas.draw()
        upper = figure.axes[0]
        return upper.get_ylim(), [axes.get_ylim() for axes in upper.child_axes]

    limits, ((low, high),) = right("navigation_N3_l3")
    np.testing.assert_allclose([low, high], (np.array(limits) + 52.5136) / 44.9763)
    assert right("navigation_N4_l2")[1] == []


def test_a_run_of_a_report_has_its_score_and_a_curve_of_them(tmp_path) -> None:
    task = "navigation_N3_l3"
    run, _ = read_run(write_run(tmp_path / task / "meta", task, "meta", evaluations=2))
    assert run.score.point == pytest.approx((run.final.point + 52.5136) / 44.9763)
    assert run.score.low == pytest.approx((run.final.low + 52.5136) / 44.9763)
    assert run.returns is not None and run.scores is not None
    np.testing.assert_allclose(
        run.scores.band.high, (run.returns.band.high + 52.5136) / 44.9763, rtol=1e-6
    )
