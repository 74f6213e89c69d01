"""Least squares of f on few terms: how much of what a rule says a formula of them would say as well."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from purejax_mgtopo.algorithm.topology.edgewise.said import Said
from purejax_mgtopo.errors import RunError
from purejax_mgtopo.universal.formula.terms import TERMS
from purejax_mgtopo.universal.formula.written import Formula

TENTHS = 10
_ALIKE = 1e-6  # smallest eigenvalue of the correlations of terms that say different things
_COLUMNS = 2 + len(TERMS)


class Sums:
    """Sums over edges and steps of each of S lifetimes, which is all that least squares needs; kept as they come.

    Columns are a one, the terms, and f.
    """

    def __init__(self, lifetimes: int) -> None:
        self.count = np.zeros(lifetimes)
        self.products = np.zeros((lifetimes, _COLUMNS, _COLUMNS))
        self.course = np.zeros((2, TENTHS, 2))
        """[closed or open, tenth of the life, f or how often], over all lifetimes."""

    def add(self, told: Said) -> None:
        """One more window of all lifetimes, [S, K, T, N, N-1]."""
        terms = [np.broadcast_to(t.value(told.inputs), told.f.shape) for t in TERMS.values()]
        columns = np.stack([np.ones_like(told.f), *terms, told.f], axis=-1).astype(float)
        for lifetime, rows in enumerate(columns.reshape(len(told.f), -1, _COLUMNS)):
            self.count[lifetime] += len(rows)
            self.products[lifetime] += rows.T @ rows
        opened = np.asarray(told.inputs.decision, int).ravel()
        tenths = TENTHS * np.asarray(told.inputs.progress) + 1e-4  # 0.7 as told is a little less
        tenth = np.minimum(tenths, TENTHS - 1).astype(int)
        np.add.at(self.course[..., 0], (opened, tenth.ravel()), told.f.ravel())
        np.add.at(self.course[..., 1], (opened, tenth.ravel()), 1)

    def means(self) -> Float[np.ndarray, "S C C"]:
        """Mean products of each lifetime, so that all weigh the same, whatever the size of their teams."""
        return self.products / self.count[:, None, None]


@dataclass(frozen=True)
class Fitted:
    """A formula, and the share of f's variance that it explains."""

    formula: Formula
    share: float


class Regression:
    """Least squares on any of the terms, from mean products of a one, the terms and f, [C, C].

    Raises RunError where f does not vary.
    """

    def __init__(self, products: Float[np.ndarray, "C C"]) -> None:
        self.mean = products[0, 1:]
        covariance = products[1:, 1:] - np.outer(self.mean, self.mean)
        self.variance = float(covariance[-1, -1])
        spread = np.sqrt(np.maximum(np.diag(covariance), 0))
        if not spread[-1] > 0:
            raise RunError("the rule says the same of all edges: there is nothing to explain")
        # Rounding alone must not make a term of what never varies.
        varies = spread > 1e-5 * np.maximum(np.abs(self.mean), 1e-12)
        self.terms = tuple(n for n, v in zip(TERMS, varies[:-1], strict=True) if v)
        self.spread = np.where(varies, spread, 1.0)
        self.correlation = covariance / np.outer(self.spread, self.spread)

    def fit(self, names: Sequence[str]) -> Fitted | None:
        """On these terms; None where some of them say the same, or nothing."""
        at = self._places(names)
        among = self.correlation[np.ix_(at, at)]
        if not set(names) <= set(self.terms) or np.linalg.eigvalsh(among)[0] < _ALIKE:
            return None
        slopes = np.linalg.solve(among, self.correlation[at, -1])
        factors = slopes * self.spread[-1] / self.spread[at]
        constant = self.mean[-1] - factors @ self.mean[at]
        formula = Formula(float(constant), dict(zip(names, map(float, factors), strict=True)))
        return Fitted(formula, float(slopes @ self.correlation[at, -1]))

    def best(self, most: int, kept: int = 5) -> dict[int, list[Fitted]]:
        """The sets of 1 to `most` terms that explain most, in falling order, by their size."""
        found = {}
        for size in range(1, most + 1):
            fits = [self.fit(names) for names in itertools.combinations(self.terms, size)]
            ranked = sorted((fit for fit in fits if fit is not None), key=lambda fit: -fit.share)
            if ranked:
                found[size] = ranked[:kept]
        return found

    def share_of(self, names: Sequence[str]) -> float:
        """Share that these terms explain together, though some may say the same."""
        at = self._places([name for name in names if name in self.terms])
        with_f = self.correlation[at, -1]
        return float(with_f @ np.linalg.pinv(self.correlation[np.ix_(at, at)], _ALIKE) @ with_f)

    def _places(self, names: Sequence[str]) -> list[int]:
        order = list(TERMS)
        return [order.index(name) for name in names]


@dataclass(frozen=True)
class Uncertain:
    """95 % intervals of a fit, over lifetimes drawn again and again: [low, high] each."""

    share: tuple[float, float]
    constant: tuple[float, float]
    coefficients: dict[str, tuple[float, float]]


def uncertain(
    means: Float[np.ndarray, "S C C"], names: Sequence[str], draws: int = 1000
) -> Uncertain:
    """The intervals of a fit on these terms. NaN where there is a single lifetime."""
    rng, fits = np.random.default_rng(0), []
    for _ in range(draws if len(means) > 1 else 0):
        fit = Regression(means[rng.integers(0, len(means), len(means))].mean(axis=0)).fit(names)
        if fit is not None:
            fits.append([fit.share, fit.formula.constant, *fit.formula.coefficients.values()])
    drawn = np.array(fits) if fits else np.full((1, 2 + len(names)), np.nan)
    low, high = np.quantile(drawn, (0.025, 0.975), axis=0)
    share, constant, *rest = ((float(a), float(b)) for a, b in zip(low, high, strict=True))
    return Uncertain(share, constant, dict(zip(names, rest, strict=True)))
