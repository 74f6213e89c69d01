"""What regressions have found, as a table to read and a document to keep."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from purejax_mgtopo.universal.formula.regression import Fitted, Uncertain
from purejax_mgtopo.universal.formula.terms import TERMS
from purejax_mgtopo.universal.formula.written import KEY


@dataclass(frozen=True)
class Findings:
    """How much of what a rule says formulas of few terms explain, and which."""

    rule: str
    """SHA-256 of its arrays."""
    tasks: tuple[str, ...]
    lifetimes: int
    """Whole ones, of each task."""
    updates: int
    """Gate updates of each."""
    edges: int
    """How many there were, each counted at each step."""
    mean: float
    variance: float
    """Mean and variance of f over all of them."""
    course: Mapping[str, Sequence[float]]
    """Mean f on `open` and `closed` edges in each tenth of a life."""
    all_inputs: float
    """Share of the variance that is explained by the network's inputs, linearly."""
    all_terms: float
    """Share that is explained by all terms."""
    best: Mapping[int, Sequence[Fitted]]
    """The best formulas by their number of terms, in falling order."""
    uncertain: Mapping[int, Uncertain]
    """How sure the first of them is."""

    def document(self) -> dict[str, Any]:
        """All of it, for JSON, with the largest formula as the one to be tried."""
        return {**asdict(self), KEY: asdict(self.best[max(self.best)][0].formula)}

    def lines(self) -> Iterator[str]:
        """All of it, to be read."""
        tasks = ", ".join(self.tasks)
        yield (
            f"f of {self.edges:,} edges in {self.lifetimes} lifetimes of {self.updates} gate updates each ({tasks}): "
            f"mean {self.mean:+.4f}, standard deviation {self.variance**0.5:.4f}"
        )
        for name, values in self.course.items():
            yield f"on {name} edges, by tenths of a life: {' '.join(f'{x:+.3f}' for x in values)}"
        for size, fits in self.best.items():
            yield f"\nshare of f's variance that {size} term{'s' if size > 1 else ''} explain{'s' * (size == 1)}"
            for fit in fits:
                yield f"{100 * fit.share:6.1f} %  {', '.join(fit.formula.coefficients)}"
            yield from self._coefficients(fits[0], self.uncertain[size])
        yield f"\n{100 * self.all_inputs:6.1f} %  all inputs of the network"
        yield f"{100 * self.all_terms:6.1f} %  all {len(TERMS)} terms"

    @staticmethod
    def _coefficients(fit: Fitted, sure: Uncertain) -> Iterator[str]:
        """The first of its size in full; f is in standard deviations of the advantage."""
        low, high = sure.share
        yield f"          the first: {100 * fit.share:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"
        rows = [("constant", fit.formula.constant, sure.constant, "f where all terms are 0")]
        rows += [
            (name, value, sure.coefficients[name], f"f for each {TERMS[name].unit}")
            for name, value in fit.formula.coefficients.items()
        ]
        for name, value, (low, high), unit in rows:
            yield f"          {name:24}{value:+9.4f}  [{low:+.4f}, {high:+.4f}]  {unit}"
