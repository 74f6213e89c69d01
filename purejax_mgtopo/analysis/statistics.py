"""Honest statistics over seeds: interquartile mean, bootstrap, probability of improvement.

Definitions follow Agarwal et al. 2021, "Deep Reinforcement Learning at the Edge of the Statistical
Precipice" (arXiv:2108.13264), and its library rliable. All that is random takes `rng`, a NumPy
Generator or an integer seed: the same seed gives the same numbers, and a Generator is advanced.

Shapes: S seeds, E evaluations along a run, R resamples.

What an interval means here: only the seeds are resampled, so it covers the luck of the seed and
neither the choice of tasks nor of hyper-parameters. A percentile bootstrap is too narrow with few
seeds. On normal scores the nominal 95 % interval of one task's IQM covered the truth in 74 % of
6,000 experiments with 3 seeds, 87 % with 4, 90 % with 5, 93 % with 8 and 94 % with 20. One seed
shows no spread at all, so its interval is NaN rather than a point.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Statistic = Callable[[Sequence[NDArray]], NDArray]
"""A function from one array [R, S_task] per task to [R], row by row; a row is one resample of every task."""
Estimate = Callable[[Sequence[Integers]], Floats]
"""A `Statistic` that takes the indices of the seeds drawn."""

COVERAGE = {2: 51, 3: 74, 4: 87, 5: 90, 6: 90, 7: 92}
"""Percent of experiments in which a nominal 95 % interval of an IQM covers the truth, by seeds, for normal scores."""
FEW = max(COVERAGE) + 1
"""Seeds below which an interval covers too seldom for a word like "beats"."""

_BLOCK = 1 << 18  # elements in flight: about what fits the second-level cache


@dataclass(frozen=True)
class Interval:
    """A point estimate with its interval; `low` and `high` are NaN where spread cannot be seen."""

    point: float
    low: float
    high: float


class Band(NamedTuple):
    """`Interval` at every evaluation of a curve: `point`, `low` and `high`, each [E]."""

    point: Floats
    low: Floats
    high: Floats


def finite_seeds(values: ArrayLike) -> tuple[NDArray[np.bool_], int]:
    """Which seeds are finite throughout, and how many.

    Args: values [S] or [S, ...], seeds first.
    Returns: mask [S], true where no entry of the seed is NaN or infinite; the number of true ones.
    Raises ValueError when `values` has no seed axis.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim == 0:
        raise ValueError("values must have seeds on their first axis, got a scalar")
    mask = np.asarray(np.isfinite(array).all(axis=tuple(range(1, array.ndim))))
    return mask, int(mask.sum())


def interquartile_mean(x: ArrayLike, axis: int = -1) -> Floats:
    """Mean after dropping floor(n/4) values at each end: rliable's IQM, `trim_mean(x, 0.25)`.

    The textbook IQM weights the border values fractionally instead. The two agree when n is a
    multiple of 4; we follow rliable so that numbers compare with published ones. Note the small
    cases: up to n = 3 nothing is dropped and this is the plain mean; 4 to 7 drop one at each end.

    Args: x, any shape with n >= 1 finite values along `axis`.
    Returns: x's shape without `axis`, a scalar for one dimension.
    Raises ValueError for no or non-finite values, or an axis that x does not have.
    """
    array = np.asarray(x, dtype=np.float64)
    if array.size == 0:
        raise ValueError(f"interquartile mean of no values (shape {array.shape})")
    _refuse_non_finite(array)
    return _iqm_rows(np.moveaxis(array, axis, -1))


def pooled_iqm(tasks: Sequence[NDArray]) -> Floats:
    """rliable's aggregate: the IQM over all seeds of all tasks together; [R, S_task] each -> [R].

    A task with more seeds weighs more; give each task the same number to weigh them equally. Scores
    of different tasks must share a scale (normalise them first) for their pool to mean something.
    """
    return _iqm_rows(np.concatenate(tasks, axis=-1))


def stratified_bootstrap(
    scores: Sequence[ArrayLike] | NDArray,
    statistic: Statistic = pooled_iqm,
    *,
    resamples: int = 2000,
    level: float = 0.95,
    rng: np.random.Generator | int = 0,
) -> Interval:
    """Percentile interval of `statistic`, resampling seeds within each task and never across.

    Args:
        scores: one array [S_task] per task; a 2-D array is [tasks, S] (rliable's is transposed).
        statistic: maps one [R, S_task] per task to [R].
        resamples, level: how many resamples, and the coverage aimed at, in (0, 1).
    Returns: the statistic of the data itself, and its interval (NaN where a task has one seed).
    Raises ValueError for no task, an empty, non-finite or not 1-D task, or a statistic whose result
    is not [R].
    """
    strata = [one_dimensional(s, f"task {t}") for t, s in enumerate(scores)]
    if not strata:
        raise ValueError("no task to resample")
    estimate: Estimate = lambda drawn: statistic(  # noqa: E731
        [s[rows] for s, rows in zip(strata, drawn, strict=True)]
    )
    if statistic is pooled_iqm:  # the same numbers from counts, four times as fast
        pool = np.concatenate(strata)
        order = np.argsort(pool)
        ranked = pool[order]

        def estimate(drawn: Sequence[Integers]) -> Floats:
            return _iqm_of_counts(ranked, np.concatenate([count(rows) for rows in drawn])[order])

    point = _rows(statistic([s[None] for s in strata]), 1)[0]
    return bootstrap([len(s) for s in strata], point, estimate, resamples, level, rng)


def curve_interval(
    values: ArrayLike,
    *,
    resamples: int = 2000,
    level: float = 0.95,
    rng: np.random.Generator | int = 0,
) -> Band:
    """The IQM over seeds at each evaluation, with its pointwise percentile interval.

    A resample draws whole seeds, the same at every evaluation, as `stratified_bootstrap` of one
    task would draw them: `curve_interval(v, rng=k)` at column e is `stratified_bootstrap([v[:, e]],
    rng=k)`. The band is pointwise: it does not promise to hold the whole curve at once.

    Args: values [S, E], finite.
    Returns: point, low and high, each [E]; the last two are NaN for a single seed.
    Raises ValueError unless values is 2-D, non-empty and finite.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2 or array.size == 0:
        raise ValueError(f"values must be [seeds, evaluations] and not empty, got {array.shape}")
    _refuse_non_finite(array)
    wanted = quantiles(level)
    check_resamples(resamples)
    seeds, evaluations = array.shape
    point = _iqm_rows(array.T)
    if seeds == 1:
        unknown = np.full(evaluations, np.nan)
        return Band(point, unknown, unknown.copy())

    generator = np.random.default_rng(rng)
    order = np.argsort(array, axis=0)
    ranked = np.take_along_axis(array, order, axis=0)
    estimates = np.empty((resamples, evaluations))
    for rows in _chunks(resamples, seeds, _BLOCK):
        size = rows.stop - rows.start
        counts = count(generator.integers(0, seeds, (size, seeds)))
        for e in range(evaluations):
            estimates[rows, e] = _iqm_of_counts(ranked[:, e], counts[order[:, e]])
    low, high = np.quantile(estimates, wanted, axis=0)
    return Band(point, low, high)


def probability_of_improvement(x: ArrayLike, y: ArrayLike) -> float:
    """P(a seed of x beats a seed of y) over all pairs, a tie counting half (Mann-Whitney U / mn).

    Args: x [S_x], y [S_y], scores of two methods on one task, higher is better; finite.
    Raises ValueError for empty, non-finite or not 1-D input.
    """
    return float(improvement(x, y).point)


def improvement_interval(
    x: ArrayLike,
    y: ArrayLike,
    *,
    resamples: int = 2000,
    level: float = 0.95,
    rng: np.random.Generator | int = 0,
) -> Interval:
    """`probability_of_improvement` with its interval, both methods' seeds resampled on their own.

    Beware of few seeds: when every x beats every y so does every resample, and the interval is
    [1, 1]. With 3 seeds a side that happens by chance to equal methods once in 20 experiments.
    """
    pair = improvement(x, y)
    sizes = (len(pair.below), pair.opponents)
    return bootstrap(sizes, pair.point, lambda drawn: pair(*drawn), resamples, level, rng)


def _iqm_rows(rows: Floats) -> Floats:
    n = rows.shape[-1]
    cut = n // 4
    if cut == 0:
        return rows.mean(axis=-1)
    return np.partition(rows, (cut, n - cut - 1), axis=-1)[..., cut : n - cut].mean(axis=-1)


def _iqm_of_counts(ranked: Floats, counts: NDArray[np.int32]) -> Floats:
    """IQM of resamples given as counts: ranked [S] ascending, counts [S, R] in that order -> [R].

    The resample's sorted values are runs of equal ranks, and `cumulative` says where each run ends.
    Clipped to the kept positions, its differences are each rank's weight. Summing by parts around
    the median needs no differences, keeps precision beside a huge outlier (its coefficient is
    exactly 0), and is seven times faster than gathering and partitioning every resample.
    """
    n = len(ranked)
    cut, middle = n // 4, n // 2
    cumulative = np.cumsum(counts, axis=0, out=counts)
    np.clip(cumulative, cut, n - cut, out=cumulative)
    cumulative[:middle] -= cut
    cumulative[middle:] -= n - cut
    return ranked[middle] - np.diff(ranked) @ cumulative[:-1].astype(np.float64) / (n - 2 * cut)


@dataclass(frozen=True)
class Improvement:
    """Mann-Whitney's U / mn of two methods on one task, for resamples given as indices."""

    below: Integers
    """[S_x] how many seeds of y each seed of x exceeds, and `upto` which it at least equals."""
    upto: Integers
    order: Integers
    """[S_y] the indices that sort y."""

    @property
    def opponents(self) -> int:
        """Number of y's seeds."""
        return len(self.order)

    @property
    def point(self) -> float:
        """The estimate from all seeds, each once."""
        return float(np.mean(self.below + self.upto) / (2 * self.opponents))

    def __call__(self, ours: Integers, theirs: Integers) -> Floats:
        """ours [R, S_x], theirs [R, S_y], indices of the seeds drawn -> [R]."""
        reached = np.zeros((self.opponents + 1, len(theirs)), np.int32)
        np.cumsum(count(theirs)[self.order], axis=0, out=reached[1:])
        beaten_twice = reached[self.below] + reached[self.upto]  # a tie counts once
        total = np.einsum("sr,sr->r", count(ours), beaten_twice, dtype=np.int64)
        return total / (2 * len(self.below) * self.opponents)


def improvement(x: ArrayLike, y: ArrayLike) -> Improvement:
    """Compare each seed of x [S_x] with all of y [S_y], once, for any number of resamples."""
    first, second = one_dimensional(x, "x"), one_dimensional(y, "y")
    order = np.argsort(second)
    ranked = second[order]
    below, upto = (np.searchsorted(ranked, first, side) for side in ("left", "right"))
    return Improvement(below, upto, order)


def count(drawn: Integers) -> NDArray[np.int32]:
    """How often each resample holds each seed: indices [R, S] -> [S, R]."""
    rows, seeds = drawn.shape
    cells = drawn * rows
    cells += np.arange(rows)[:, None]
    counts = np.bincount(cells.ravel(), minlength=rows * seeds)
    return counts.reshape(seeds, rows).astype(np.int32)


def bootstrap(
    sizes: Sequence[int],
    point: float,
    estimate: Estimate,
    resamples: int,
    level: float,
    rng: np.random.Generator | int,
) -> Interval:
    """Percentile interval around `point` of strata with `sizes` seeds, NaN where one has a single seed.

    `estimate` maps the indices drawn in each stratum, [R, S_stratum], to [R].
    """
    wanted = quantiles(level)
    check_resamples(resamples)
    if min(sizes) == 1:
        return Interval(float(point), float("nan"), float("nan"))
    generator = np.random.default_rng(rng)
    estimates = np.empty(resamples)
    for rows in _chunks(resamples, sum(sizes), _BLOCK):
        size = rows.stop - rows.start
        drawn = [generator.integers(0, seeds, (size, seeds)) for seeds in sizes]
        estimates[rows] = _rows(estimate(drawn), size)
    low, high = np.quantile(estimates, wanted)
    return Interval(float(point), float(low), float(high))


def _chunks(resamples: int, width: int, elements: int) -> list[slice]:
    size = max(1, elements // width)
    return [slice(at, min(at + size, resamples)) for at in range(0, resamples, size)]


def _rows(estimates: NDArray, size: int) -> NDArray:
    if np.shape(estimates) != (size,):
        raise ValueError(f"statistic must return [{size}], got shape {np.shape(estimates)}")
    return estimates


def quantiles(level: float) -> tuple[float, float]:
    """Ends of the central interval of this level. Raises ValueError unless it lies between 0 and 1."""
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}")
    return (1 - level) / 2, (1 + level) / 2


def check_resamples(resamples: int) -> None:
    """Raise ValueError for fewer than one resample."""
    if resamples < 1:
        raise ValueError(f"resamples must be at least 1, got {resamples}")


def one_dimensional(values: ArrayLike, name: str) -> Floats:
    """`values` as a float64 array [S]. Raises ValueError where they are empty, not 1-D or not finite."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"{name} must be a non-empty 1-D array of seeds, got shape {array.shape}")
    _refuse_non_finite(array)
    return array


def _refuse_non_finite(array: Floats) -> None:
    if not np.isfinite(array).all():
        raise ValueError("non-finite scores: drop those seeds first, see finite_seeds")
