"""The two rules that decide nothing: nobody receives, or everybody does. No parameters."""

from __future__ import annotations

from typing import ClassVar

import jax.numpy as jnp

from purejax_mgtopo.algorithm.part import Moment, Rule
from purejax_mgtopo.algorithm.types import Edges, Gates, PyTree, Seen


class Nobody(Rule):
    """``C^i`` is always empty (paper, Section 4.1): MADDPG's default."""

    edges: ClassVar[Edges] = Edges.NEVER
    openness: ClassVar[float] = 0.0
    """The probability, 0 or 1, with which every edge is open."""

    def gate(self, acting: PyTree, seen: Seen, moment: Moment) -> tuple[Gates, PyTree]:
        """The same answer for every edge, with certainty, in every mode."""
        del acting
        shape = (*seen.observation.shape[:-1], self.sizes.agents - 1)
        edges = jnp.full(shape, self.openness, seen.observation.dtype)
        return Gates(probability=edges, decision=edges), moment.carry


class Full(Nobody):
    """``C^i`` is always everybody else (paper, Section 4.1)."""

    edges: ClassVar[Edges] = Edges.ANY
    openness: ClassVar[float] = 1.0
