"""Messages side by side: each sender has a slot of its own at every receiver, empty where nothing arrives."""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from purejax_mgtopo.algorithm.edges import fill_diagonal
from purejax_mgtopo.algorithm.networks import per_agent
from purejax_mgtopo.algorithm.types import Edges, Gates, PyTree


def slots(
    delivered: Float[Array, "*batch N M"], gates: Gates
) -> Float[Array, "*batch N {delivered.shape[-2]*delivered.shape[-1]}"]:
    """What each agent receives, by senders; zeros where an edge is closed, and in the agent's own slot."""
    received = fill_diagonal(gates.decision)[..., None] * delivered[..., None, :, :]
    return received.reshape(*received.shape[:-2], -1)


class Slots:
    """One dense layer over all slots, without a bias: silence is zero."""

    def __init__(self, agents: int, hidden: int, edges: Edges) -> None:
        self._agents, self._edges = agents, edges
        self._dense = nn.Dense(hidden, use_bias=False)

    def init(self, key: Key[Array, ""], width: int) -> dict[str, PyTree]:
        """``{"slots": kernel}``, or nothing if nobody is ever heard."""
        if self._edges is Edges.NEVER:
            return {}
        return {"slots": self._dense.init(key, jnp.zeros(self._agents * width))}

    def read(
        self, params: PyTree, delivered: Float[Array, "*batch N M"], gates: Gates, shared: bool
    ) -> Float[Array, "*batch N H"] | float:
        """What each agent makes of its slots."""
        if self._edges is Edges.NEVER:
            return 0.0
        return per_agent(self._dense.apply, shared)(params["slots"], slots(delivered, gates))
