"""The paper's interpreter: an LSTM reads the received observations one by one (also I2C's)."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from purejax_mgtopo.config import Config
from purejax_mgtopo.messages.packed import MIN_ROWS, lazy_lstm, packed_lstm
from purejax_mgtopo.networks import LSTM, apply, init_per_agent, per_agent
from purejax_mgtopo.types import PyTree, others


class ObservationLSTM:
    """The message is the sender's observation; its readers run an LSTM over those that reach them.

    Senders come in ascending index. Element j moves both LSTM states by ``s <- G_ij LSTM(s, o_j) + (1 - G_ij) s``,
    which for binary G equals running over the selected subsequence alone and stays differentiable in G. The output
    is the last hidden state, zeros where nothing was received. (Paper, Table 2: ``o(C^i)-LSTM(128)``.)
    """

    def __init__(self, config: Config, num_agents: int, observation_size: int) -> None:
        self.num_agents = num_agents
        self.message_size = observation_size
        self.latency: int = config.message.latency
        self.hidden = config.learner.hidden
        self.shared = config.learner.share_parameters
        self._lstm = LSTM(self.hidden)
        # Loops of as many turns as the data ask for pay on a CPU, where the seeds advance one after the other.
        self._packs = (
            num_agents > 2 and config.seed_axis != "vmap" and jax.default_backend() == "cpu"
        )

    def init(self, key: Key[Array, ""], alone: bool = False) -> PyTree:
        """Parameters of one LSTM for each agent, stacked (a single one if shared); none if nothing is heard."""
        if alone:
            return ()

        def one(agent_key: Key[Array, ""]) -> PyTree:
            return self._lstm.init(agent_key, jnp.zeros(self.message_size), method="project")

        return init_per_agent(one, key, self.num_agents, self.shared)

    def encode(
        self, params: PyTree, observation: Float[Array, "*batch N O"]
    ) -> tuple[Float[Array, "*batch N 0"], Float[Array, "*batch N O"]]:
        """No feature of its own (gates read the observation); the message is the observation."""
        del params
        return observation[..., :0], observation

    def aggregate(
        self,
        params: PyTree,
        observation: Float[Array, "*batch N O"],
        feature: Float[Array, "*batch N 0"],
        delivered: Float[Array, "*batch N O"],
        edges: Float[Array, "*batch N N-1"],
        selective: bool = False,
    ) -> Float[Array, "*batch N H"]:
        """The last hidden state of each agent's LSTM over what it received."""
        del observation, feature
        one_row = edges.ndim == 2
        if (
            selective
            and self._packs
            and (one_row or edges.ndim == 3 and edges.shape[0] >= MIN_ROWS)
        ):
            weights = jax.vmap(
                partial(apply, self._lstm, method="weights"),
                in_axes=None if self.shared else 0,
                axis_size=self.num_agents,
            )
            kernel, bias = weights(params)
            read_selected = lazy_lstm if one_row else packed_lstm
            return read_selected(kernel, bias, delivered, edges)
        read = per_agent(self._read, self.shared, axes=(0, -2))
        return read(params, others(delivered), edges)

    def alone(
        self,
        params: PyTree,
        observation: Float[Array, "*batch N O"],
        feature: Float[Array, "*batch N 0"],
    ) -> None:
        """Zeros: the LSTM's state before its first input."""
        del params, observation, feature

    def _read(
        self,
        params: PyTree,
        sequence: Float[Array, "R *batch O"],
        received: Float[Array, "*batch R"],
    ) -> Float[Array, "*batch H"]:
        projected = apply(self._lstm, params, sequence[0], method="project")
        hidden, cell = apply(self._lstm, params, projected, method="first")
        hidden, cell = hidden * received[..., :1], cell * received[..., :1]
        # Unrolled: the loop is short, and XLA then fuses each step's gates into one kernel.
        for j in range(1, self.num_agents - 1):
            new_hidden, new_cell = apply(
                self._lstm, params, hidden, cell, sequence[j], method="step"
            )
            keep = received[..., j : j + 1]
            hidden = keep * new_hidden + (1 - keep) * hidden
            cell = keep * new_cell + (1 - keep) * cell
        return hidden
