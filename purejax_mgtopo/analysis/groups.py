"""Seeds in two groups: where some have found how to talk and others have not, a mean tells of nobody.

Final returns of all methods on a task are split where two groups lie closest around their own means: the least sum of
squares of any split, which in one dimension is found by looking at all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import ArrayLike

from purejax_mgtopo.analysis.statistics import FEW, Floats, one_dimensional

CHANCE = 0.01
"""How often as many numbers of a uniform distribution, whose halves are further apart than those of a normal one, may
look like two groups."""
MOST = 256
"""Seeds from which on chance is reckoned as of so many."""


@dataclass(frozen=True)
class Split:
    """Two groups of numbers."""

    at: float
    """Half-way between the highest of the lower group and the lowest of the upper one."""
    explained: float
    """Share of the variance that lies between the groups, 0 to 1."""
    seeds: int
    """How many numbers were split."""

    @property
    def is_clear(self) -> bool:
        """Whether these are two groups, rather than two halves of one."""
        return self.explained >= by_chance(self.seeds)

    def above(self, values: ArrayLike) -> int:
        """How many of `values` are in the upper group."""
        return int((np.asarray(values, float) > self.at).sum())


def split(values: ArrayLike) -> Split | None:
    """The best split of numbers [S] in two groups; None for fewer than `FEW`, or where all are alike.

    Raises ValueError for empty, non-finite or not 1-D input.
    """
    ranked = np.sort(one_dimensional(values, "values"))
    off = ranked - ranked.mean()
    if len(ranked) < FEW or off @ off <= 1e-12 * max(1.0, float(ranked @ ranked)):
        return None
    between = _between(off[None])[0]
    best = int(np.argmax(between))
    at = float((ranked[best] + ranked[best + 1]) / 2)
    return Split(at, float(between[best]), len(ranked))


def _between(ranked: Floats) -> Floats:
    """The share of the variance between two groups, for each place to split at: [R, S] to [R, S-1], ascending rows."""
    off = ranked - ranked.mean(axis=1, keepdims=True)
    seeds = ranked.shape[1]
    lower = np.arange(1, seeds)
    # With the mean taken off, what lies between two groups is the sum of one of them, squared, over both sizes.
    between = np.cumsum(off, axis=1)[:, :-1] ** 2 * seeds / (lower * lower[::-1])
    return between / (off**2).sum(axis=1, keepdims=True)


@cache
def _by_chance(seeds: int) -> float:
    crowds = np.random.default_rng(0).uniform(size=(4000, seeds))
    return float(np.quantile(_between(np.sort(crowds, axis=1)).max(axis=1), 1 - CHANCE))


def by_chance(seeds: int) -> float:
    """The share that one crowd of so many seeds exceeds with probability `CHANCE`: 0.96 of eight, 0.85 of forty.

    From `MOST` on it hardly moves; a skewed crowd, such as an exponential one, exceeds it up to four times as often.
    """
    return _by_chance(min(seeds, MOST))


def groups(finals: Sequence[ArrayLike]) -> Split | None:
    """The two groups that the seeds [S] of several methods fall into together; None where nobody is hidden by a mean.

    That is where they do not fall into two, or where no method of at least `FEW` seeds has two of them on either side.
    """
    known = [np.asarray(values, float) for values in finals if np.size(values)]
    found = split(np.concatenate(known)) if known else None
    if found is None or not found.is_clear:
        return None
    torn = any(len(x) >= FEW and min(found.above(x), len(x) - found.above(x)) >= 2 for x in known)
    return found if torn else None


def in_words(finals: Mapping[str, ArrayLike]) -> str:
    """How many seeds of each method are in the upper group, as a sentence; empty where there are no two groups."""
    found = groups(list(finals.values()))
    if found is None:
        return ""
    counts = [
        f"{name} {found.above(x)} of {np.size(x)}" for name, x in finals.items() if np.size(x)
    ]
    return (
        f"Seeds fall into two groups, split at {found.at:.4g} ({found.explained:.0%} of the variance lies between "
        f"them); in the upper one are: {'; '.join(counts)}."
    )
