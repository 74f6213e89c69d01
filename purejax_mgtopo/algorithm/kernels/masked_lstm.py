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
    senders, _, width = sequence.shape
    kept = kernel.dtype
    # A row, as a rollout has it, costs its reads of the kernel: the inputs' share is read once for all senders. Of a
    # batch the forget gate's share of the first step is written though nothing is forgotten: only where the bias is one
    # that XLA need not put together first does it add and round where it multiplies.
    at_once = _is_row(sequence)
    offered = sequence if at_once else sequence[0]
    projected = product(offered, kernel[:width]) + bias
    pre = (projected[0] if at_once else projected).astype(kept)
    (pre,) = _written((pre,), sequence)
    i, g, o = first_activated(_wide(without_forget(pre)))
    cell = i * g
    reads = received[:, :1]
    hidden, cell = (reads * o * jnp.tanh(cell)).astype(kept), (reads * cell).astype(kept)
    steps: list[tuple] = [(pre,)]
    for k in range(1, senders):
        hidden, cell = _written((hidden, cell), sequence)
        joined = _with_one(sequence[k].astype(kept), hidden)
        if at_once:
            pre = (projected[k] + product(hidden, kernel[width:])).astype(kept)
        else:
            pre = (product(joined[:, :-1], kernel) + bias).astype(kept)
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
        reads, before, hidden = received[:, k : k + 1], _wide(cell), _wide(joined[:, width:-1])
        gates = activated(_wide(pre))
        after = gates[1] * before + gates[0] * gates[2]
        moved = d_hidden * (gates[3] * jnp.tanh(after) - hidden) + d_cell * (after - before)
        d_received.append(jnp.sum(moved, axis=-1))
        d_gates, d_before = cell_backward(reads * d_hidden, reads * d_cell, gates, after, before)
        d_gates = d_gates.astype(kept)
        d_joined = product(d_gates, kernel.T).astype(kept)
        d_sequence.append(_wide(d_joined[:, :width]))
        d_both = product(joined.T, d_gates).astype(kept)
        (d_own,) = _written((d_both[-1],), sequence)
        d_kernel, d_bias = d_kernel + _wide(d_both[:-1]), d_bias + _wide(d_own)
        d_hidden = ((1 - reads) * d_hidden + d_joined[:, width:]).astype(kept)
        d_cell = ((1 - reads) * d_cell + d_before).astype(kept)
        d_hidden, d_cell = map(_wide, _written((d_hidden, d_cell), sequence))
    i, g, o = first_activated(_wide(without_forget(steps[0][0])))
    reads, cell = received[:, :1], i * g
    d_received.append(jnp.sum(d_hidden * o * jnp.tanh(cell) + d_cell * cell, axis=-1))
    d_first = first_backward(reads * d_hidden, reads * d_cell, i, g, o).astype(kept)
    first_kernel = without_forget(kernel[:width])
    d_sequence.append(product(d_first, first_kernel.T))
    d_both = with_forget(product(_with_one(sequence[0].astype(kept)).T, d_first))
    rest = ((0, kernel.shape[0] - width), (0, 0))
    return (
        (d_kernel + jnp.pad(d_both[:-1], rest)).astype(kept),
        d_bias + d_both[-1],
        jnp.stack(d_sequence[::-1]).astype(sequence.dtype),
        jnp.stack(d_received[::-1], axis=-1).astype(received.dtype),
    )


masked_lstm.defvjp(_forward, _backward)


def _with_one(*parts: Float[Array, "B _"]) -> Float[Array, "B J"]:
    """These side by side and a one: the product that gives the kernel's derivative then gives the bias's too, which
    would need another reading of all that it sums: summed in float32, and rounded as the kernel's is."""
    return jnp.concatenate([*parts, jnp.ones_like(parts[0][:, :1])], axis=-1)


def _is_row(sequence: Float[Array, "R B I"]) -> bool:
    return sequence.shape[1] == 1


def _written(values: tuple[Array, ...], sequence: Float[Array, "R B I"]) -> tuple[Array, ...]:
    """The values as they are stored: XLA else stores what they are rounded from, and rounds where it reads."""
    return values if _is_row(sequence) else jax.lax.optimization_barrier(values)


def _wide(x: Array) -> Array:
    """Sums and activations are computed in float32."""
    return x.astype(summed_in(x))
