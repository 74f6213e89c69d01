"""The paper's interpreter: an LSTM reads the received observations one by one (also I2C's)."""

from __future__ import annotations

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.initializers import lecun_normal
from jaxtyping import Array, Float, Key

from purejax_mgtopo.algorithm.edges import others
from purejax_mgtopo.algorithm.kernels.lazy import lazy_lstm
from purejax_mgtopo.algorithm.kernels.masked_lstm import masked_lstm
from purejax_mgtopo.algorithm.kernels.packed import MIN_ROWS, packed_lstm
from purejax_mgtopo.algorithm.kernels.stored import LESS
from purejax_mgtopo.algorithm.kernels.target import fuses, platform
from purejax_mgtopo.algorithm.networks import apply, forget_bias, init_per_agent, per_agent
from purejax_mgtopo.algorithm.part import Encoded, Heard, Interpreter, Moment
from purejax_mgtopo.algorithm.types import Edges, Gates, PyTree, Seen, Sizes
from purejax_mgtopo.config import Experiment


class MessageLSTM(nn.Module):
    """An LSTM whose inputs and hidden state go through one matmul, step by step.

    One kernel, the inputs' rows first: the projection of all inputs at once would be written to memory and read again,
    and two kernels would have to be joined in every update. Both parts start as `networks.LSTM`'s do, gates included.
    """

    inputs: int
    hidden: int

    def setup(self) -> None:
        def by_parts(key: Any, shape: tuple[int, ...], dtype: Any = None) -> Array:
            keys, rows = jax.random.split(key), (self.inputs, self.hidden)
            parts = [
                lecun_normal()(k, (r, shape[1]), dtype or float)
                for k, r in zip(keys, rows, strict=True)
            ]
            return jnp.concatenate(parts)

        self.kernel = self.param("kernel", by_parts, (self.inputs + self.hidden, 4 * self.hidden))
        self.bias = self.param("bias", forget_bias, (4 * self.hidden,))

    def weights(self) -> tuple[Float[Array, "J {4*self.hidden}"], Float[Array, " {4*self.hidden}"]]:
        """The kernel of inputs and hidden state, in this order, and the bias."""
        return self.kernel, self.bias

    def first(
        self, x: Float[Array, "*batch I"]
    ) -> tuple[Float[Array, "*batch H"], Float[Array, "*batch H"]]:
        """Hidden state and cell after a step from the zero state, which needs the inputs' rows only."""
        i, _, g, o = jnp.split(x @ self.kernel[: self.inputs] + self.bias, 4, axis=-1)
        cell = nn.sigmoid(i) * jnp.tanh(g)
        return nn.sigmoid(o) * jnp.tanh(cell), cell

    def step(
        self,
        hidden: Float[Array, "*batch H"],
        cell: Float[Array, "*batch H"],
        x: Float[Array, "*batch I"],
    ) -> tuple[Float[Array, "*batch H"], Float[Array, "*batch H"]]:
        """The new hidden state and cell."""
        joined = jnp.concatenate([x, hidden], axis=-1)
        i, f, g, o = jnp.split(joined @ self.kernel + self.bias, 4, axis=-1)
        cell = nn.sigmoid(f) * cell + nn.sigmoid(i) * jnp.tanh(g)
        return nn.sigmoid(o) * jnp.tanh(cell), cell


class ObservationLSTM(Interpreter):
    """The message is the sender's observation; its readers run an LSTM over those that reach them.

    Senders come in ascending index. Element j moves both LSTM states by ``s <- G_ij LSTM(s, o_j) + (1 - G_ij) s``,
    which for binary G equals running over the selected subsequence alone and stays differentiable in G. The output
    is the last hidden state, zeros where nothing was received. (Paper, Table 2: ``o(C^i)-LSTM(128)``.)
    """

    def __init__(self, experiment: Experiment, sizes: Sizes, edges: Edges = Edges.ANY) -> None:
        super().__init__(experiment, sizes, edges)
        self.feature_size = self.message_size = sizes.observation
        self.hidden = experiment.learner.hidden
        self.shared = experiment.learner.share_parameters
        self._lstm = MessageLSTM(sizes.observation, self.hidden)
        # Loops of as many turns as the data ask for pay on a CPU, where the seeds advance one after the other.
        self._in_turn = platform() == "cpu"
        self._packs = edges is Edges.DATA and sizes.agents > 2 and self._in_turn

    def init_params(self, key: Key[Array, ""]) -> PyTree:
        """Parameters of one LSTM for each agent, stacked (a single one if shared); none if nothing is heard."""
        if self.edges is Edges.NEVER:
            return ()

        def one(agent_key: Key[Array, ""]) -> PyTree:
            return self._lstm.init(agent_key, jnp.zeros(self.message_size), method="first")

        return init_per_agent(one, key, self.sizes.agents, self.shared)

    def encode(
        self,
        params: PyTree,
        acting: PyTree,
        observation: Float[Array, "*batch N O"],
        moment: Moment,
    ) -> Encoded:
        """The observation, both as the feature and as the message."""
        del params, acting
        return Encoded(observation, observation, moment.carry)

    def hear(
        self, params: PyTree, acting: PyTree, seen: Seen, gates: Gates, moment: Moment
    ) -> Heard:
        """The last hidden state of each agent's LSTM over what it received."""
        del acting
        if self.edges is Edges.NEVER:
            return Heard(None, moment.carry)
        delivered, edges = seen.delivered, gates.decision
        one_row = edges.ndim == 2
        if not self._in_turn or any(x.dtype == LESS for x in jax.tree.leaves(params)):
            read_all = per_agent(self._read_stored, self.shared, axes=(0, -2))
            return Heard(read_all(params, others(delivered), edges), moment.carry)
        if self._packs and (one_row or edges.ndim == 3 and edges.shape[0] >= MIN_ROWS):
            weights = jax.vmap(
                partial(apply, self._lstm, method="weights"),
                in_axes=None if self.shared else 0,
                axis_size=self.sizes.agents,
            )
            kernel, bias = weights(params)
            read_selected = lazy_lstm if one_row else packed_lstm
            return Heard(read_selected(kernel, bias, delivered, edges), moment.carry)
        read = per_agent(self._read, self.shared, axes=(0, -2))
        return Heard(read(params, others(delivered), edges), moment.carry)

    def _read_stored(
        self,
        params: PyTree,
        sequence: Float[Array, "R *batch O"],
        received: Float[Array, "*batch R"],
    ) -> Float[Array, "*batch H"]:
        kernel, bias = apply(self._lstm, params, method="weights")
        senders, *batch, width = sequence.shape
        rows = sequence.reshape(senders, -1, width)
        weights = received.reshape(-1, senders)
        if fuses() and kernel.dtype == LESS:
            from purejax_mgtopo.algorithm.kernels.fused.message_lstm import message_lstm

            hidden = message_lstm(kernel, bias, rows, weights)
        else:
            hidden = masked_lstm(kernel, bias, rows, weights)
        return hidden.reshape(*batch, self.hidden)

    def _read(
        self,
        params: PyTree,
        sequence: Float[Array, "R *batch O"],
        received: Float[Array, "*batch R"],
    ) -> Float[Array, "*batch H"]:
        hidden, cell = apply(self._lstm, params, sequence[0], method="first")
        hidden, cell = hidden * received[..., :1], cell * received[..., :1]
        # Unrolled: the loop is short, and XLA then fuses each step's gates into one kernel.
        for j in range(1, self.sizes.agents - 1):
            new_hidden, new_cell = apply(
                self._lstm, params, hidden, cell, sequence[j], method="step"
            )
            keep = received[..., j : j + 1]
            hidden = keep * new_hidden + (1 - keep) * hidden
            cell = keep * new_cell + (1 - keep) * cell
        return hidden
