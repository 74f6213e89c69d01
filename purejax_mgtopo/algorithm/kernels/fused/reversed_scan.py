"""`lean_scan` as one kernel forward and one backward, both of our own: compiled for GPUs, never run on one.

A program has a whole sequence and keeps the recurrent kernel in shared memory (131 KB of 128 hidden units), where
XLA's kernels read it at each of the steps: memory gives it once for each way in place of T times. What the derivative
needs of all steps before its own loop begins, the gates' pre-activations, is one product by XLA. In the loop slopes are
rounded to the kernel's type before they are multiplied, as those of a batch are.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jaxtyping import Array, Float

from purejax_mgtopo.algorithm.kernels.cell import cell_slopes
from purejax_mgtopo.algorithm.kernels.fused.calls import NARROWEST, WIDEST, call, power_of_two
from purejax_mgtopo.algorithm.kernels.reversed_lstm import (
    LeanStates,
    States,
    before_each,
    lean_scan,
)
from purejax_mgtopo.algorithm.kernels.stored import product, summed_in

WARPS = 8


def fused_scan(
    recurrent: Float[Array, "H 4*H"],
    projected: Float[Array, "T 4*H"],
    keep: Float[Array, " T"],
    states: States | None,
) -> States:
    """The same as `lean_scan`, by it for sizes that no program can hold."""
    size = recurrent.shape[0]
    fits = NARROWEST <= size == power_of_two(size) <= WIDEST
    return (_fused if fits else lean_scan)(recurrent, projected, keep, states)


@jax.custom_vjp
def _fused(
    recurrent: Array, projected: Array, keep: Array, states: LeanStates | None
) -> LeanStates:
    return _forward(recurrent, projected, keep, states)[0]


def _forward(recurrent: Array, projected: Array, keep: Array, states: LeanStates | None) -> tuple:
    known = states
    if states is None:
        steps, size = projected.shape[0], recurrent.shape[0]
        after = jax.ShapeDtypeStruct((steps, size), projected.dtype)
        hidden, cell = call(
            _forward_kernel,
            (after, after),
            (recurrent, projected, keep),
            (None,) * 5,
            rows=1,
            products=steps * _products(size),
            warps=WARPS,
        )
        states = hidden, cell
    return states, (recurrent, projected, keep, states, known)


def _forward_kernel(recurrent: Any, projected: Any, keep: Any, hiddens: Any, cells: Any) -> None:
    steps, size = hiddens.shape
    weights = _by_gate(recurrent)

    def step(turn: Any, state: tuple) -> tuple:
        t = steps - 1 - turn
        kept = keep[t]
        read, cell = (kept * state[0]).astype(recurrent.dtype), kept * state[1]
        i, f, g, o = (
            projected[t, pl.ds(q * size, size)] + _row(read, w, 0) for q, w in enumerate(weights)
        )
        cell = nn.sigmoid(f) * cell + nn.sigmoid(i) * jnp.tanh(g)
        hidden = nn.sigmoid(o) * jnp.tanh(cell)
        hiddens[t], cells[t] = hidden, cell
        return hidden, cell

    zero = jnp.zeros(size, cells.dtype)
    jax.lax.fori_loop(0, steps, step, (zero, zero))


def _backward(residuals: tuple, d_states: LeanStates) -> tuple:
    recurrent, projected, keep, states, known = residuals
    steps, size = states[0].shape
    hidden = before_each(states[0], keep)
    pre = projected + product(hidden, recurrent)
    (d_projected,) = call(
        _backward_kernel,
        (jax.ShapeDtypeStruct(projected.shape, projected.dtype),),
        (recurrent, pre, keep, states[1], before_each(states[1], keep), d_states[0]),
        (None,) * 7,
        rows=1,
        products=steps * _products(size),
        warps=WARPS,
    )
    d_recurrent = product(hidden.T, d_projected.astype(recurrent.dtype)).astype(recurrent.dtype)
    data = jax.tree.map(jnp.zeros_like, (keep, known))
    return d_recurrent, d_projected, *data


def _backward_kernel(
    recurrent: Any, pre: Any, keep: Any, cells: Any, before: Any, d_hiddens: Any, d_pre: Any
) -> None:
    steps, size = cells.shape
    weights = _by_gate(recurrent)

    def step(t: Any, state: tuple) -> tuple:
        d_hidden, d_cell = state
        i, f, g, o = (pre[t, pl.ds(q * size, size)] for q in range(4))
        gates = nn.sigmoid(i), nn.sigmoid(f), jnp.tanh(g), nn.sigmoid(o)
        slopes, d_cell = cell_slopes(d_hidden + d_hiddens[t], d_cell, gates, cells[t], before[t])
        d_hidden = jnp.zeros_like(d_hidden)
        for q, (d, w) in enumerate(zip(slopes, weights, strict=True)):
            d_pre[t, pl.ds(q * size, size)] = d
            d_hidden += _row(d.astype(w.dtype), w, 1)
        return keep[t] * d_hidden, keep[t] * d_cell * gates[1]

    zero = jnp.zeros(size, cells.dtype)
    jax.lax.fori_loop(0, steps, step, (zero, zero))


_fused.defvjp(_forward, _backward)


def _by_gate(recurrent: Any) -> list[Float[Array, "H H"]]:
    size = recurrent.shape[0]
    return [recurrent[:, pl.ds(q * size, size)] for q in range(4)]


def _products(size: int) -> int:
    """Operations of a step's products, of as many equal rows as they must have."""
    return NARROWEST * 2 * size * 4 * size


def _row(x: Float[Array, " H"], weights: Float[Array, "H H"], axis: int) -> Float[Array, " H"]:
    """Their product over that axis of the weights, as a product of matrices: of as many equal rows as that needs."""
    rows = jnp.broadcast_to(x[None, :], (NARROWEST, x.shape[0]))
    found = jax.lax.dot_general(
        rows, weights, (((1,), (axis,)), ((), ())), preferred_element_type=summed_in(x)
    )
    return jnp.max(found, axis=0)
