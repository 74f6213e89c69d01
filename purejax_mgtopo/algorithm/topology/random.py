"""Every edge open with the same probability: the control that talks as much as a rule, and chooses nothing."""

from __future__ import annotations

from typing import ClassVar

import jax.numpy as jnp

from purejax_mgtopo.algorithm.part import Moment, Rule
from purejax_mgtopo.algorithm.types import Edges, Gates, PyTree, Seen, Sizes
from purejax_mgtopo.config import Experiment


class Random(Rule):
    """Independent coins of probability ``gates.open_probability`` for every edge and step, in every mode.

    Tossed in greedy evaluation too: a threshold would make of it nobody or everybody, at another cost.
    """

    edges: ClassVar[Edges] = Edges.DATA
    tosses = True

    def __init__(self, experiment: Experiment, sizes: Sizes) -> None:
        super().__init__(experiment, sizes)
        self.openness = experiment.gates.open_probability
        self.tape_shape = (sizes.agents, sizes.agents - 1)

    def gate(self, acting: PyTree, seen: Seen, moment: Moment) -> tuple[Gates, PyTree]:
        """Coins."""
        del acting, seen
        probability = jnp.full_like(moment.tape, self.openness)
        return Gates(
            probability, (moment.tape < probability).astype(probability.dtype)
        ), moment.carry
