"""A formula of few terms in the place of the network that judges edges."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from purejax_mgtopo.algorithm.edges import drop_diagonal
from purejax_mgtopo.algorithm.topology.edgewise.inputs import EdgeInputs
from purejax_mgtopo.algorithm.topology.edgewise.judged import Edgewise, Told
from purejax_mgtopo.algorithm.topology.edgewise.network import Memory
from purejax_mgtopo.algorithm.types import PyTree, Sizes, Trajectory
from purejax_mgtopo.config import Experiment
from purejax_mgtopo.errors import ConfigError
from purejax_mgtopo.universal.formula.terms import TERMS

KEY = "formula"
"""Where a file of regressions holds the one that is to be tried."""


@dataclass(frozen=True)
class Formula:
    """``f = constant + sum of coefficient * term``, in running standard deviations of the advantage."""

    constant: float
    coefficients: Mapping[str, float]
    """By the names of `TERMS`."""

    def value(self, inputs: EdgeInputs) -> Any:
        """f of each edge, of the inputs' shape."""
        terms = (factor * TERMS[name].value(inputs) for name, factor in self.coefficients.items())
        return self.constant + sum(terms, start=0 * inputs.decision)

    def __str__(self) -> str:
        terms = (f"{factor:+.4g} {name}" for name, factor in self.coefficients.items())
        return f"f = {' '.join((f'{self.constant:.4g}', *terms))}"


class Written(Edgewise):
    """A rule whose correction is a formula, which needs neither network nor memory."""

    def __init__(self, formula: Formula, experiment: Experiment, sizes: Sizes) -> None:
        super().__init__(experiment, sizes)
        self.formula = formula

    def correction(
        self, eta: PyTree, memory: Memory, trajectory: Trajectory, told: Told
    ) -> tuple[Float[Array, "T N N-1"], Memory]:
        """What the formula makes of the decisions of an episode."""
        return jnp.asarray(drop_diagonal(self.formula.value(told.inputs))), memory


def read_formula(path: Path) -> Formula:
    """The formula that a file of regressions proposes.

    Raises ConfigError, in one line, for a file that cannot be read, is none of these or names terms that are unknown.
    """
    try:
        told = json.loads(path.read_text(encoding="utf-8-sig"))[KEY]
        formula = Formula(
            float(told["constant"]), {str(n): float(x) for n, x in told["coefficients"].items()}
        )
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        makers = "`python -m purejax_mgtopo.universal.formula --out FILE` makes one"
        raise ConfigError(f"{path} holds no formula; {makers}") from None
    if unknown := [name for name in formula.coefficients if name not in TERMS]:
        raise ConfigError(f"{path} has a term {unknown[0]!r}; known are {', '.join(TERMS)}")
    if not np.isfinite([formula.constant, *formula.coefficients.values()]).all():
        raise ConfigError(f"{path} has coefficients that are not finite")
    return formula
