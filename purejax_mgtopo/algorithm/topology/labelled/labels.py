"""What rules that learn from labels share: what talk is worth to the critic, and cross-entropy."""

from __future__ import annotations

import jax
from jaxtyping import Array, Float

from purejax_mgtopo.algorithm.part import Context
from purejax_mgtopo.algorithm.types import Gates, Seen


def worth(context: Context, seen: Seen, gates: Gates) -> Float[Array, "*batch"]:
    """The critic's value of what the team does in what it has seen, if these gates were open; data."""
    value = context.value(seen.observation, context.act(seen, gates))
    return jax.lax.stop_gradient(value)


def cross_entropy(
    logits: Float[Array, "*batch"], label: Float[Array, "*batch"]
) -> Float[Array, "*batch"]:
    """``-y log sigma(l) - (1 - y) log sigma(-l)``."""
    return -label * jax.nn.log_sigmoid(logits) - (1 - label) * jax.nn.log_sigmoid(-logits)
