"""Methods compared over several tasks at once: common scale, performance profile, improvement.

Definitions follow Agarwal et al. 2021 (arXiv:2108.13264) and its library rliable; every task weighs
the same, however many seeds it has. The interquartile mean over tasks is `stratified_bootstrap` of
normalised scores. Shapes: one array [S_task] of seeds per task, L thresholds, R resamples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from purejax_mgtopo.analysis.statistics import (
    Band,
    Floats,
    Interval,
    bootstrap,
    check_resamples,
    improvement,
    one_dimensional,
    quantiles,
)


@dataclass(frozen=True)
class ScoreScale:
    """What counts as 0 and as 1 on one task. Raises ValueError unless both are finite and differ."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not (np.isfinite([self.low, self.high]).all() and self.low < self.high):
            raise ValueError(f"a scale needs finite low < high, got {self.low} and {self.high}")

    def __call__(self, scores: ArrayLike) -> Floats:
        """Normalised scores, same shape; beyond 0 and 1 where the scores are beyond the references."""
        return (np.asarray(scores, dtype=np.float64) - self.low) / (self.high - self.low)


def observed_scale(methods: Sequence[ArrayLike], tails: float = 0.05) -> ScoreScale:
    """A scale from the scores themselves, where no reference is known.

    Args:
        methods: every method's scores [S_method] on the task, finite. Each method weighs the same.
        tails: the share of scores beyond each end. 0 takes the extremes, as Zhang & Chen's Figure 4
            does, and lets one bad seed flatten a task.
    Raises ValueError where the scores do not differ, or tails lies outside [0, 0.5).
    """
    if not 0 <= tails < 0.5:
        raise ValueError(f"tails must lie in [0, 0.5), got {tails}")
    scores = [one_dimensional(values, f"method {m}") for m, values in enumerate(methods)]
    if not scores:
        raise ValueError("no method to take a scale from")
    ends = [np.quantile(values, (tails, 1 - tails)) for values in scores]
    return ScoreScale(float(min(low for low, _ in ends)), float(max(high for _, high in ends)))


def performance_profile(
    scores: Sequence[ArrayLike],
    thresholds: ArrayLike,
    *,
    resamples: int = 2000,
    level: float = 0.95,
    rng: np.random.Generator | int = 0,
) -> Band:
    """The share of seeds above each threshold, averaged over tasks, with its pointwise interval.

    The run-score distribution ``F(tau) = 1/M sum_m 1/S_m sum_s 1[x_ms > tau]`` (Agarwal et al.,
    Section 4.2). Its area between 0 and 1 is the mean of scores that lie there.

    Args:
        scores: one array [S_task] per task, on a common scale (see `ScoreScale`).
        thresholds: tau [L].
    Returns: point, low and high, each [L]; the last two NaN where a task has one seed.
    Raises ValueError for no task, or an empty, non-finite or not 1-D task or thresholds.
    """
    tau = one_dimensional(thresholds, "thresholds")
    strata = [np.sort(one_dimensional(s, f"task {t}")) for t, s in enumerate(scores)]
    if not strata:
        raise ValueError("no task to profile")
    wanted = quantiles(level)
    check_resamples(resamples)
    above = np.stack([1 - np.searchsorted(s, tau, side="right") / len(s) for s in strata])
    point = above.mean(axis=0)
    if min(len(s) for s in strata) == 1:
        return Band(point, np.full_like(point, np.nan), np.full_like(point, np.nan))
    generator = np.random.default_rng(rng)
    total = np.zeros((resamples, len(tau)))
    for share, task in zip(above, strata, strict=True):
        # Of a resample's seeds, those above a threshold are binomial: no seed need be drawn.
        total += generator.binomial(len(task), share, total.shape) / len(task)
    low, high = np.quantile(total / len(strata), wanted, axis=0)
    return Band(point, low, high)


def improvement_across_tasks(
    x: Sequence[ArrayLike],
    y: Sequence[ArrayLike],
    *,
    resamples: int = 2000,
    level: float = 0.95,
    rng: np.random.Generator | int = 0,
) -> Interval:
    """P(method x beats method y), the mean over tasks, a tie counting half, with its interval.

    Args: x and y, one array [S_task] per task, tasks in the same order; no common scale is needed.
    Raises ValueError for no task, different numbers of tasks, or scores that are unfit.
    """
    if len(x) != len(y) or not len(x):
        raise ValueError(f"x and y must be on the same tasks, at least one: {len(x)} and {len(y)}")
    pairs = [improvement(ours, theirs) for ours, theirs in zip(x, y, strict=True)]
    sizes = [size for pair in pairs for size in (len(pair.below), pair.opponents)]

    def estimate(drawn: Sequence) -> Floats:
        each = [pair(*drawn[2 * t : 2 * t + 2]) for t, pair in enumerate(pairs)]
        return np.mean(each, axis=0)

    point = float(np.mean([pair.point for pair in pairs]))
    return bootstrap(sizes, point, estimate, resamples, level, rng)
