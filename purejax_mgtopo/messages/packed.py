"""An LSTM that takes as many steps as messages were received, for a batch on a CPU ("packed sequences").

A masked LSTM reads every sender's message and then discards what was not received: with half of the edges closed, most
of its matmuls are wasted. Here each agent's rows of the batch are sorted by how many messages they received, and cut
into blocks; step k runs over the blocks in which some row received a k-th message, and no others. Values and
derivatives are those of the masked LSTM. Not under `jax.vmap`, where all loops run for as long as the longest.
"""

from __future__ import annotations

from collections.abc import Callable

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
    ends: Int[Array, "N R-1"]
    """Blocks of steps 1, ..., k together: those of the first step (0) are all run."""
    blocks: int = flax.struct.field(pytree_node=False)

    @property
    def rows(self) -> int:
        """Rows of a block."""
        return self.order.shape[1] // self.blocks


def make_plan(edges: Float[Array, "B N R"]) -> Plan:
    """The plan for decisions in {0, 1}, taken as data."""
    batch, agents, senders = edges.shape
    # With half of the edges open, a quarter of the rows gets a second message of two, on average: blocks of a third
    # of the batch mostly hold them in one. Smaller blocks make for slower matmuls.
    blocks = 3 if senders == 2 else 4
    rows = -(-batch // (8 * blocks)) * 8
    padding = ((0, 0), (0, blocks * rows - batch))
    received = jnp.moveaxis(edges, 0, 1).astype(jnp.int32)  # [N, B, R]
    so_far = jnp.cumsum(received, axis=-1)
    slot = jnp.stack([jnp.sum(so_far <= k, axis=-1) for k in range(senders)])  # [R, N, B]
    slot = jnp.minimum(slot, senders - 1)
    sender = slot + (slot >= jnp.arange(agents)[:, None])
    # One sort of distinct numbers gives the order and, along with it, the counts.
    ranked = jnp.sort((senders - so_far[..., -1]) * batch + jnp.arange(batch), axis=-1)
    order = ranked % batch
    place = jax.vmap(lambda o: jnp.zeros_like(o).at[o].set(jnp.arange(batch)))(order)
    reading = jnp.sum(so_far[..., -1:] > jnp.arange(1, senders), axis=1)  # [N, R-1] rows that take step k
    order = jnp.pad(order, padding)
    return Plan(
        order=order,
        place=place,
        count=jnp.pad(senders - ranked // batch, padding),
        sender=jnp.take_along_axis(sender, order[None], axis=-1),
        ends=jnp.cumsum(-(-reading // rows), axis=-1),
        blocks=blocks,
    )


def packed_lstm(
    kernel: Float[Array, "N I+H 4*H"],
    bias: Float[Array, "N 4*H"],
    message: Float[Array, "B N I"],
    edges: Float[Array, "B N R"],
) -> Float[Array, "B N H"]:
    """The last hidden state of each agent's LSTM over the messages that it received, in ascending order of senders.

    Args:
        kernel: of inputs, then of the hidden state; gates in the order input, forget, cell, output.
        bias: of the gates.
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
    kernel: Float[Array, "N I+H 4*H"],
    bias: Float[Array, "N 4*H"],
    inputs: Float[Array, "R N P I"],
    plan: Plan,
) -> Float[Array, "N B H"]:
    states, _, _ = _steps(kernel, bias, inputs, plan, keep=False)
    return _last(states, plan)


def _run_forward(kernel: Array, bias: Array, inputs: Array, plan: Plan) -> tuple:
    states, first, gates = _steps(kernel, bias, inputs, plan, keep=True)
    return _last(states, plan), (kernel, inputs, plan, states, first, gates)


def _last(states: Float[Array, "RNP 2*H"], plan: Plan) -> Float[Array, "N B H"]:
    """The hidden state after a row's last message, in the batch's order; zeros where there was none."""
    agents, padded = plan.order.shape
    count = jnp.take_along_axis(plan.count, plan.place, axis=1)
    agent = jnp.arange(agents)[:, None]
    row = (jnp.maximum(count - 1, 0) * agents + agent) * padded + plan.place
    return states[row, : states.shape[1] // 2] * (count > 0)[..., None]


def _steps(kernel: Array, bias: Array, inputs: Array, plan: Plan, keep: bool) -> tuple:
    """All steps of all blocks.

    Returns:
        Hidden states and cells after each step, [R * N * P, 2 H], undefined where a step was not run; the gates of
        the first step; those of the later ones side by side, [(R - 1) * N * P, 4 H], if `keep`.
    """
    senders, agents, padded, width = inputs.shape
    size = kernel.shape[2] // 4
    of_step = agents * padded  # rows in the buffers from one step to the next
    projected = jnp.einsum("npi,nig->npg", inputs[0], kernel[:, :width]) + bias[:, None]
    i, _, g, o = _activated(projected)
    cell = i * g
    first = jnp.concatenate([o * jnp.tanh(cell), cell], axis=-1).reshape(of_step, -1)
    states = jnp.zeros((senders * of_step, 2 * size), first.dtype)
    states = jax.lax.dynamic_update_slice(states, first, (0, 0))
    gates = jnp.zeros(((senders - 1) * of_step if keep else 0, 4 * size), first.dtype)
    inputs = inputs.reshape(-1, width)
    # Slices go straight to the columns wanted: XLA does not vectorise a slice of a slice.
    part = _parts(plan.rows, size)

    def block(agent: Array, weights: tuple, at: Array, carry: tuple) -> tuple:
        states, gates = carry
        x = jax.lax.dynamic_slice(inputs, (at + of_step, 0), (plan.rows, width))
        i, f, g, o = _activated(jnp.concatenate([x, part(states, at, 0)], -1) @ weights[0] + weights[1])
        cell = f * part(states, at, 1) + i * g
        # Side by side, for one write each: written apart, each would be computed anew where it is read next.
        state = jnp.concatenate([o * jnp.tanh(cell), cell], axis=-1)
        states = jax.lax.dynamic_update_slice(states, state, (at + of_step, 0))
        if keep:
            gates = jax.lax.dynamic_update_slice(gates, jnp.concatenate([i, f, g, o], -1), (at, 0))
        return states, gates

    def agent_steps(agent: Array, carry: tuple) -> tuple:
        weights = (kernel[agent], bias[agent])

        def turn(t: Array, carry: tuple) -> tuple:
            return block(agent, weights, _block_before(plan, agent, t), carry)

        return jax.lax.fori_loop(0, plan.ends[agent, -1], turn, carry)

    states, gates = jax.lax.fori_loop(0, agents, agent_steps, (states, gates))
    return states, (i, g, o), gates
