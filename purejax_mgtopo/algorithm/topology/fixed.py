"""The rules that decide nothing: nobody receives, everybody does, or whoever should. No parameters."""

from __future__ import annotations

from typing import ClassVar

import jax.numpy as jnp

from purejax_mgtopo.algorithm.edges import drop_diagonal
from purejax_mgtopo.algorithm.part import Moment, Rule
from purejax_mgtopo.algorithm.types import Edges, Gates, PyTree, Seen, Sizes
from purejax_mgtopo.config import Experiment


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


class Right(Full):
    """Exactly the edges that the task calls right, told from what all agents see together: what the base learner makes
    of the topology that every other rule is looking for. Where a task does not say, no edge is wrong: all are open."""

    edges: ClassVar[Edges] = Edges.DATA

    def __init__(self, experiment: Experiment, sizes: Sizes) -> None:
        super().__init__(experiment, sizes)
        import jax_mpe  # an exported team of another rule runs without environments

        self._task = jax_mpe.make(experiment.task.partition("@")[0])

    def gate(self, acting: PyTree, seen: Seen, moment: Moment) -> tuple[Gates, PyTree]:
        """What the task says, with certainty, in every mode."""
        right = self._task.right_edges_seen(seen.observation)
        if right is None:
            return super().gate(acting, seen, moment)
        edges = drop_diagonal(right)
        return Gates(probability=edges, decision=edges), moment.carry
