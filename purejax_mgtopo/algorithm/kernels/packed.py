"""An LSTM that takes as many steps as messages were received, for a batch on a CPU ("packed sequences").

A masked LSTM reads every sender's message and then discards what was not received: with half of the edges closed, most
of its matmuls are wasted. Here each agent's rows of the batch are sorted by how many messages they received, and step k
runs over as many of the first rows as received a k-th message, rounded up to an eighth of the batch. Values and
derivatives are those of the masked LSTM. Not under `jax.vmap`, where all loops run for as long as the longest.

Gains 32 % in episodes of `meta` a second at N = 3 and 55 % at N = 6 (two cores of an AVX-512 Xeon, November 2026).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from purejax_mgtopo.algorithm.kernels.cell import (
    activated,
    cell_backward,
    first_activated,
    first_backward,
    in_order,
    with_forget,
    without_forget,
)

MIN_ROWS = 64
"""Batches below this are not worth packing."""
UNITS = 8
"""Steps are rounded up to one of these parts of the batch: fewer waste rows, more make for small matmuls."""
FIRST, LARGEST = 2, 4
"""Units that run at once: in the first step, where what is computed of them stays in the processor's cache, and at most
in any other, where each run costs a pass over the kernel's derivative."""


@flax.struct.dataclass
class Plan:
    """Who reads what when. P: rows of the batch, sorted and padded to whole units; R = N - 1 senders."""

    order: Int[Array, "N P"]
    """The row of the batch at each place, by falling number of messages; padding repeats some row."""
    place: Int[Array, "N B"]
    """The inverse: where each row of the batch went."""
    count: Int[Array, "N P"]
    """Messages received by the row at each place; 0 in padding."""
    sender: Int[Array, "R N P"]
    """Who sent its k-th message; anybody where there is none."""
    units: Int[Array, "N R"]
    """Units that hold all rows which take a step."""

    @property
    def unit(self) -> int:
        """Number of rows in a unit."""
        return self.order.shape[1] // UNITS


def make_plan(edges: Float[Array, "B N R"]) -> Plan:
    """The plan for decisions in {0, 1}, taken as data."""
    batch, agents, senders = edges.shape
    unit = -(-batch // (8 * UNITS)) * 8
    padding = ((0, 0), (0, UNITS * unit - batch))
    sender, received = in_order(edges.astype(jnp.int32))
    received = received.T
    # One sort of distinct numbers gives the order and, along with it, the counts.
    ranked = jnp.sort((senders - received) * batch + jnp.arange(batch), axis=-1)
    order = ranked % batch
    place = jax.vmap(lambda o: jnp.zeros_like(o).at[o].set(jnp.arange(batch)))(order)
    reading = jnp.sum(received[..., None] > jnp.arange(senders), axis=1)  # rows that take step k
    order = jnp.pad(order, padding)
    return Plan(
        order=order,
        place=place,
        count=jnp.pad(senders - ranked // batch, padding),
        sender=jnp.take_along_axis(jnp.transpose(sender, (2, 1, 0)), order[None], axis=-1),
        units=-(-reading // unit),
    )


def packed_lstm(
    kernel: Float[Array, "N J Q"],
    bias: Float[Array, "N Q"],
    message: Float[Array, "B N I"],
    edges: Float[Array, "B N R"],
) -> Float[Array, "B N H"]:
    """The last hidden state of each agent's LSTM over the messages that it received, in ascending order of senders.

    Args:
        kernel: of the inputs, then of the hidden state, [N, I + H, 4 H].
        bias: [N, 4 H]; the gates come in the order input, forget, cell, output.
        message: what each agent sent.
        edges: 0 or 1: whether i received from its j-th other agent. No derivative in these.
    """
    plan = make_plan(edges)
    agents, width = message.shape[1:]
    inputs = message.reshape(-1, width)[plan.order * agents + plan.sender]
    hidden = _run(kernel, bias, inputs, plan)
    return jnp.moveaxis(hidden, 0, 1)


@jax.custom_vjp
def _run(
    kernel: Float[Array, "N J Q"],
    bias: Float[Array, "N Q"],
    inputs: Float[Array, "R N P I"],
    plan: Plan,
) -> Float[Array, "N B H"]:
    return _run_forward(kernel, bias, inputs, plan, keep=False)[0]


def _run_forward(kernel: Array, bias: Array, inputs: Array, plan: Plan, keep: bool = True) -> tuple:
    """The hidden states after the last messages, and what the derivative needs.

    If asked to `keep` them, buffers hold the rows of all steps, [N, P] rows a step: states (hidden, cell) and gates,
    those of the first step apart. Nobody reads rows that are not run. Otherwise each step's states replace the last's.
    """
    senders, agents, padded, width = inputs.shape
    size, of_step = kernel.shape[2] // 4, agents * padded
    kept = of_step if keep else 0  # rows from a step to the next
    rows_of, count = inputs.reshape(-1, width), plan.count.reshape(of_step, 1)

    def read(agent: Array, carry: tuple) -> tuple:
        own_kernel, own_bias = kernel[agent], bias[agent]
        first_kernel, first_bias = (
            without_forget(own_kernel[:width]),
            without_forget(own_bias),
        )

        def first(row: Array, rows: int, carry: tuple) -> tuple:
            states, first_gates, gates = carry
            x = jax.lax.dynamic_slice(rows_of, (row, 0), (rows, width))
            i, g, o = first_activated(x @ first_kernel + first_bias)
            cell = i * g
            states = _write(states, row, o * jnp.tanh(cell), cell)
            first_gates = _write(first_gates, row, i, g, o) if keep else first_gates
            return states, first_gates, gates

        def later(row: Array, rows: int, k: Array, carry: tuple) -> tuple:
            states, first_gates, gates = carry
            before, now, shape = row + (k - 1) * kept, row + k * kept, (rows, size)
            x = jax.lax.dynamic_slice(rows_of, (row + k * of_step, 0), (rows, width))
            joined = jnp.concatenate([x, _part(states, before, 0, shape)], axis=-1)
            i, f, g, o = activated(joined @ own_kernel + own_bias)
            cell = f * _part(states, before, 1, shape) + i * g
            hidden = o * jnp.tanh(cell)
            if not keep:  # a block may end with rows that do not read this step
                reads = jax.lax.dynamic_slice(count, (row, 0), (rows, 1)) > k
                hidden = jnp.where(reads, hidden, _part(states, before, 0, shape))
            states = _write(states, now, hidden, cell)
            gates = _write(gates, before, i, f, g, o) if keep else gates
            return states, first_gates, gates

        return _over_rows(plan, agent, first, later, carry)

    start = (
        # Not equal to the derivative's: XLA would make them once, and then copy them.
        jnp.full(
            ((senders if keep else 1) * of_step, 2 * size), 0.0 if keep else 1.0, kernel.dtype
        ),
        jnp.zeros((kept, 3 * size), kernel.dtype),
        jnp.zeros(((senders - 1) * kept, 4 * size), kernel.dtype),
    )
    states, *kept_gates = jax.lax.fori_loop(0, agents, read, start)
    received = jnp.take_along_axis(plan.count, plan.place, axis=1)
    own = jnp.arange(agents)[:, None] * padded + plan.place
    last = states[jnp.maximum(received - 1, 0) * kept + own, :size]
    return last * (received > 0)[..., None], (kernel, inputs, plan, states, *kept_gates)


def _run_backward(residuals: tuple, d_hidden: Float[Array, "N B H"]) -> tuple:
    wanted, kernel, inputs, plan, states, first_gates, gates = residuals
    _, agents, padded, width = inputs.shape
    size, of_step = kernel.shape[2] // 4, agents * padded
    d_last = jnp.take_along_axis(d_hidden, plan.order[..., None], axis=1).reshape(of_step, size)
    last = (plan.count - 1).reshape(of_step, 1)  # the step that a row's hidden state is taken after
    rows_of = inputs.reshape(-1, width)

    def unread(agent: Array, carry: tuple) -> tuple:
        own_inputs, own_recurrent = kernel[agent, :width], kernel[agent, width:]
        first_inputs = without_forget(own_inputs)

        def d_after(d_states: Array, row: Array, rows: int, k: Array | int) -> tuple[Array, Array]:
            """Derivatives in hidden and cell state after step k.

            Rows that end later have theirs from there, others' are zero.
            """
            shape = (rows, size)
            taken = jax.lax.dynamic_slice(last, (row, 0), (rows, 1)) == k
            d_hidden = _part(d_states, row, 0, shape)
            d_hidden = d_hidden + jnp.where(taken, _part(d_last, row, 0, shape), 0)
            return d_hidden, _part(d_states, row, 1, shape)

        def later(row: Array, rows: int, k: Array, carry: tuple) -> tuple:
            d_states, d_inputs, d_kernel, d_bias, *d_first = carry
            before, now, shape = row + (k - 1) * of_step, row + k * of_step, (rows, size)
            those = tuple(_part(gates, before, gate, shape) for gate in range(4))
            cell, cell_before = _part(states, now, 1, shape), _part(states, before, 1, shape)
            d_gates, d_cell = cell_backward(
                *d_after(d_states, row, rows, k), those, cell, cell_before
            )
            x = jax.lax.dynamic_slice(rows_of, (now, 0), (rows, width))
            joined = jnp.concatenate([x, _part(states, before, 0, shape)], axis=-1)
            if wanted is not None:
                d_inputs = _write(d_inputs, now, d_gates @ own_inputs.T)
            return (
                _write(d_states, row, d_gates @ own_recurrent.T, d_cell),
                d_inputs,
                _add_at(d_kernel, agent, joined.T @ d_gates),
                _add_at(d_bias, agent, jnp.sum(d_gates, axis=0)),
                *d_first,
            )

        def first(row: Array, rows: int, carry: tuple) -> tuple:
            d_states, d_inputs, d_kernel, d_bias, d_first_kernel, d_first_bias = carry
            those = tuple(_part(first_gates, row, gate, (rows, size)) for gate in range(3))
            d_gates = first_backward(*d_after(d_states, row, rows, 0), *those)
            x = jax.lax.dynamic_slice(rows_of, (row, 0), (rows, width))
            if wanted is not None:
                d_inputs = _write(d_inputs, row, d_gates @ first_inputs.T)
            return (
                d_states,
                d_inputs,
                d_kernel,
                d_bias,
                d_first_kernel + x.T @ d_gates,
                d_first_bias + jnp.sum(d_gates, axis=0),
            )

        zeros = jnp.zeros((width, 3 * size), kernel.dtype), jnp.zeros(3 * size, kernel.dtype)
        d_states, d_inputs, d_kernel, d_bias, *d_first = _over_rows(
            plan, agent, first, later, (*carry, *zeros), reverse=True
        )
        d_first_kernel, d_first_bias = (with_forget(d) for d in d_first)
        return (
            d_states,
            d_inputs,
            _add_at(d_kernel, agent, d_first_kernel),
            _add_at(d_bias, agent, d_first_bias),
        )

    start = (
        jnp.zeros((of_step, 2 * size), kernel.dtype),
        jnp.zeros_like(rows_of),
        jnp.zeros_like(kernel),
        jnp.zeros((agents, 4 * size), kernel.dtype),
    )
    _, d_inputs, d_kernel, d_bias = jax.lax.fori_loop(0, agents, unread, start)
    return d_kernel, d_bias, d_inputs.reshape(inputs.shape), None


def _run_and_keep(kernel: Any, bias: Any, inputs: Any, plan: Any) -> tuple:
    """`_run_forward` on primals that know whether they are differentiated in; observations are not."""
    wanted = () if inputs.perturbed else None
    values = jax.tree.map(lambda primal: primal.value, (kernel, bias, inputs, plan))
    hidden, residuals = _run_forward(*values)
    return hidden, (wanted, *residuals)


_run.defvjp(_run_and_keep, _run_backward, symbolic_zeros=True)


def _over_rows(
    plan: Plan,
    agent: Array,
    first: Callable[..., Any],
    later: Callable[..., Any],
    carry: Any,
    reverse: bool = False,
) -> Any:
    """``carry = first(row, rows, carry)`` for blocks of one agent's rows that read a first message, and ``later(row,
    rows, k, carry)`` for blocks of those that read another one in step k = 1, 2, ...

    `row` is the block's first row among the [N * P] of one step, and `rows` how many there are.
    """
    units, start = plan.units[agent], agent * plan.order.shape[1]
    steps = jnp.sum(units[1:] > 0)

    def at_first(t: Array, carry: Any) -> Any:
        return first(start + t * FIRST * plan.unit, FIRST * plan.unit, carry)

    def at_later(t: Array, carry: Any) -> Any:
        k = steps - t if reverse else t + 1
        whole, rest = units[k] // LARGEST, units[k] % LARGEST

        def blocks(carry: Any, row: Array, count: Array, size: int) -> Any:
            rows = size * plan.unit
            return jax.lax.fori_loop(
                0, count, lambda t, carry: later(row + t * rows, rows, k, carry), carry
            )

        carry = blocks(carry, start, whole, LARGEST)
        # What is left, in one block: of these loops one is run, once, or none.
        for size in range(1, LARGEST):
            row = start + whole * LARGEST * plan.unit
            carry = blocks(carry, row, (rest == size).astype(int), size)
        return carry

    loops = [(-(-units[0] // FIRST), at_first), (steps, at_later)]
    for turns, turn in reversed(loops) if reverse else loops:
        carry = jax.lax.fori_loop(0, turns, turn, carry)
    return carry


def _write(buffer: Array, row: Array, *parts: Array) -> Array:
    """A block's columns. In one, because XLA would compute anew, where it writes, whatever it writes in parts."""
    return jax.lax.dynamic_update_slice(buffer, jnp.concatenate(parts, axis=-1), (row, 0))


def _add_at(sums: Array, agent: Array, part: Array) -> Array:
    """Add to one agent's sums, to the first rows of them if there are fewer in `part`."""
    at: tuple[Array | int, ...] = (agent, *(0 for _ in part.shape))
    so_far = jax.lax.dynamic_slice(sums, at, (1, *part.shape))
    return jax.lax.dynamic_update_slice(sums, so_far + part, at)


def _part(buffer: Array, row: Array, part: int, shape: tuple[int, int]) -> Float[Array, "rows H"]:
    """Columns ``part * H`` to ``(part + 1) * H`` of a block of rows.

    In one slice: XLA does not vectorise what it computes from a slice of a slice.
    """
    return jax.lax.dynamic_slice(buffer, (row, part * shape[1]), shape)
