"""What is told of seeds that were lost, and of a run that has not come to all its seeds yet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from synthetic_runs import config_of, write_run

from purejax_mgtopo.analysis.curves import draw_curves
from purejax_mgtopo.analysis.figures import Curve
from purejax_mgtopo.analysis.statistics import Interval, curve_interval
from purejax_mgtopo.records.metrics import Evaluation
from purejax_mgtopo.records.record import RunRecord
from purejax_mgtopo.records.run_data import load_run
from purejax_mgtopo.report.charts import Look, marks
from purejax_mgtopo.report.collect import read_run
from purejax_mgtopo.report.intervals import IntervalRow, interval_chart
from purejax_mgtopo.report.page import render
from purejax_mgtopo.report.report import build_report
from purejax_mgtopo.report.words import caveats, standing

TASK = "navigation_N3_l3"


def in_waves(folder: Path, seeds: int, known: int) -> Path:
    """A run whose first wave of `known` seeds is trained, and whose second was evaluated once."""
    config = config_of(TASK, "meta", seeds, 2, lanes=known)
    rng = np.random.default_rng(3)
    with RunRecord(folder, config, "mgtopo train") as record:
        for numbers, episodes in ((range(known), (500, 1000)), (range(known, seeds), (500,))):
            own = np.array(numbers, np.int32)
            for episode in episodes:
                names = ("return_sampled", "return_greedy", "train_return", "edge_rate")
                columns = {n: rng.uniform(size=len(own)).astype(np.float32) for n in names}
                alive = np.ones(len(own), bool)
                record.evaluation(Evaluation(episode, 25 * episode, own, alive, columns))
        record.flush()
    return folder


@pytest.mark.parametrize(("known", "those"), [(1, "of that one"), (2, "of those")])
def test_a_run_under_way_in_waves_tells_how_many_seeds_it_is_of(
    tmp_path: Path, known: int, those: str
) -> None:
    """An interval of few seeds is not one of all that were asked for."""
    in_waves(tmp_path / TASK / "meta", 5, known)
    report = build_report([tmp_path], episodes=False)
    (run,) = report.runs
    assert (run.seeds, run.told, len(run.finals)) == (5, known, known)
    assert standing(run).endswith(f"1,000 of 1,000 at the last evaluation of {known} of 5 seeds")
    told = " ".join(caveats(report.comparisons))
    assert f"Of meta on {TASK} {known} of 5 seeds are evaluated so far" in told and those in told
    assert f"{known} trained seed{'s' if known > 1 else ''}." in render(report)


def test_a_finished_run_has_all_its_seeds(tmp_path: Path) -> None:
    write_run(tmp_path / TASK / "meta", TASK, "meta", seeds=3, broken=(1,))
    report = build_report([tmp_path], episodes=False)
    (run,) = report.runs
    assert (run.seeds, run.told, run.lost) == (3, 3, (1,))
    assert "so far" not in " ".join(caveats(report.comparisons)) and standing(run) == "finished"


def test_seeds_that_were_lost_are_in_no_curve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their returns stay as they were before, and look like any others."""
    folder = write_run(tmp_path / "run", TASK, "meta", seeds=6, broken=(1, 4))
    data = load_run(folder)
    assert np.isfinite(data.return_sampled).all()  # as of real runs
    drawn: list[Curve] = []

    def keep(curves: list[Curve], path: Path, **words: object) -> Path:
        drawn.extend(curves)
        return path

    monkeypatch.setattr("purejax_mgtopo.analysis.figures.learning_curves", keep)
    draw_curves([("meta", data)], tmp_path / "curves.png")
    (curve,) = drawn
    finite = np.isfinite(curve.returns).all(axis=1)
    assert [*np.flatnonzero(~finite)] == [1, 4] and len(curve.returns) == 6
    run, _ = read_run(folder)
    kept = [0, 2, 3, 5]
    for told, values in ((run.returns, data.return_sampled), (run.edges, data.edge_rate)):
        assert told is not None and len(told.seeds) == 4
        expected = curve_interval(values[kept].astype(float))
        np.testing.assert_allclose(told.band.point, expected.point, rtol=1e-6)


def test_a_run_all_of_whose_seeds_were_lost_has_no_curve(tmp_path: Path) -> None:
    run, _ = read_run(write_run(tmp_path / "run", TASK, "meta", seeds=2, broken=(0, 1)))
    assert run.returns is None and run.edges is None and run.scores is None


@pytest.mark.parametrize(
    ("low", "high", "wanted", "texts"),
    [
        (-30.8, -29.9, 4, ["\u221230.75", "\u221230.50", "\u221230.25", "\u221230"]),
        (0.2008, 0.2022, 4, ["0.201", "0.2015", "0.202"]),
        (-33.1, -31.9, 5, ["\u221233", "\u221232.75", "\u221232.5", "\u221232.25", "\u221232"]),
        (0, 50_000, 4, ["0", "20k", "40k"]),
        (0, 12_500, 5, ["0", "2.5k", "5k", "7.5k", "10k", "12.5k"]),
    ],
)
def test_what_stands_at_a_mark_is_its_very_value(
    low: float, high: float, wanted: int, texts: list[str]
) -> None:
    """Three digits would call -30.75 -30.8, and -32.25 -32.2."""
    found = marks(low, high, wanted)
    sizes = {"k": 1e3, "M": 1e6}
    for value, text in found:
        plain = text.replace("\u2212", "-")
        read = float(plain.rstrip("kM")) * sizes.get(plain[-1], 1)
        assert read == pytest.approx(value, abs=1e-6 * (high - low))
    assert [float(t.replace("\u2212", "-").rstrip("kM")) for _, t in found] == [
        float(t.replace("\u2212", "-").rstrip("kM")) for t in texts
    ]


def test_quantiles_of_many_seeds_are_called_so() -> None:
    """In the table and under the pointer, where they would pass for seeds."""
    look = Look("red", "", "o")
    interval = Interval(1.0, 0.5, 1.5)
    many = IntervalRow("many", look, interval, np.linspace(0, 2, 40), of=64)
    few = IntervalRow("few", look, interval, np.array([1.0, 2.0]), of=2)
    chart = str(interval_chart([many, few], title="t", x_label="x"))
    assert "40 quantiles of 64 seeds" in chart
    assert chart.count("quantiles") == 2  # under the pointer, and in the table
    assert "seeds 1, 2" in chart
