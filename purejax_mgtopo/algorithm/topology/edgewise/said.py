"""What a rule says of each edge, beside what it was told: to look at, and to write down as a formula."""

from __future__ import annotations

import flax.struct
import jax
from jaxtyping import Array, Float

from purejax_mgtopo.algorithm.edges import drop_diagonal
from purejax_mgtopo.algorithm.topology.edgewise.inputs import EdgeInputs
from purejax_mgtopo.algorithm.topology.edgewise.judged import Edgewise, Told
from purejax_mgtopo.algorithm.topology.edgewise.network import Memory
from purejax_mgtopo.algorithm.types import PyTree, Trajectory


@flax.struct.dataclass
class Said:
    """The correction of each edge at each step of U gate updates' episodes; senders in ascending index."""

    inputs: EdgeInputs
    """What was told, every field [U, T, N, N-1]."""
    f: Float[Array, "U T N N-1"]
    """In running standard deviations of the advantage, to which it is added."""


def said(rule: Edgewise, eta: PyTree, memory: Memory, trajectories: Trajectory, told: Told) -> Said:
    """What a rule with the network `eta` says of the episodes of U gate updates, in their order.

    Args:
        memory: the lifetime's, before the first of them.
        trajectories, told: along a leading axis of gate updates.
    """

    def update(memory: Memory, inputs: tuple[Trajectory, Told]) -> tuple[Memory, Array]:
        f, memory = rule.correction(eta, memory, *inputs)
        return memory, f

    f: Array
    _, f = jax.lax.scan(update, memory, (trajectories, told))
    return Said(jax.tree.map(drop_diagonal, told.inputs), f)
