"""Comparisons over tasks against hand computation, SciPy, brute force and simulated coverage."""

from __future__ import annotations

import numpy as np
import pytest

from purejax_mgtopo.analysis.across_tasks import (
    ScoreScale,
    improvement_across_tasks,
    observed_scale,
    performance_profile,
)
from purejax_mgtopo.analysis.statistics import (
    improvement_interval,
    interquartile_mean,
    stratified_bootstrap,
)


def test_scale_by_hand():
    np.testing.assert_allclose(
        ScoreScale(-30, -10)([-30, -10, -15, 0, -40]), [0, 1, 0.75, 1.5, -0.5]
    )


def test_observed_scale_is_the_extremes_or_ignores_tails():
    methods = [np.arange(101.0), np.arange(101.0) + 50]
    assert observed_scale(methods, tails=0) == ScoreScale(0, 150)
    assert observed_scale(methods) == ScoreScale(5, 145)
    wild = [np.append(methods[0], -1e9), methods[1]]
    assert observed_scale(wild).low == pytest.approx(5, abs=1.1)


def test_profile_by_hand():
    # above 0: 2 of 4 and 1 of 1; above 0.5 (strictly): 1 of 4 and 1 of 1; above 1: 0 and 0
    scores = [[0.5, -1.0, 0.0, 0.75], [1.0]]
    profile = performance_profile(scores, [-2, 0.0, 0.5, 1.0])
    np.testing.assert_allclose(profile.point, [1, 0.75, 0.625, 0])
    assert profile.low.shape == profile.high.shape == (4,)
    assert np.isnan([profile.low, profile.high]).all()


def test_area_under_the_profile_is_the_mean():
    rng = np.random.default_rng(0)
    scores = [rng.uniform(size=30), rng.beta(2, 5, size=12)]
    tau = (np.arange(5000) + 0.5) / 5000
    area = performance_profile(scores, tau, resamples=2).point.mean()
    assert area == pytest.approx(np.mean([np.mean(s) for s in scores]), abs=1e-3)


def test_profile_bands_agree_with_drawing_the_seeds():
    rng = np.random.default_rng(1)
    scores = [rng.normal(size=9), rng.normal(0.4, 1, size=14)]
    tau = np.array([-0.7, 0.1, 0.9])
    band = performance_profile(scores, tau, resamples=30_000, level=0.9)
    drawn = [
        np.mean([np.mean(rng.choice(s, len(s))[:, None] > tau, axis=0) for s in scores], axis=0)
        for _ in range(30_000)
    ]
    # The estimates lie on a grid, so that a quantile may differ by one of its cells.
    np.testing.assert_allclose(band.low, np.quantile(drawn, 0.05, axis=0), atol=0.5 / 14)
    np.testing.assert_allclose(band.high, np.quantile(drawn, 0.95, axis=0), atol=0.5 / 14)
    assert (band.low < band.point).all() and (band.point < band.high).all()


def test_improvement_is_scipys_u_averaged_over_tasks():
    from scipy.stats import mannwhitneyu

    rng = np.random.default_rng(2)
    x = [rng.integers(0, 6, 9), rng.normal(size=5)]  # ties in the first
    y = [rng.integers(0, 6, 7), rng.normal(size=8)]
    expected = np.mean(
        [mannwhitneyu(a, b).statistic / (len(a) * len(b)) for a, b in zip(x, y, strict=True)]
    )
    interval = improvement_across_tasks(x, y)
    assert interval.point == pytest.approx(expected)
    assert interval.low < interval.point < interval.high
    back = improvement_across_tasks(y, x)
    assert back.point == pytest.approx(1 - expected)


def test_improvement_intervals_agree_with_drawing_the_seeds():
    rng = np.random.default_rng(3)
    x = [rng.integers(0, 5, 6).astype(float), rng.normal(size=7)]
    y = [rng.integers(0, 5, 8).astype(float), rng.normal(size=5)]
    interval = improvement_across_tasks(x, y, resamples=20_000, level=0.8)

    def once():
        chosen = [(rng.choice(a, len(a)), rng.choice(b, len(b))) for a, b in zip(x, y, strict=True)]
        return np.mean(
            [((a[:, None] > b).mean() + (a[:, None] >= b).mean()) / 2 for a, b in chosen]
        )

    brute = np.quantile([once() for _ in range(10_000)], [0.1, 0.9])
    assert (interval.low, interval.high) == pytest.approx(brute, abs=0.012)


def test_each_task_of_three_is_compared_with_its_own_draws():
    """The very interval, as it is from the same random numbers by all pairs of every resample."""
    rng = np.random.default_rng(8)
    x = [rng.integers(0, 5, size).astype(float) for size in (6, 4, 7)]  # ties abound
    y = [rng.integers(0, 5, size).astype(float) for size in (5, 8, 3)]
    drawn = np.random.default_rng(0)  # the defaults: seed 0, 2,000 resamples, 95 %
    each = []
    for ours, theirs in zip(x, y, strict=True):
        a, b = (v[drawn.integers(0, len(v), (2000, len(v)))] for v in (ours, theirs))
        pairs = np.sign(a[:, :, None] - b[:, None, :])
        each.append(((pairs + 1) / 2).mean(axis=(1, 2)))
    expected = np.quantile(np.mean(each, axis=0), [0.025, 0.975])
    found = improvement_across_tasks(x, y)
    np.testing.assert_allclose([found.low, found.high], expected, rtol=1e-12)


def test_a_profile_is_the_same_whenever_it_is_made():
    scores = np.random.default_rng(9).normal(size=(2, 12))
    tau = np.linspace(-1, 1, 7)
    stated = performance_profile(scores, tau, resamples=2000, level=0.95, rng=0)
    for again in (performance_profile(scores, tau), performance_profile(scores, tau, rng=0)):
        np.testing.assert_array_equal(np.stack(again), np.stack(stated))
    other = performance_profile(scores, tau, rng=1)
    assert (other.low != stated.low).any() and (other.point == stated.point).all()


def test_scores_of_single_precision_are_put_on_the_scale_in_double():
    scores = np.array([0.1, 0.7, -3.3], np.float32)
    expected = (scores.astype(float) + 1 / 3) / (2 / 3)
    np.testing.assert_array_equal(ScoreScale(-1 / 3, 1 / 3)(scores), expected)


def test_one_task_is_the_interval_of_one_task():
    x, y = np.arange(6.0), np.arange(9.0) - 1
    assert improvement_across_tasks([x], [y], rng=4) == improvement_interval(x, y, rng=4)


def test_pooled_iqm_of_many_seeds_agrees_with_the_formula_row_by_row():
    """Counts stand in for samples; the answer must not depend on that."""
    rng = np.random.default_rng(5)
    tasks = [rng.normal(size=37), rng.integers(0, 4, 22).astype(float)]

    def plain(samples):
        return interquartile_mean(np.concatenate(samples, axis=-1))

    fast, slow = stratified_bootstrap(tasks, rng=6), stratified_bootstrap(tasks, plain, rng=6)
    assert (fast.point, fast.low, fast.high) == pytest.approx((slow.point, slow.low, slow.high))


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [8, 20, 64])
def test_intervals_cover_the_truth_at_the_stated_rate(seeds):
    """Nominal 95 %; a percentile bootstrap of few seeds, or of shares on a grid, falls short a little."""
    rng, tasks, experiments = np.random.default_rng(7), 4, 1500
    tau = np.array([0.25, 0.5])
    truth = 0.5 * (1 - tau) + 0.5 * (1 - tau**2)  # U(0, 1) and the larger of two
    pooled = improved = 0
    profile = np.zeros(2)
    for _ in range(experiments):
        x = [rng.normal(size=seeds) for _ in range(tasks)]
        y = [rng.normal(size=seeds) for _ in range(tasks)]
        interval = stratified_bootstrap(x, resamples=500, rng=rng)
        pooled += interval.low <= 0 <= interval.high
        interval = improvement_across_tasks(x, y, resamples=500, rng=rng)
        improved += interval.low <= 0.5 <= interval.high
        scores = [rng.uniform(size=seeds), rng.uniform(size=(seeds, 2)).max(axis=1)]
        band = performance_profile(scores, tau, resamples=500, rng=rng)
        profile += (band.low <= truth) & (truth <= band.high)
    covered = np.array([pooled, improved, *profile]) / experiments
    print(f"\n{seeds} seeds a task: IQM, improvement, profile at {tau}: {covered}")
    assert (covered > [0.91, 0.91, 0.88, 0.88]).all() and (covered < 0.98).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ScoreScale(1, 1), "low < high"),
        (lambda: ScoreScale(0, np.inf), "finite"),
        (lambda: observed_scale([]), "no method"),
        (lambda: observed_scale([[1.0, 1.0]]), "low < high"),
        (lambda: observed_scale([[1.0, 2.0], []]), "method 1"),
        (lambda: observed_scale([[1.0]], tails=0.5), "tails"),
        (lambda: performance_profile([], [0.5]), "no task"),
        (lambda: performance_profile([[np.nan]], [0.5]), "finite_seeds"),
        (lambda: performance_profile([[1.0], []], [0.5]), "task 1"),
        (lambda: performance_profile([[1.0]], []), "thresholds"),
        (lambda: performance_profile([[1.0]], [0.5], level=95), "level"),
        (lambda: improvement_across_tasks([[1.0]], []), "same tasks"),
        (lambda: improvement_across_tasks([], []), "at least one"),
    ],
)
def test_wrong_input_gets_one_clear_line(call, message):
    with pytest.raises(ValueError, match=message) as error:
        call()
    assert "\n" not in str(error.value)
