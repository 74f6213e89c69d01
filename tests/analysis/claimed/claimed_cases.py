"""Numbers as the pages write them."""

from __future__ import annotations

from purejax_mgtopo.analysis.statistics import Interval


def shown(found: Interval, digits: int = 2) -> str:
    """A point with its interval."""
    return f"{found.point:.{digits}f} [{found.low:.{digits}f}, {found.high:.{digits}f}]"
