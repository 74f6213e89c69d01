"""The exponential graph of ExpoComm (Li et al., ICLR 2025): everybody is log N edges away; nothing is learned."""

from __future__ import annotations

from typing import ClassVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from purejax_mgtopo.algorithm.part import Moment, Rule
from purejax_mgtopo.algorithm.types import Edges, Gates, PyTree, Seen, Sizes
from purejax_mgtopo.config import Experiment


class Exponential(Rule):
    """Agent i receives from i+1, i+2, i+4, ... (mod N): all of them (``gates.graph = "static"``), or at step t only
    the element t of that list, over and over (``"one_peer"``)."""

    edges: ClassVar[Edges] = Edges.DATA

    def __init__(self, experiment: Experiment, sizes: Sizes) -> None:
        super().__init__(experiment, sizes)
        self.in_turn = experiment.gates.graph == "one_peer"
        peers = [
            np.eye(sizes.agents, dtype=np.float32)[(np.arange(sizes.agents) + hop) % sizes.agents]
            for hop in 2 ** np.arange(int(np.ceil(np.log2(sizes.agents))))
        ]
        off_diagonal = ~np.eye(sizes.agents, dtype=bool)
        self._peers = np.stack(
            [peer[off_diagonal].reshape(sizes.agents, sizes.agents - 1) for peer in peers]
        )

    def initial_carry(self, batch: tuple[int, ...]) -> Int[Array, "*batch"] | tuple[()]:
        """The number of the step, if that matters."""
        return jnp.zeros(batch, jnp.int32) if self.in_turn else ()

    def kept(self, carry: PyTree) -> PyTree:
        """The number of the next step: replayed steps may come from anywhere in an episode."""
        return carry

    def recalled(self, carry: PyTree, kept: PyTree) -> PyTree:
        """The number that was kept."""
        del carry
        return kept

    def gate(self, acting: PyTree, seen: Seen, moment: Moment) -> tuple[Gates, PyTree]:
        """The graph, with certainty, in every mode."""
        del acting
        batch = seen.observation.shape[:-2]
        if self.in_turn:
            edges = jnp.asarray(self._peers)[moment.carry % len(self._peers)]
            return Gates(edges, edges), moment.carry + 1
        graph = self._peers.max(axis=0)
        edges = jnp.broadcast_to(jnp.asarray(graph), (*batch, *graph.shape))
        return Gates(edges, edges), moment.carry
