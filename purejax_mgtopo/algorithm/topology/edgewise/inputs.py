"""What the network that judges edges is told of each of them, number by number."""

from __future__ import annotations

import dataclasses

import flax.struct
import jax.numpy as jnp
from jaxtyping import Array, Float


@flax.struct.dataclass
class EdgeInputs:
    """What is known of an edge at a step; the fields' order is that of the network's inputs.

    Rewards, raw advantages and values come as ``sign(x) log(1 + |x|)``.
    """

    probability: Float[Array, "*batch"]
    """That the edge is open, by its gate."""
    decision: Float[Array, "*batch"]
    """1 where it is open, 0 where it is closed."""
    goes_on: Float[Array, "*batch"]
    """1 where the episode goes on after the step, 0 at its end."""
    reward: Float[Array, "*batch"]
    """The team's, less the price of all open edges."""
    raw_advantage: Float[Array, "*batch"]
    """``A``, REINFORCE's, before it is normalised."""
    advantage: Float[Array, "*batch"]
    """``A / sigma_A``, in running standard deviations; not as a logarithm."""
    value: Float[Array, "*batch"]
    """The baseline's before the step."""
    next_value: Float[Array, "*batch"]
    """The baseline's after the step."""
    cost: Float[Array, "*batch"]
    """Price of an open edge for one step."""
    progress: Float[Array, "*batch"]
    """Share of the lifetime that is over."""
    length: Float[Array, "*batch"]
    """Logarithm of the lifetime's gate updates, over that of the most that are told apart."""
    share: Float[Array, "*batch"]
    """``1 / N``, one agent's share of the team."""

    @classmethod
    def of(cls, told: Float[Array, "*batch F"]) -> EdgeInputs:
        """The inverse of `stacked`."""
        return cls(*jnp.moveaxis(told, -1, 0))

    def stacked(self) -> Float[Array, "*batch F"]:
        """All of them side by side, as the network reads them."""
        return jnp.stack([getattr(self, name) for name in NAMES], axis=-1)


NAMES = tuple(field.name for field in dataclasses.fields(EdgeInputs))
"""The inputs' names in their order."""
