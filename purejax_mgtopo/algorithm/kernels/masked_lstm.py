"""A message LSTM for a GPU, which reads every sender's message and drops what was not received.

What JAX would keep of each step for the derivative (gates, candidates, squashed cells) is computed again from the
step's product, which is written anyway, and from its cell. Stored in the kernel's type. Gains: see `stored`; without
the barriers, 4 MB more at N = 3.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from purejax_mgtopo.algorithm.kernels.cell import (
    activated,
    cell_backward,
    first_activated,
    first_backward,
    with_forget,
    without_forget,
)
from purejax_mgtopo.algorithm.kernels.stored import product, summed_in


@jax.custom_vjp
def masked_lstm(
    kernel: Float[Array, "J Q"],
    bias: Float[Array, " Q"],
    sequence: Float[Array, "R B I"],
    received: Float[Array, "B R"],
) -> Float[Array, "B H"]:
    """The last hidden state of one agent's LSTM over what it received, ``s <- G_j LSTM(s, o_j) + (1 - G_j) s``.

    Args:
        kernel: of the inputs, then of the hidden state, [I + H, 4 H].
        bias: gates in the order input, forget, cell, output.
        sequence: what each sender offers, in ascending order.
        received: G; may carry derivatives.
    """
    return _forward(kernel, bias, sequence, received)[0]


def _forward(kernel: Array, bias: Array, sequence: Array, received: Array) -> tuple:
    width, kept = sequence.shape[-1], kernel.dtype
    first_kernel, first_bias = kernel[:width], bias
    if _is_row(sequence):
        first_kernel, first_bias = without_forget(first_kernel), without_forget(bias)
    # Of a batch the forget gate's share is written though nothing is forgotten: only where the bias is one that XLA
    # need not put together first does it add and round where it multiplies.
    pre = (product(sequence[0], first_kernel) + first_bias).astype(kept)
    (pre,) = _written((pre,), sequence)
    i, g, o = _first_gates(pre, sequence)
    cell = i * g
    reads = received[:, :1]
    hidden, cell = (
        (reads * o * jnp.tanh(cell)).astype(kept),
        (reads * cell).astype(kept),
    )
    steps: list[tuple] = [(pre,)]
    # A row, as a rollout has it, costs its reads of the kernel: the inputs' share is read once for all senders.
    at_once = _is_row(sequence) and sequence.shape[0] > 2
    projected = product(sequence[1:], kernel[:width]) + bias if at_once else None
    for k in range(1, sequence.shape[0]):
        hidden, cell = _written((hidden, cell), sequence)
        joined = jnp.concatenate([sequence[k].astype(kept), hidden], axis=-1)
        if projected is None:
            pre = (product(joined, kernel) + bias).astype(kept)
        else:
            pre = (projected[k - 1] + product(hidden, kernel[width:])).astype(kept)
        steps.append((pre, joined, cell))
        i, f, g, o = activated(_wide(pre))
        reads, before = received[:, k : k + 1], _wide(cell)
        after = f * before + i * g
        hidden = (reads * o * jnp.tanh(after) + (1 - reads) * _wide(hidden)).astype(kept)
        cell = (reads * after + (1 - reads) * before).astype(kept)
    return hidden, (kernel, bias, sequence, received, steps)


def _backward(residuals: tuple, d_hidden: Float[Array, "B H"]) -> tuple:
    # XLA else stores, in float32, all that the forward pass has computed of these.
    kernel, bias, sequence, received, steps = jax.lax.optimization_barrier(residuals)
    width, kept = sequence.shape[-1], kernel.dtype
    d_hidden = _wide(d_hidden)
    d_cell = jnp.zeros_like(d_hidden)
    d_kernel, d_bias = jnp.zeros((), jnp.float32), jnp.zeros((), jnp.float32)
    d_sequence, d_received = [], []
    for k in range(sequence.shape[0] - 1, 0, -1):
        pre, joined, cell = steps[k]
        reads, before, hidden = received[:, k : k + 1], _wide(cell), _wide(joined[:, width:])
        gates = activated(_wide(pre))
        after = gates[1] * before + gates[0] * gates[2]
        moved = d_hidden * (gates[3] * jnp.tanh(after) - hidden) + d_cell * (after - before)
        d_received.append(jnp.sum(moved, axis=-1))
        d_gates, d_before = cell_backward(reads * d_hidden, reads * d_cell, gates, after, before)
        d_gates = d_gates.astype(kept)
        d_joined = product(d_gates, kernel.T).astype(kept)
        d_sequence.append(_wide(d_joined[:, :width]))
        d_kernel += _wide(product(joined.T, d_gates).astype(kept))
        d_bias += jnp.sum(d_gates, axis=0, dtype=summed_in(d_gates))
        d_hidden = ((1 - reads) * d_hidden + d_joined[:, width:]).astype(kept)
        d_cell = ((1 - reads) * d_cell + d_before).astype(kept)
        d_hidden, d_cell = map(_wide, _written((d_hidden, d_cell), sequence))
    i, g, o = _first_gates(steps[0][0], sequence)
    reads, cell = received[:, :1], i * g
    d_received.append(jnp.sum(d_hidden * o * jnp.tanh(cell) + d_cell * cell, axis=-1))
    d_first = first_backward(reads * d_hidden, reads * d_cell, i, g, o).astype(kept)
    first_kernel = without_forget(kernel[:width])
    d_sequence.append(product(d_first, first_kernel.T))
    d_of_first = with_forget(product(sequence[0].T, d_first))
    rest = ((0, kernel.shape[0] - width), (0, 0))
    return (
        (d_kernel + jnp.pad(d_of_first, rest)).astype(kept),
        d_bias + with_forget(jnp.sum(d_first, axis=0, dtype=summed_in(d_first))),
        jnp.stack(d_sequence[::-1]).astype(sequence.dtype),
        jnp.stack(d_received[::-1], axis=-1).astype(received.dtype),
    )


masked_lstm.defvjp(_forward, _backward)


def _first_gates(pre: Float[Array, "B G"], sequence: Float[Array, "R B I"]) -> tuple[Array, ...]:
    """Input gate, candidate and output gate of the first step."""
    return first_activated(_wide(pre if _is_row(sequence) else without_forget(pre)))


def _is_row(sequence: Float[Array, "R B I"]) -> bool:
    return sequence.shape[1] == 1


def _written(values: tuple[Array, ...], sequence: Float[Array, "R B I"]) -> tuple[Array, ...]:
    """The values as they are stored: XLA else stores what they are rounded from, and rounds where it reads."""
    return values if _is_row(sequence) else jax.lax.optimization_barrier(values)


def _wide(x: Array) -> Array:
    """Sums and activations are computed in float32."""
    return x.astype(summed_in(x))
