"""CommNet (Sukhbaatar, Szlam & Fergus 2016, arXiv 1605.07736): hidden states are averaged and exchanged."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from purejax_mgtopo.algorithm.networks import init_per_agent, per_agent
from purejax_mgtopo.algorithm.types import PyTree, fill_diagonal
from purejax_mgtopo.config import Experiment


class CommNet:
    """``h0 = tanh(E o)``; in each of K rounds ``h <- tanh(E o + H_k h + C_k c)`` with c the received hidden states.

    ``c_i = sum_j G_ij h_j / max(1, sum_j G_ij)``; ``message.aggregate = "sum"`` drops the denominator. An agent
    does not hear itself. K counts exchanges: the original code counts the encoding as a hop, so that its two hops
    are one exchange here. With next-step delivery every round hears the previous step's h0. Differences from the
    original: a deterministic policy and a centralised critic instead of softmax and REINFORCE; no recurrence over
    time.
    """

    def __init__(self, config: Experiment, num_agents: int, observation_size: int) -> None:
        self.num_agents = num_agents
        self.observation_size = observation_size
        self.message_size = config.learner.hidden
        self.latency: int = config.message.latency
        self.rounds = config.message.rounds
        self.mean = config.message.aggregate == "mean"
        self.shared = config.learner.share_parameters
        self._encoder = nn.Dense(self.message_size)
        self._mix = nn.Dense(self.message_size, use_bias=False)

    def init(self, key: Key[Array, ""], alone: bool = False) -> PyTree:
        """``{"encoder", "own": K kernels, "heard": K kernels}`` for each agent, stacked (a single one if shared).

        Without "heard" if nothing is.
        """
        hidden = jnp.zeros(self.message_size)

        def one(agent_key: Key[Array, ""]) -> PyTree:
            encoder_key, own_key, heard_key = jax.random.split(agent_key, 3)
            params = {
                "encoder": self._encoder.init(encoder_key, jnp.zeros(self.observation_size)),
                "own": [self._mix.init(k, hidden) for k in jax.random.split(own_key, self.rounds)],
            }
            if alone:
                return params
            return params | {
                "heard": [
                    self._mix.init(k, hidden) for k in jax.random.split(heard_key, self.rounds)
                ],
            }

        return init_per_agent(one, key, self.num_agents, self.shared)

    def encode(
        self, params: PyTree, observation: Float[Array, "*batch N O"]
    ) -> tuple[Float[Array, "*batch N H"], Float[Array, "*batch N H"]]:
        """h0, both as the feature and as the message."""
        hidden = jnp.tanh(self._encoded(params, observation))
        return hidden, hidden

    def aggregate(
        self,
        params: PyTree,
        observation: Float[Array, "*batch N O"],
        feature: Float[Array, "*batch N H"],
        delivered: Float[Array, "*batch N H"],
        edges: Float[Array, "*batch N N-1"],
        selective: bool = False,
    ) -> Float[Array, "*batch N H"]:
        """The hidden states after the last round."""
        del selective
        encoded = self._encoded(params, observation)
        weight = fill_diagonal(edges)
        if self.mean:
            weight = weight / jnp.maximum(1.0, jnp.sum(weight, axis=-1, keepdims=True))
        hidden, heard_from = feature, delivered
        for k in range(self.rounds):
            heard = jnp.einsum("...ij,...jh->...ih", weight, heard_from)
            hidden = jnp.tanh(
                encoded
                + self._mixed(params["own"][k], hidden)
                + self._mixed(params["heard"][k], heard)
            )
            heard_from = delivered if self.latency else hidden
        return hidden

    def alone(
        self,
        params: PyTree,
        observation: Float[Array, "*batch N O"],
        feature: Float[Array, "*batch N H"],
    ) -> Float[Array, "*batch N H"]:
        """The rounds without what is heard."""
        encoded = self._encoded(params, observation)
        hidden = feature
        for k in range(self.rounds):
            hidden = jnp.tanh(encoded + self._mixed(params["own"][k], hidden))
        return hidden

    def _encoded(self, params: PyTree, observation: Float[Array, "*batch N O"]) -> Array:
        return per_agent(self._encoder.apply, self.shared)(params["encoder"], observation)

    def _mixed(self, kernel: PyTree, hidden: Float[Array, "*batch N H"]) -> Array:
        return per_agent(self._mix.apply, self.shared)(kernel, hidden)
