"""Rules that stand in for a trained one, to tell what its choice of edges is worth."""

from __future__ import annotations

from typing import ClassVar

import jax.numpy as jnp

from purejax_mgtopo.algorithm.part import Moment, Rule
from purejax_mgtopo.algorithm.types import Edges, Gates, PyTree, Seen, Sizes
from purejax_mgtopo.config import Experiment


class RandomEdges(Rule):
    """Every edge is open with the same probability, which is all that the rule acts with; nothing is learned."""

    edges: ClassVar[Edges] = Edges.DATA
    tosses = True

    def __init__(self, experiment: Experiment, sizes: Sizes) -> None:
        super().__init__(experiment, sizes)
        self.tape_shape = (sizes.agents, sizes.agents - 1)

    def gate(self, acting: PyTree, seen: Seen, moment: Moment) -> tuple[Gates, PyTree]:
        """0 closes every edge with certainty, 1 opens it: the tape lies in [0, 1)."""
        del seen
        probability = jnp.broadcast_to(acting, moment.tape.shape)
        decision = (moment.tape < probability).astype(moment.tape.dtype)
        return Gates(probability, decision), moment.carry
