"""Where a run ended and what its messages are worth, in numbers made up so that no two are alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
from synthetic_runs import config_of

from purejax_mgtopo.analysis.curves import (
    RETURN_LABEL,
    draw_curves,
    summarise_run,
    try_to_draw,
)
from purejax_mgtopo.analysis.gain import share_kept
from purejax_mgtopo.analysis.statistics import Interval, stratified_bootstrap
from purejax_mgtopo.records.run_data import RunData

SEEDS, EVALUATIONS = 9, 3
CHANNELS = ("sampled", "cut", "shuffled")


def made_up(evaluations: int = EVALUATIONS) -> RunData:
    """A run with numbers that differ between seeds, evaluations and columns; all are finite."""
    rng = np.random.default_rng(evaluations)
    config = config_of("toy_follow_holder", "meta", SEEDS, EVALUATIONS)
    shape = (SEEDS, evaluations)
    return RunData(
        experiment=config.experiment,
        means=config.means,
        seconds=1234.0,
        episodes=500 * np.arange(1, evaluations + 1),
        env_steps=12_500 * np.arange(1, evaluations + 1),
        seeds=np.arange(SEEDS, dtype=np.int32),
        columns={
            "return_sampled": rng.normal(-20, 5, shape).astype(np.float32),
            "return_greedy": rng.normal(-18, 5, shape).astype(np.float32),
            "edge_rate": rng.uniform(size=shape).astype(np.float32),
        },
        finite=np.ones(shape, bool),
    )


def iqm(values: np.ndarray) -> float:
    return float(scipy.stats.trim_mean(np.asarray(values, float), 0.25))


def test_a_summary_is_of_the_seeds_that_were_finite_at_the_end() -> None:
    run = made_up()
    run.finite[2, -1] = False  # with a return from before
    run.return_sampled[4, -1] = np.nan
    run.return_sampled[5, 1] = np.inf  # once, but not at the end
    run.finite[6, 0] = False
    healthy = [0, 1, 3, 5, 6, 7, 8]
    found = summarise_run("grid", run)
    final = run.return_sampled[healthy, -1].astype(float)
    assert found.final_return == stratified_bootstrap([final])
    assert found.final_return.point == pytest.approx(iqm(final), rel=1e-9)
    assert found.edge_rate == pytest.approx(iqm(run.edge_rate[healthy, -1]), rel=1e-9)
    assert (found.finite, found.seeds, found.minutes) == (7, SEEDS, 1234 / 60)
    assert (found.task, found.method) == ("toy_follow_holder", "grid")


@pytest.mark.parametrize("evaluations", [0, 2])
def test_a_summary_of_nothing_says_nothing(evaluations: int) -> None:
    run = made_up(evaluations)
    run.finite[:] = False
    found = summarise_run("meta", run)
    assert isinstance(found.final_return, Interval)
    final = found.final_return
    assert np.isnan([final.point, final.low, final.high, found.edge_rate]).all()
    assert (found.finite, found.seeds) == (0, SEEDS)


def test_a_picture_has_the_runs_that_were_evaluated_and_its_title(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: dict[str, Any] = {}

    def keep(curves: list[Any], path: Path, **words: Any) -> Path:
        told.update(words, curves=curves)
        return path

    monkeypatch.setattr("purejax_mgtopo.analysis.figures.learning_curves", keep)
    said: list[str] = []
    path = tmp_path / "a.png"
    runs = [("early", made_up(0)), ("late", made_up(2))]
    assert draw_curves(runs[:1], path) is None and not told
    assert try_to_draw(runs, path, said.append, title="Who talks") == path
    assert not said
    (curve,) = told["curves"]
    assert (curve.task, curve.method) == ("toy_follow_holder", "late")
    late = made_up(2)
    np.testing.assert_array_equal(curve.episodes, late.episodes)
    np.testing.assert_array_equal(curve.returns, late.return_sampled)
    np.testing.assert_array_equal(curve.edge_rate, late.edge_rate)
    assert (told["title"], told["return_label"]) == ("Who talks", RETURN_LABEL)
    path.write_bytes(b"somebody's")
    assert try_to_draw(runs, path, said.append) == tmp_path / "a_2.png"
    assert told["title"] is None
    assert said == [f"{path} holds something else, which is left alone: the picture is a_2.png"]


def test_a_picture_that_fails_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise MemoryError("too\n  large")

    monkeypatch.setattr("purejax_mgtopo.analysis.figures.learning_curves", fail)
    said: list[str] = []
    assert try_to_draw([("meta", made_up())], tmp_path / "a.png", said.append) is None
    assert said == ["no picture: MemoryError: too large"]


def test_a_share_of_the_gain_with_one_seed_has_no_ends() -> None:
    found = share_kept(np.array([[10.0, 2.0, 4.0]]), CHANNELS, 2)
    assert found is not None and found.point == 0.25
    assert np.isnan([found.low, found.high]).all()
    assert share_kept(np.array([[2.0, 2.0, 4.0]]), CHANNELS, 2) is None


def test_there_is_no_share_of_what_the_gain_is_measured_by() -> None:
    returns = np.array([[10.0, 2.0, 4.0], [11.0, 2.0, 5.0]])
    assert [share_kept(returns, CHANNELS, c) is None for c in range(3)] == [True, True, False]
    noise = np.array([[1.0, 0, 0], [-1, 0, 0], [2, 0, 0], [-2, 0, 0], [0.5, 0, 0]])
    assert share_kept(noise, CHANNELS, 2) is None  # more than nothing, but not for certain


def test_a_small_gain_is_a_gain() -> None:
    returns = 1e-3 * np.array([[5.0, 1.0, 3.0], [6.0, 1.0, 3.5], [5.5, 1.0, 3.25]])
    found = share_kept(returns.astype(np.float32), CHANNELS, 2)
    assert found is not None and 0.49 < found.low <= found.point <= found.high < 0.51


def test_a_share_whose_resamples_may_be_losses_has_no_ends() -> None:
    """A gain below zero would turn the share's sign, and its ends with it."""
    rng = np.random.default_rng(0)
    found = 0
    for _ in range(400):
        gain = rng.normal(0.6, 1, 8)
        drawn = np.random.default_rng(1).choice(gain, (4000, 8))
        middle = scipy.stats.trim_mean(drawn, 0.25, axis=1)
        told = share_kept(np.stack([gain, 0 * gain, gain / 2], axis=1), CHANNELS, 2)
        if told is None or (middle < 0).sum() < 20:
            continue
        found += 1
        assert np.isnan([told.low, told.high]).all()
    assert found > 20


def test_a_share_whose_resamples_may_lack_any_gain_has_no_ends() -> None:
    """One seed of five gains nothing: a resample of it alone has no share."""
    gain = np.array([0.0, 1, 2, 3, 4])
    returns = np.stack([gain, 0 * gain, gain / 2], axis=1)
    with np.errstate(all="raise"):
        found = share_kept(returns, CHANNELS, 2)
    assert found is not None and found.point == 0.5
    assert np.isnan([found.low, found.high]).all()
