"""The cell of an LSTM that reads selected messages, and its derivatives: what `packed` and `lazy` have in common.

Gains nothing of its own; theirs are stated there.
"""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def in_order(
    edges: Int[Array, "*batch N R"],
) -> tuple[Int[Array, "*batch N R"], Int[Array, "*batch N"]]:
    """Who sent each agent its k-th message (anybody where there is none), and how many it received."""
    agents, senders = edges.shape[-2:]
    so_far = jnp.cumsum(edges, axis=-1)
    slot = jnp.stack([jnp.sum(so_far <= k, axis=-1) for k in range(senders)], axis=-1)
    slot = jnp.minimum(slot, senders - 1)
    return slot + (slot >= jnp.arange(agents)[:, None]), so_far[..., -1]


def activated(gates: Array) -> tuple[Array, ...]:
    """Input gate, forget gate, candidate and output gate from their pre-activations, [..., 4 H]."""
    i, f, g, o = jnp.split(gates, 4, axis=-1)
    return nn.sigmoid(i), nn.sigmoid(f), jnp.tanh(g), nn.sigmoid(o)


def first_activated(gates: Array) -> tuple[Array, Array, Array]:
    """Input gate, candidate and output gate of a step from the zero state, where there is nothing to forget."""
    i, g, o = jnp.split(gates, 3, axis=-1)
    return nn.sigmoid(i), jnp.tanh(g), nn.sigmoid(o)


def without_forget(gates: Float[Array, "*batch Q"]) -> Float[Array, "*batch G"]:
    """The four gates' rows less the forget gate's."""
    i, _, g, o = jnp.split(gates, 4, axis=-1)
    return jnp.concatenate([i, g, o], axis=-1)


def with_forget(gates: Float[Array, "*batch G"]) -> Float[Array, "*batch Q"]:
    """Three gates' rows with zeros for the forget gate's."""
    i, g, o = jnp.split(gates, 3, axis=-1)
    return jnp.concatenate([i, jnp.zeros_like(i), g, o], axis=-1)


def cell_backward(
    d_hidden: Array, d_cell: Array, gates: tuple[Array, ...], cell: Array, cell_before: Array
) -> tuple[Array, Array]:
    """Derivatives in the gates before their activations, [..., 4 H], and in the cell before the step, [..., H]."""
    i, f, g, o = gates
    squashed = jnp.tanh(cell)
    d_cell = d_cell + d_hidden * o * (1 - squashed * squashed)
    d_gates = [
        d_cell * g * i * (1 - i),
        d_cell * cell_before * f * (1 - f),
        d_cell * i * (1 - g * g),
        d_hidden * squashed * o * (1 - o),
    ]
    return jnp.concatenate(d_gates, axis=-1), d_cell * f


def first_backward(d_hidden: Array, d_cell: Array, i: Array, g: Array, o: Array) -> Array:
    """Derivatives in the input, cell and output gate, [..., 3 H], of a step from the zero state."""
    squashed = jnp.tanh(i * g)
    d_cell = d_cell + d_hidden * o * (1 - squashed * squashed)
    d_gates = [
        d_cell * g * i * (1 - i),
        d_cell * i * (1 - g * g),
        d_hidden * squashed * o * (1 - o),
    ]
    return jnp.concatenate(d_gates, axis=-1)
