"""The bootstrap's short cuts, against gathering and sorting every single resample."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from purejax_mgtopo.analysis.statistics import _iqm_of_counts, count, improvement


@pytest.mark.parametrize("seeds", [2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 31])
def test_every_resample_by_counts_equals_its_own_iqm(seeds: int) -> None:
    """Not the quantiles alone: each of them, with ties and an outlier among the values."""
    rng = np.random.default_rng(seeds)
    values = rng.normal(size=seeds)
    values[0], values[-1] = 1e6, values[1]
    drawn = rng.integers(0, seeds, (300, seeds))
    drawn[:seeds] = np.arange(seeds)[:, None]  # one seed, drawn throughout
    order = np.argsort(values)
    found = _iqm_of_counts(values[order], count(drawn)[order])
    expected = scipy.stats.trim_mean(values[drawn], 0.25, axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("ours", "theirs"), [(2, 2), (3, 5), (8, 4)])
def test_every_resample_of_an_improvement_equals_all_pairs(ours: int, theirs: int) -> None:
    rng = np.random.default_rng(10 * ours + theirs)
    x = rng.integers(0, 4, ours).astype(float)  # ties abound
    y = rng.integers(0, 4, theirs).astype(float)
    first, second = rng.integers(0, ours, (200, ours)), rng.integers(0, theirs, (200, theirs))
    pairs = np.sign(x[first][:, :, None] - y[second][:, None, :])
    expected = ((pairs + 1) / 2).mean(axis=(1, 2))
    np.testing.assert_allclose(improvement(x, y)(first, second), expected, rtol=1e-12)


@pytest.mark.parametrize("seeds", [1, 4, 9])
def test_counts_are_counts(seeds: int) -> None:
    drawn = np.random.default_rng(seeds).integers(0, seeds, (50, seeds))
    expected = [[int((row == seed).sum()) for row in drawn] for seed in range(seeds)]
    np.testing.assert_array_equal(count(drawn), expected)
