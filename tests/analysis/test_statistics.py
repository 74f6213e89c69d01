"""Statistics against hand computation, full enumeration of bootstraps, and simulated coverage."""

from __future__ import annotations

import inspect
from itertools import product

import numpy as np
import pytest

from purejax_mgtopo.analysis.statistics import (
    Interval,
    curve_interval,
    finite_seeds,
    improvement_interval,
    interquartile_mean,
    pooled_iqm,
    probability_of_improvement,
    stratified_bootstrap,
)


def mean_of_pool(tasks):
    return np.concatenate(tasks, axis=-1).mean(axis=-1)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([7.0], 7.0),
        ([1.0, 5.0], 3.0),
        ([9.0, 0.0, 3.0], 4.0),  # floor(3/4) = 0: nothing is dropped
        ([100.0, 2.0, 4.0, -50.0], 3.0),  # one at each end
        ([1.0, 2.0, 3.0, 7.0, 900.0], 4.0),  # floor(5/4) = 1: (2+3+7)/3
        ([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 90.0], 3.0),  # floor(7/4) = 1: (1+..+5)/5
        ([8.0, 1.0, 7.0, 2.0, 6.0, 3.0, 5.0, 4.5], 4.625),  # two each: (3+4.5+5+6)/4
    ],
)
def test_interquartile_mean_by_hand(values, expected):
    assert interquartile_mean(values) == pytest.approx(expected, rel=1e-15)


def test_interquartile_mean_along_an_axis_is_each_line_alone():
    x = np.random.default_rng(0).normal(size=(9, 3, 5))
    for axis in (0, 1, 2, -1):
        lines = np.moveaxis(x, axis, -1).reshape(-1, x.shape[axis])
        cut = x.shape[axis] // 4
        alone = [np.sort(line)[cut : len(line) - cut].mean() for line in lines]
        np.testing.assert_allclose(interquartile_mean(x, axis).ravel(), alone, rtol=1e-12)


def test_pooled_iqm_mixes_tasks_of_unequal_seed_counts():
    # pool 0,1,2,3,4,5,10,20: two dropped at each end, (2+3+4+5)/4
    tasks = [np.array([[20.0, 1.0, 2.0]]), np.array([[0.0, 3.0, 10.0, 4.0, 5.0]])]
    assert pooled_iqm(tasks) == pytest.approx([3.5])


@pytest.mark.parametrize("scores", [[1.0, 4.0], [0.0, 1.0, 5.0], [2.0, 3.0, 3.0, 9.0]])
def test_bootstrap_agrees_with_the_enumerated_distribution(scores):
    exact = [float(interquartile_mean(draw)) for draw in product(scores, repeat=len(scores))]
    seen = []

    def spy(tasks):
        seen.append(pooled_iqm(tasks))
        return seen[-1]

    interval = stratified_bootstrap([scores], spy, resamples=40_000, level=0.8, rng=3)
    drawn = np.concatenate(seen[1:])  # the first call is the point
    assert len(drawn) == 40_000
    values, weights = np.unique(np.round(exact, 9), return_counts=True)
    assert set(np.round(drawn, 9)) <= set(values)
    frequency = [(np.abs(drawn - v) < 1e-8).mean() for v in values]
    np.testing.assert_allclose(frequency, weights / len(exact), atol=0.012)
    # endpoints lie in the interior of an atom, so that they are exact
    assert interval.low == pytest.approx(np.quantile(exact, 0.1, method="inverted_cdf"))
    assert interval.high == pytest.approx(np.quantile(exact, 0.9, method="inverted_cdf"))
    assert interval.point == pytest.approx(float(interquartile_mean(scores)))


def test_two_tasks_enumerated_and_never_mixed():
    tasks = [np.array([0.0, 1.0]), np.array([10.0, 14.0, 18.0])]
    pairs = product(product(tasks[0], repeat=2), product(tasks[1], repeat=3))
    exact = [np.mean(a + b) for a, b in pairs]
    seen = []

    def spy(samples):
        assert set(np.unique(samples[0])) <= {0.0, 1.0}
        assert set(np.unique(samples[1])) <= {10.0, 14.0, 18.0}
        assert [s.shape[1] for s in samples] == [2, 3]
        seen.append(mean_of_pool(samples))
        return seen[-1]

    stratified_bootstrap(tasks, spy, resamples=40_000, rng=1)
    drawn = np.concatenate(seen[1:])
    assert drawn.mean() == pytest.approx(np.mean(exact), abs=0.03)
    assert drawn.std() == pytest.approx(np.std(exact), rel=0.02)  # a mixed pool: 2.8 times


def test_tasks_are_drawn_independently_of_each_other():
    samples = []

    def spy(tasks):
        samples.append(tasks)
        return mean_of_pool(tasks)

    stratified_bootstrap([[0.0, 1.0], [0.0, 1.0]], spy, resamples=4000, rng=0)
    first, second = (samples[1][t].mean(axis=-1) for t in (0, 1))
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.06


def test_interval_covers_the_truth_of_normal_samples():
    rng = np.random.default_rng(11)
    intervals = [stratified_bootstrap([rng.normal(size=20)], rng=rng) for _ in range(300)]
    covered = np.mean([i.low <= 0 <= i.high for i in intervals])
    assert 0.90 <= covered <= 0.98
    width = np.mean([i.high - i.low for i in intervals])
    assert 0.8 < width < 1.15  # 2 * 1.96 * 1.09 / sqrt(20) = 0.96 for a 25 % trimmed mean


def test_level_sets_the_coverage():
    rng = np.random.default_rng(12)
    samples = rng.normal(size=(300, 20))
    covered = []
    for level in (0.5, 0.8):
        intervals = [stratified_bootstrap([s], level=level, rng=5) for s in samples]
        covered.append(np.mean([i.low <= 0 <= i.high for i in intervals]))
    assert 0.42 <= covered[0] <= 0.57
    assert 0.72 <= covered[1] <= 0.86


@pytest.mark.parametrize("seeds", [2, 3, 4, 5, 8, 21])
def test_curve_interval_is_the_single_interval_of_each_column(seeds):
    values = np.random.default_rng(seeds).normal(size=(seeds, 6)) * 10 - 30
    values[:, 2] = values[0, 2]  # every seed equal
    values[: seeds // 2, 3] = 1.0  # ties
    band = curve_interval(values, resamples=700, level=0.9, rng=17)
    for e in range(values.shape[1]):
        single = stratified_bootstrap([values[:, e]], resamples=700, level=0.9, rng=17)
        np.testing.assert_allclose(
            [band.point[e], band.low[e], band.high[e]],
            [single.point, single.low, single.high],
            rtol=1e-12,
        )


def test_curve_interval_agrees_across_its_memory_blocks():
    values = np.random.default_rng(0).normal(size=(1500, 2))  # 87 resamples a block
    band = curve_interval(values, resamples=300, rng=4)
    single = stratified_bootstrap([values[:, 1]], resamples=300, rng=4)
    assert band.low[1] == pytest.approx(single.low, abs=1e-13)
    assert band.high[1] == pytest.approx(single.high, abs=1e-13)


def test_curve_interval_keeps_precision_beside_an_outlier():
    values = np.array([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 1e30])[:, None]
    band = curve_interval(values, level=0.5, rng=0)
    single = stratified_bootstrap([values[:, 0]], level=0.5, rng=0)
    assert (band.low[0], band.high[0]) == pytest.approx((single.low, single.high), rel=1e-12)


def test_probability_of_improvement_by_hand_with_ties():
    # x=1 beats 0; x=2 beats 0 and ties 2; x=5 beats all three: (1 + 1.5 + 3) / 9
    assert probability_of_improvement([1.0, 2.0, 5.0], [0.0, 2.0, 3.0]) == pytest.approx(5.5 / 9)
    assert probability_of_improvement([3.0, 3.0], [3.0]) == 0.5
    assert probability_of_improvement([2.0], [1.0, 0.0]) == 1.0
    x, y = np.random.default_rng(0).integers(0, 6, (2, 13)).astype(float)
    pairs = (x[:, None] > y) + 0.5 * (x[:, None] == y)
    assert probability_of_improvement(x, y[:7]) == pytest.approx(pairs[:, :7].mean())
    assert probability_of_improvement(x, y) + probability_of_improvement(y, x) == pytest.approx(1)


def test_improvement_interval_agrees_with_enumeration():
    x, y = [1.0, 4.0], [0.0, 2.0, 4.0]
    exact = [
        np.mean([(a > b) + 0.5 * (a == b) for a in xs for b in ys])
        for xs in product(x, repeat=2)
        for ys in product(y, repeat=3)
    ]
    interval = improvement_interval(x, y, resamples=40_000, level=0.6, rng=2)
    assert interval.point == pytest.approx((1 + 2.5) / 6)
    assert interval.low == pytest.approx(np.quantile(exact, 0.2, method="inverted_cdf"))
    assert interval.high == pytest.approx(np.quantile(exact, 0.8, method="inverted_cdf"))


def test_improvement_interval_covers_the_truth():
    rng = np.random.default_rng(6)
    intervals = [
        improvement_interval(rng.normal(size=20), rng.normal(size=20), resamples=500, rng=rng)
        for _ in range(300)
    ]
    assert 0.89 <= np.mean([i.low <= 0.5 <= i.high for i in intervals]) <= 0.98


def test_same_seed_same_interval_and_a_generator_advances():
    scores = np.random.default_rng(0).normal(size=(3, 9))
    for run in (
        lambda rng: stratified_bootstrap(scores, rng=rng),
        lambda rng: improvement_interval(scores[0], scores[1], rng=rng),
        lambda rng: curve_interval(scores.T, rng=rng).low.tolist(),
    ):
        assert run(5) == run(5) == run(np.random.default_rng(5))
        generator = np.random.default_rng(5)
        assert run(generator) != run(generator)


def test_what_is_not_said_is_2000_resamples_95_percent_and_seed_0():
    scores = np.random.default_rng(1).normal(size=(3, 9))
    stated = {"resamples": 2000, "level": 0.95, "rng": 0}
    for run in (
        lambda **given: stratified_bootstrap(scores, **given),
        lambda **given: improvement_interval(scores[0], scores[1] - 0.3, **given),
        lambda **given: np.stack(curve_interval(scores.T, **given)).tolist(),
    ):
        assert run() == run(**stated)
        assert run() != run(**stated | {"rng": 1})
    for function in (stratified_bootstrap, improvement_interval, curve_interval):
        defaults = inspect.signature(function).parameters
        assert {name: defaults[name].default for name in stated} == stated


def test_single_precision_is_averaged_in_double():
    values = np.array([1e8, 1.0, -1e8], np.float32)  # nothing is dropped of three
    assert interquartile_mean(values) == pytest.approx(1 / 3, rel=1e-12)
    curves = np.random.default_rng(2).normal(-30, 5, (7, 3)).astype(np.float32)
    expected = curve_interval(curves.astype(float))
    np.testing.assert_array_equal(np.stack(curve_interval(curves)), np.stack(expected))
    tasks = curves.T
    assert stratified_bootstrap(tasks) == stratified_bootstrap(tasks.astype(float))


def test_one_resample_is_enough_for_ends_that_are_equal():
    found = stratified_bootstrap([[1.0, 2.0, 4.0]], resamples=1)
    assert found.low == found.high and found.point == pytest.approx(7 / 3)


def test_no_count_of_pairs_is_too_large():
    """Of 40,000 seeds a side, twice the pairs are more than 32 bits hold."""
    better, worse = np.ones(40_000), np.zeros(40_000)
    assert improvement_interval(better, worse, resamples=2) == Interval(1.0, 1.0, 1.0)


def test_one_seed_has_a_point_and_no_interval():
    band = curve_interval([[1.0, 2.0]])
    assert band.point.tolist() == [1.0, 2.0]
    assert np.isnan(band.low).all() and np.isnan(band.high).all()
    for interval in (
        stratified_bootstrap([[1.0, 2.0], [3.0]], mean_of_pool),
        improvement_interval([2.0, 2.0], [1.0]),
    ):
        assert np.isfinite(interval.point) and np.isnan([interval.low, interval.high]).all()


def test_finite_seeds_drops_a_seed_that_failed_at_any_time():
    values = np.ones((4, 3))
    values[1, 2], values[3, 0] = np.nan, np.inf
    mask, count = finite_seeds(values)
    assert mask.tolist() == [True, False, True, False] and count == 2
    assert finite_seeds([1.0, -np.inf])[0].tolist() == [True, False]


def test_inputs_are_left_alone():
    values = np.random.default_rng(0).normal(size=(9, 4))
    before = values.copy()
    curve_interval(values, resamples=10)
    stratified_bootstrap(values, resamples=10)
    interquartile_mean(values, axis=0)
    np.testing.assert_array_equal(values, before)


def test_interval_is_frozen():
    with pytest.raises(AttributeError):
        Interval(0.0, -1.0, 1.0).low = 0.0  # type: ignore[misc]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: interquartile_mean([]), "no values"),
        (lambda: interquartile_mean(np.ones((2, 3)), axis=2), "axis 2"),
        (lambda: interquartile_mean([1.0, np.nan]), "finite_seeds"),
        (lambda: stratified_bootstrap([]), "no task"),
        (lambda: stratified_bootstrap([[1.0], []]), "task 1"),
        (lambda: stratified_bootstrap([1.0, 2.0]), "task 0"),
        (lambda: stratified_bootstrap([[1.0, np.inf]]), "finite_seeds"),
        (lambda: stratified_bootstrap([[1.0, 2.0]], level=1.0), "level"),
        (lambda: stratified_bootstrap([[1.0, 2.0]], level=0.0), "level"),
        (lambda: stratified_bootstrap([[1.0, 2.0]], resamples=0), "resamples"),
        (lambda: stratified_bootstrap([[1.0, 2.0]], lambda t: np.mean(t)), r"return \[1\]"),
        (lambda: curve_interval([1.0, 2.0]), "evaluations"),
        (lambda: curve_interval(np.empty((0, 3))), "not empty"),
        (lambda: curve_interval([[np.nan], [1.0]]), "finite_seeds"),
        (lambda: curve_interval([[0.0], [1.0]], level=95), "level"),
        (lambda: curve_interval([[0.0], [1.0]], resamples=-1), "resamples"),
        (lambda: probability_of_improvement([], [1.0]), "x must"),
        (lambda: improvement_interval([1.0], [[1.0]]), "y must"),
        (lambda: finite_seeds(1.0), "scalar"),
    ],
)
def test_wrong_input_gets_one_clear_line(call, message):
    with pytest.raises(ValueError, match=message) as error:
        call()
    assert "\n" not in str(error.value)
