"""How much of what communication gains is left over another channel."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike, NDArray

from purejax_mgtopo.analysis.statistics import Interval, interquartile_mean, stratified_bootstrap


def share_kept(
    returns: Float[ArrayLike, "S C"], conditions: Sequence[str], c: int
) -> Interval | None:
    """What condition c leaves of the gain of `sampled` over `cut`: 1 all, 0 nothing; a ratio of interquartile means.

    None where nothing was cut, or the gain's interval does not lie above zero: a share of it would mean nothing.
    The share's ends are NaN where even one resample is without any gain: how far it may be is then unknown.
    """
    if "cut" not in conditions or conditions[c] in ("sampled", "cut"):
        return None
    values = np.asarray(returns, float)
    cut = values[:, conditions.index("cut")]
    gains = np.stack([values[:, c] - cut, values[:, 0] - cut])
    gain = stratified_bootstrap([gains[1]])
    if not (gain.low if np.isfinite(gain.low) else gain.point) > 0:
        return None
    # Whole seeds are drawn, so that both gains stay of one seed.
    every = [np.arange(len(cut), dtype=float)]

    def ratio(drawn: Sequence[NDArray]) -> NDArray:
        left, whole = (interquartile_mean(gain[drawn[0].astype(int)]) for gain in gains)
        return left / np.where(whole > 0, whole, np.nan)

    return stratified_bootstrap(every, ratio)
