"""The message LSTM of a batch in one kernel forward and one backward, both of our own: compiled for GPUs, never run.

`masked_lstm` writes each step's pre-activations, joined inputs, hidden state and cell to memory and reads them again.
Here a program has a block of rows, and all that lies between the steps stays on the chip, the hidden state's share of
the LSTM's kernel among it (131 KB of shared memory). What the derivative needs of each step is written once: its inputs
and hidden state side by side, and its cell; the gates are computed again. The derivatives of the gates are written, and
the kernel's derivative is one product over all steps and rows, by XLA. Compiled for an H200, `meta` in bfloat16 moves
79 MB an episode and seed in place of 102 at N = 3, and 245 in place of 359 at N = 6, with `reversed_scan`.

Each program reads the kernel for itself, and the inputs' share of it at each step anew, through the L2 cache: 0.16 MB
at N = 3 and 0.29 at N = 6. That is 1.3 and 2.3 MB for the eight blocks of an agent's batch of 256, where memory gives
the kernel once, 0.15 MB.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jaxtyping import Array, Float

from purejax_mgtopo.algorithm.kernels.cell import (
    cell_slopes,
    first_slopes,
    with_forget,
    without_forget,
)
from purejax_mgtopo.algorithm.kernels.fused.calls import NARROWEST, WIDEST, call, power_of_two
from purejax_mgtopo.algorithm.kernels.masked_lstm import masked_lstm
from purejax_mgtopo.algorithm.kernels.stored import product, summed_in

ROWS, WARPS = 32, 8
"""Rows of a batch in one program, and groups of 32 threads that work on it. With twice the rows, registers spill."""


def message_lstm(
    kernel: Float[Array, "J Q"],
    bias: Float[Array, " Q"],
    sequence: Float[Array, "R B I"],
    received: Float[Array, "B R"],
) -> Float[Array, "B H"]:
    """The same as `masked_lstm`, by it for a single row, a single sender, and sizes that Triton has no blocks for."""
    senders, rows, width = sequence.shape
    hidden, padded = kernel.shape[1] // 4, _padded(width)
    fits = NARROWEST <= hidden == power_of_two(hidden) <= WIDEST
    fits = fits and padded <= min(width + hidden, WIDEST // 2)
    if rows == 1 or senders == 1 or not fits:
        return masked_lstm(kernel, bias, sequence, received)
    return _fused(kernel, bias, sequence, received)


@jax.custom_vjp
def _fused(kernel: Array, bias: Array, sequence: Array, received: Array) -> Float[Array, "B H"]:
    return _run(kernel, bias, sequence, received, keeps=False)[0][: sequence.shape[1]]


def _forward(kernel: Array, bias: Array, sequence: Array, received: Array) -> tuple:
    hidden, *steps = _run(kernel, bias, sequence, received, keeps=True)
    return hidden[: sequence.shape[1]], (kernel, bias, sequence, received, *steps)


def _run(kernel: Array, bias: Array, sequence: Array, received: Array, keeps: bool) -> list[Array]:
    """Hidden states at the end; if `keeps`, what each step but the first has read, and the cell before it."""
    width, hidden, kept = sequence.shape[-1], kernel.shape[1] // 4, kernel.dtype
    offered, reads = _in_blocks(sequence, received, kept)
    senders, batch, padded = offered.shape
    rows = _rows(batch)
    of_type = partial(jax.ShapeDtypeStruct, dtype=kept)
    outputs, split = [of_type((batch, hidden))], [0]
    if keeps:
        outputs += [
            of_type((senders - 1, batch, padded + hidden)),
            of_type((senders - 1, batch, hidden)),
        ]
        split += [1, 1]
    return call(
        partial(_forward_kernel, width),
        outputs,
        (kernel, bias, offered, reads),
        (None, None, 1, 1, *split),
        rows,
        products=_gates_products(rows, padded, hidden, senders),
        warps=WARPS,
    )


def _forward_kernel(
    width: int, kernel: Any, bias: Any, offered: Any, reads: Any, out: Any, *keeps: Any
) -> None:
    senders, rows, padded = offered.shape
    size, kept = out.shape[-1], out.dtype
    gate = partial(_gate, kernel, bias)
    recurrent = _recurrent(kernel, width)
    x = offered[0]
    cell = nn.sigmoid(gate(0, x)) * jnp.tanh(gate(2, x))
    hidden = nn.sigmoid(gate(3, x)) * jnp.tanh(cell)
    open_ = _column(reads[0])
    start = (open_ * hidden).astype(kept), (open_ * cell).astype(kept)

    def step(k: Any, state: tuple) -> tuple:
        hidden, cell = state
        x = offered[k]
        if keeps:
            joined, cells = keeps
            joined[k - 1, :, pl.ds(0, padded)] = _with_one(x, width)
            joined[k - 1, :, pl.ds(padded, size)] = hidden
            cells[k - 1] = cell
        wide, before, open_ = _wide(hidden), _wide(cell), _column(reads[k])
        # Else the compiler sees that no step changes the inputs' share, and no memory is left for it beside the other.
        first = k // senders
        i, f, g, o = (gate(q, x, (hidden, w), first) for q, w in enumerate(recurrent))
        after = nn.sigmoid(f) * before + nn.sigmoid(i) * jnp.tanh(g)
        new = nn.sigmoid(o) * jnp.tanh(after)
        hidden = (open_ * new + (1 - open_) * wide).astype(kept)
        return hidden, (open_ * after + (1 - open_) * before).astype(kept)

    out[...] = jax.lax.fori_loop(1, senders, step, start)[0]


def _backward(residuals: tuple, d_hidden: Float[Array, "B H"]) -> tuple:
    kernel, bias, sequence, received, joined, cells = residuals
    senders, real, width = sequence.shape
    kept, size = kernel.dtype, kernel.shape[1] // 4
    offered, reads = _in_blocks(sequence, received, kept)
    batch, padded = offered.shape[1:]
    rows = _rows(batch)
    slopes = jnp.pad(d_hidden, ((0, batch - real), (0, 0)))
    d_gates, d_first, d_reads = call(
        partial(_backward_kernel, width),
        (
            jax.ShapeDtypeStruct((senders - 1, batch, 4 * size), kept),
            jax.ShapeDtypeStruct((batch, 3 * size), kept),
            jax.ShapeDtypeStruct((senders, batch), reads.dtype),
        ),
        (kernel, bias, offered, reads, joined, cells, slopes),
        (None, None, 1, 1, 1, 1, 0, 1, 0, 1),
        rows,
        products=_gates_products(rows, padded, size, senders)
        + 2 * rows * size * 4 * size * (senders - 1),
        warps=WARPS,
    )
    d_both = product(_flat(joined).T, _flat(d_gates)).astype(kept)
    d_inputs = with_forget(product(_with_one(offered[0], width).T, d_first))
    # Rows side by side would be a kernel of XLA's own, which writes them all.
    d_kernel = jnp.pad(_wide(d_both[:width]) + d_inputs[:width], ((0, size), (0, 0)))
    d_kernel += jnp.pad(_wide(d_both[padded:]), ((width, 0), (0, 0)))
    d_later = product(d_gates, kernel[:width].T)[:, :real]
    d_earliest = product(d_first, without_forget(kernel[:width]).T)[:real]
    return (
        d_kernel.astype(kept),
        (_wide(d_both[width]) + d_inputs[width]).astype(bias.dtype),
        jnp.concatenate([d_earliest[None], d_later]).astype(sequence.dtype),
        d_reads[:, :real].T.astype(received.dtype),
    )


def _backward_kernel(
    width: int,
    kernel: Any,
    bias: Any,
    offered: Any,
    reads: Any,
    joined: Any,
    cells: Any,
    d_out: Any,
    d_gates: Any,
    d_first: Any,
    d_reads: Any,
) -> None:
    senders, rows, padded = offered.shape
    size, kept = d_out.shape[-1], d_gates.dtype
    gate = partial(_gate, kernel, bias)
    recurrent = _recurrent(kernel, width)

    def step(turn: Any, state: tuple) -> tuple:
        k = senders - 1 - turn
        d_hidden, d_cell = state
        x, hidden = offered[k], joined[k - 1, :, pl.ds(padded, size)]
        before, open_ = _wide(cells[k - 1]), _column(reads[k])
        i, f, g, o = (gate(q, x, (hidden, w)) for q, w in enumerate(recurrent))
        i, f, g, o = nn.sigmoid(i), nn.sigmoid(f), jnp.tanh(g), nn.sigmoid(o)
        after = f * before + i * g
        moved = d_hidden * (o * jnp.tanh(after) - _wide(hidden)) + d_cell * (after - before)
        d_reads[k] = jnp.sum(moved, axis=1)
        slopes, d_after = cell_slopes(open_ * d_hidden, open_ * d_cell, (i, f, g, o), after, before)
        d_hidden = (1 - open_) * d_hidden
        for q, (d, w) in enumerate(zip(slopes, recurrent, strict=True)):
            d_gates[k - 1, :, pl.ds(q * size, size)] = d.astype(kept)
            d_hidden += jax.lax.dot_general(
                d.astype(kept), w, (((1,), (1,)), ((), ())), preferred_element_type=d_hidden.dtype
            )
        return d_hidden, (1 - open_) * d_cell + d_after * f

    d_hidden = _wide(d_out[...])
    d_hidden, d_cell = jax.lax.fori_loop(0, senders - 1, step, (d_hidden, jnp.zeros_like(d_hidden)))
    x, open_ = offered[0], _column(reads[0])
    i, g, o = nn.sigmoid(gate(0, x)), jnp.tanh(gate(2, x)), nn.sigmoid(gate(3, x))
    cell = i * g
    d_reads[0] = jnp.sum(d_hidden * o * jnp.tanh(cell) + d_cell * cell, axis=1)
    for q, d in enumerate(first_slopes(open_ * d_hidden, open_ * d_cell, i, g, o)):
        d_first[:, pl.ds(q * size, size)] = d.astype(kept)


_fused.defvjp(_forward, _backward)


def _gate(
    kernel: Any,
    bias: Any,
    gate: int,
    x: Array,
    state: tuple[Array, Array] | None = None,
    first: Any = 0,
) -> Float[Array, "B H"]:
    """A gate's pre-activation. Rows of the kernel that follow those of the inputs meet zeros in `x`.

    Args:
        state: hidden state, and its share of the gate's kernel.
        first: row at which the kernel begins, 0.
    """
    size = bias.shape[0] // 4
    own = pl.ds(gate * size, size)
    wide = summed_in(x)
    pre = jnp.dot(x, kernel[pl.ds(first, x.shape[1]), own], preferred_element_type=wide)
    if state is not None:
        pre += jnp.dot(*state, preferred_element_type=wide)
    return pre + bias[own][None, :].astype(wide)


def _recurrent(kernel: Any, width: int) -> list[Float[Array, "H H"]]:
    """The hidden state's share of each gate's kernel."""
    size = kernel.shape[1] // 4
    return [kernel[pl.ds(width, size), pl.ds(q * size, size)] for q in range(4)]


def _in_blocks(
    sequence: Float[Array, "R B I"], received: Float[Array, "B R"], kept: Any
) -> tuple[Float[Array, "R C P"], Float[Array, "R C"]]:
    """Both with zeros behind, as kernels read them: whole blocks of rows, and columns for the inputs and a one."""
    senders, batch, width = sequence.shape
    more = -batch % _rows(batch)
    offered = jnp.pad(sequence.astype(kept), ((0, 0), (0, more), (0, _padded(width) - width)))
    return offered, jnp.pad(received.T.astype(summed_in(sequence)), ((0, 0), (0, more)))


def _rows(batch: int) -> int:
    return min(ROWS, power_of_two(max(batch, NARROWEST)))


def _padded(width: int) -> int:
    return power_of_two(max(width + 1, NARROWEST))


def _gates_products(rows: int, padded: int, hidden: int, senders: int) -> int:
    """Operations of the products for all gates: three of the first step, four of each later one."""
    later = 4 * (padded + hidden) * (senders - 1)
    return 2 * rows * hidden * (3 * padded + later)


def _with_one(x: Float[Array, "B P"], width: int) -> Float[Array, "B P"]:
    """The inputs and a one behind them: the kernel's derivative then gives the bias's too."""
    column = jax.lax.broadcasted_iota(jnp.int32, x.shape, 1)
    return jnp.where(column == width, jnp.ones_like(x), x)


def _flat(x: Float[Array, "R B J"]) -> Float[Array, "C J"]:
    return x.reshape(math.prod(x.shape[:-1]), x.shape[-1])


def _column(x: Float[Array, " B"]) -> Float[Array, "B 1"]:
    return x[:, None]


def _wide(x: Array) -> Array:
    return x.astype(summed_in(x))
