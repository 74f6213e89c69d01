"""An LSTM that takes as many steps as messages were received, for a batch on a CPU ("packed sequences").

A masked LSTM reads every sender's message and then discards what was not received: with half of the edges closed, most
of its matmuls are wasted. Here each agent's rows of the batch are sorted by how many messages they received, and cut
into blocks; step k runs over the blocks in which some row received a k-th message, and no others. Values and
derivatives are those of the masked LSTM. Not under `jax.vmap`, where all loops run for as long as the longest.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

MIN_ROWS = 64
"""Batches below this are not worth packing."""


@flax.struct.dataclass
class Plan:
    """Who reads what when. P: rows of the batch, sorted and padded to whole blocks; R = N - 1 senders."""

    order: Int[Array, "N P"]
    """The row of the batch at each place, by falling number of messages; padding repeats some row."""
    place: Int[Array, "N B"]
    """The inverse: where each row of the batch went."""
    count: Int[Array, "N P"]
    """Messages received by the row at each place; 0 in padding."""
    sender: Int[Array, "R N P"]
    """Who sent its k-th message; anybody where there is none."""
    ends: Int[Array, "N R_1"]
    """Blocks of steps 1, ..., k together: those of the first step (0) are all run."""
    blocks: int = flax.struct.field(pytree_node=False)

    @property
    def rows(self) -> int:
        """Rows of a block."""
        return self.order.shape[1] // self.blocks


def in_order(
    edges: Int[Array, "*batch N R"],
) -> tuple[Int[Array, "*batch N R"], Int[Array, "*batch N"]]:
    """Who sent each agent its k-th message (anybody where there is none), and how many it received."""
    agents, senders = edges.shape[-2:]
    so_far = jnp.cumsum(edges, axis=-1)
    slot = jnp.stack([jnp.sum(so_far <= k, axis=-1) for k in range(senders)], axis=-1)
    slot = jnp.minimum(slot, senders - 1)
    return slot + (slot >= jnp.arange(agents)[:, None]), so_far[..., -1]


def lazy_lstm(
    kernel: Float[Array, "N J Q"],
    bias: Float[Array, "N Q"],
    message: Float[Array, "N I"],
    edges: Float[Array, "N R"],
) -> Float[Array, "N H"]:
    """As `packed_lstm` for a single row, as a rollout has it: a step that no agent's messages reach is left out.

    No derivatives. Under `jax.vmap` every step is run.
    """
    sender, received = in_order(edges.astype(jnp.int32))
    inputs = message[sender]
    first_kernel = _without_forget(kernel[:, : message.shape[1]])
    projected = jnp.einsum("ni,nig->ng", inputs[:, 0], first_kernel) + _without_forget(bias)
    i, g, o = _first_gates(projected)
    state = o * jnp.tanh(i * g), i * g

    def step(state: tuple, x: Array, reads: Array) -> tuple:
        hidden, cell = state
        joined = jnp.concatenate([x, hidden], axis=-1)
        i, f, g, o = _activated(jnp.einsum("nj,njg->ng", joined, kernel) + bias)
        # The cell of an agent that reads no more is not asked for again.
        cell = f * cell + i * g
        return jnp.where(reads, o * jnp.tanh(cell), hidden), cell

    for k in range(1, edges.shape[1]):
        reads = (received > k)[:, None]
        state = jax.lax.cond(
            jnp.any(reads), step, lambda state, *_: state, state, inputs[:, k], reads
        )
    return state[0] * (received > 0)[:, None]


def make_plan(edges: Float[Array, "B N R"]) -> Plan:
    """The plan for decisions in {0, 1}, taken as data."""
    batch, agents, senders = edges.shape
    # With half of the edges open, a quarter of the rows gets a second message of two, on average: blocks of a third
    # of the batch mostly hold them in one. Smaller blocks make for slower matmuls.
    blocks = 3 if senders == 2 else 4
    rows = -(-batch // (8 * blocks)) * 8
    padding = ((0, 0), (0, blocks * rows - batch))
    sender, received = in_order(edges.astype(jnp.int32))
    received = received.T
    # One sort of distinct numbers gives the order and, along with it, the counts.
    ranked = jnp.sort((senders - received) * batch + jnp.arange(batch), axis=-1)
    order = ranked % batch
    place = jax.vmap(lambda o: jnp.zeros_like(o).at[o].set(jnp.arange(batch)))(order)
    # Rows that take step k = 1, ..., R - 1.
    reading = jnp.sum(received[..., None] > jnp.arange(1, senders), axis=1)
    order = jnp.pad(order, padding)
    return Plan(
        order=order,
        place=place,
        count=jnp.pad(senders - ranked // batch, padding),
        sender=jnp.take_along_axis(jnp.transpose(sender, (2, 1, 0)), order[None], axis=-1),
        ends=jnp.cumsum(-(-reading // rows), axis=-1),
        blocks=blocks,
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

    Two buffers hold all steps' rows, [N, P] rows a step: states (hidden, cell) of steps 0 to R - 1, and, if asked to
    `keep` them, gates of steps 1 to R - 1. Blocks that are not run stay zero, and nobody reads them.
    """
    senders, agents, padded, width = inputs.shape
    size, of_step = kernel.shape[2] // 4, agents * padded
    shape = (plan.rows, size)
    first_kernel, first_bias = _without_forget(kernel[:, :width]), _without_forget(bias)
    i, g, o = first = _first_gates(
        jnp.einsum("npi,nig->npg", inputs[0], first_kernel) + first_bias[:, None]
    )
    state = jnp.concatenate([o * jnp.tanh(i * g), i * g], axis=-1).reshape(of_step, 2 * size)
    states = jnp.zeros((senders * of_step, 2 * size), state.dtype)
    states = jax.lax.dynamic_update_slice(states, state, (0, 0))
    gates = jnp.zeros(((senders - 1) * of_step if keep else 0, 4 * size), state.dtype)
    rows_of = inputs.reshape(-1, width)

    def read(agent: Array, carry: tuple) -> tuple:
        own_kernel, own_bias = kernel[agent], bias[agent]

        def step(row: Array, k: Array, carry: tuple) -> tuple:
            states, gates = carry
            before, now = row + k * of_step, row + (k + 1) * of_step
            x = jax.lax.dynamic_slice(rows_of, (now, 0), (plan.rows, width))
            joined = jnp.concatenate([x, _part(states, before, 0, shape)], axis=-1)
            i, f, g, o = _activated(joined @ own_kernel + own_bias)
            cell = f * _part(states, before, 1, shape) + i * g
            # Concatenated, because XLA would compute anew, where it writes, whatever it writes in parts.
            state = jnp.concatenate([o * jnp.tanh(cell), cell], axis=-1)
            states = jax.lax.dynamic_update_slice(states, state, (now, 0))
            if keep:
                these = jnp.concatenate([i, f, g, o], axis=-1)
                gates = jax.lax.dynamic_update_slice(gates, these, (before, 0))
            return states, gates

        return _over_blocks(plan, agent, step, carry)

    states, gates = jax.lax.fori_loop(0, agents, read, (states, gates))
    count = jnp.take_along_axis(plan.count, plan.place, axis=1)
    own = jnp.arange(agents)[:, None] * padded + plan.place
    last = states[jnp.maximum(count - 1, 0) * of_step + own, :size]
    return last * (count > 0)[..., None], (kernel, inputs, plan, first, states, gates)


def _run_backward(residuals: tuple, d_hidden: Float[Array, "N B H"]) -> tuple:
    wanted, kernel, inputs, plan, first, states, gates = residuals
    senders, agents, padded, width = inputs.shape
    size, of_step = kernel.shape[2] // 4, agents * padded
    shape = (plan.rows, size)
    d_last = jnp.take_along_axis(d_hidden, plan.order[..., None], axis=1).reshape(of_step, size)
    last = (plan.count - 1).reshape(of_step, 1)  # the step that a row's hidden state is taken after
    rows_of = inputs.reshape(-1, width)

    def unread(agent: Array, carry: tuple) -> tuple:
        d_states, d_inputs, d_kernel, d_bias = carry
        own_inputs, own_recurrent = kernel[agent, :width], kernel[agent, width:]

        def step(row: Array, k: Array, carry: tuple) -> tuple:
            d_states, d_inputs, d_kernel, d_bias = carry
            before, now = row + k * of_step, row + (k + 1) * of_step
            taken = jax.lax.dynamic_slice(last, (row, 0), (plan.rows, 1)) == k + 1
            # Rows that took no step k + 1 have zero derivatives from here on down, and stay as they are.
            d_hidden = _part(d_states, row, 0, shape) + jnp.where(
                taken, _part(d_last, row, 0, shape), 0
            )
            those = tuple(_part(gates, before, gate, shape) for gate in range(4))
            cell, cell_before = _part(states, now, 1, shape), _part(states, before, 1, shape)
            d_gates, d_cell = _cell_backward(
                d_hidden, _part(d_states, row, 1, shape), those, cell, cell_before
            )
            d_state = jnp.concatenate([d_gates @ own_recurrent.T, d_cell], axis=-1)
            x = jax.lax.dynamic_slice(rows_of, (now, 0), (plan.rows, width))
            joined = jnp.concatenate([x, _part(states, before, 0, shape)], axis=-1)
            if wanted is not None:
                d_x = d_gates @ own_inputs.T
                d_inputs = jax.lax.dynamic_update_slice(d_inputs, d_x, (now, 0))
            return (
                jax.lax.dynamic_update_slice(d_states, d_state, (row, 0)),
                d_inputs,
                d_kernel + joined.T @ d_gates,
                d_bias + jnp.sum(d_gates, axis=0),
            )

        zeros = jnp.zeros_like(kernel[0]), jnp.zeros_like(d_bias[0])
        d_states, d_inputs, d_own_kernel, d_own_bias = _over_blocks(
            plan, agent, step, (d_states, d_inputs, *zeros), reverse=True
        )
        return (
            d_states,
            d_inputs,
            jax.lax.dynamic_update_index_in_dim(d_kernel, d_own_kernel, agent, 0),
            jax.lax.dynamic_update_index_in_dim(d_bias, d_own_bias, agent, 0),
        )

    start = (
        jnp.zeros((of_step, 2 * size), kernel.dtype),
        jnp.zeros_like(rows_of),
        jnp.zeros_like(kernel),
        jnp.zeros((agents, 4 * size), kernel.dtype),
    )
    d_states, d_inputs, d_kernel, d_bias = jax.lax.fori_loop(0, agents, unread, start)
    d_hidden = d_states[:, :size] + jnp.where(last == 0, d_last, 0)
    d_gates = _first_backward(
        *(x.reshape(agents, padded, size) for x in (d_hidden, d_states[:, size:])), *first
    )
    if wanted is not None:
        first_kernel = _without_forget(kernel[:, :width])
        d_x = jnp.einsum("npg,nig->npi", d_gates, first_kernel).reshape(of_step, width)
        d_inputs = jax.lax.dynamic_update_slice(d_inputs, d_x, (0, 0))
    d_first = jnp.einsum("npi,npg->nig", inputs[0], d_gates)
    d_kernel = d_kernel.at[:, :width].add(_with_forget(d_first))
    d_bias = d_bias + _with_forget(jnp.sum(d_gates, axis=1))
    return d_kernel, d_bias, d_inputs.reshape(inputs.shape), None


def _run_and_keep(kernel: Any, bias: Any, inputs: Any, plan: Any) -> tuple:
    """`_run_forward` on primals that know whether they are differentiated in; observations are not."""
    wanted = () if inputs.perturbed else None
    values = jax.tree.map(lambda primal: primal.value, (kernel, bias, inputs, plan))
    hidden, residuals = _run_forward(*values)
    return hidden, (wanted, *residuals)


_run.defvjp(_run_and_keep, _run_backward, symbolic_zeros=True)


def _over_blocks(
    plan: Plan, agent: Array, step: Callable[..., Any], carry: Any, reverse: bool = False
) -> Any:
    """``carry = step(row, k, carry)`` for all blocks of one agent that read a message number k + 2, k = 0, 1, ...

    `row` is the block's first row among the [N * P] of one step.
    """
    ends = plan.ends[agent]

    def turn(t: Array, carry: Any) -> Any:
        t = ends[-1] - 1 - t if reverse else t
        k = jnp.sum(t >= ends)
        block = t - jnp.where(k > 0, ends[k - 1], 0)
        return step(agent * plan.order.shape[1] + block * plan.rows, k, carry)

    return jax.lax.fori_loop(0, ends[-1], turn, carry)


def _part(buffer: Array, row: Array, part: int, shape: tuple[int, int]) -> Float[Array, "rows H"]:
    """Columns ``part * H`` to ``(part + 1) * H`` of a block of rows.

    In one slice: XLA does not vectorise what it computes from a slice of a slice.
    """
    return jax.lax.dynamic_slice(buffer, (row, part * shape[1]), shape)


def _activated(gates: Array) -> tuple[Array, ...]:
    i, f, g, o = jnp.split(gates, 4, axis=-1)
    return nn.sigmoid(i), nn.sigmoid(f), jnp.tanh(g), nn.sigmoid(o)


def _first_gates(gates: Array) -> tuple[Array, Array, Array]:
    """Of a step from the zero state, where there is nothing to forget."""
    i, g, o = jnp.split(gates, 3, axis=-1)
    return nn.sigmoid(i), jnp.tanh(g), nn.sigmoid(o)


def _without_forget(gates: Float[Array, "*batch Q"]) -> Float[Array, "*batch G"]:
    i, _, g, o = jnp.split(gates, 4, axis=-1)
    return jnp.concatenate([i, g, o], axis=-1)


def _with_forget(gates: Float[Array, "*batch G"]) -> Float[Array, "*batch Q"]:
    i, g, o = jnp.split(gates, 3, axis=-1)
    return jnp.concatenate([i, jnp.zeros_like(i), g, o], axis=-1)


def _cell_backward(
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


def _first_backward(d_hidden: Array, d_cell: Array, i: Array, g: Array, o: Array) -> Array:
    """As `_cell_backward`, for a step from the zero state: of the input, cell and output gate, [..., 3 H]."""
    squashed = jnp.tanh(i * g)
    d_cell = d_cell + d_hidden * o * (1 - squashed * squashed)
    d_gates = [
        d_cell * g * i * (1 - i),
        d_cell * i * (1 - g * g),
        d_hidden * squashed * o * (1 - o),
    ]
    return jnp.concatenate(d_gates, axis=-1)
