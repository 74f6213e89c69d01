"""CommNet (Sukhbaatar, Szlam & Fergus 2016, arXiv 1605.07736): hidden states are averaged and exchanged."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from purejax_mgtopo.algorithm.edges import fill_diagonal
from purejax_mgtopo.algorithm.networks import init_per_agent, per_agent
from purejax_mgtopo.algorithm.part import Encoded, Heard, Interpreter, Moment
from purejax_mgtopo.algorithm.types import Edges, Gates, PyTree, Seen, Sizes
from purejax_mgtopo.config import Experiment


class CommNet(Interpreter):
    """``h0 = tanh(E o)``; in each of K rounds ``h <- tanh(E o + H_k h + C_k c)`` with c the received hidden states.

    ``c_i = sum_j G_ij h_j / max(1, sum_j G_ij)``; ``message.aggregate = "sum"`` drops the denominator, ``"others"``
    takes N - 1 (IC3Net). ``message.share_hops`` makes H and C the same in all rounds, as in the released code. An agent
    does not hear itself. K counts exchanges: the original code counts the encoding as a hop, so that its two hops
    are one exchange here. With next-step delivery every round hears the previous step's h0. Differences from the
    original: a deterministic policy and a centralised critic instead of softmax and REINFORCE; no recurrence over
    time.
    """

    def __init__(self, experiment: Experiment, sizes: Sizes, edges: Edges = Edges.ANY) -> None:
        super().__init__(experiment, sizes, edges)
        self.feature_size = self.message_size = experiment.learner.hidden
        self.rounds = experiment.message.rounds
        self.aggregate = experiment.message.aggregate
        self.kernels = 1 if experiment.message.share_hops else self.rounds
        self.shared = experiment.learner.share_parameters
        self._encoder = nn.Dense(self.message_size)
        self._mix = nn.Dense(self.message_size, use_bias=False)

    def init_params(self, key: Key[Array, ""]) -> PyTree:
        """``{"encoder", "own": K kernels, "heard": K kernels}`` for each agent, stacked (a single one if shared).

        One kernel each if hops share; without "heard" if nothing is.
        """
        hidden = jnp.zeros(self.message_size)

        def one(agent_key: Key[Array, ""]) -> PyTree:
            encoder_key, own_key, heard_key = jax.random.split(agent_key, 3)
            params = {
                "encoder": self._encoder.init(encoder_key, jnp.zeros(self.sizes.observation)),
                "own": [self._mix.init(k, hidden) for k in jax.random.split(own_key, self.kernels)],
            }
            if self.edges is Edges.NEVER:
                return params
            return params | {
                "heard": [
                    self._mix.init(k, hidden) for k in jax.random.split(heard_key, self.kernels)
                ],
            }

        return init_per_agent(one, key, self.sizes.agents, self.shared)

    def encode(
        self,
        params: PyTree,
        acting: PyTree,
        observation: Float[Array, "*batch N O"],
        moment: Moment,
    ) -> Encoded:
        """h0, both as the feature and as the message."""
        del acting
        hidden = jnp.tanh(self._encoded(params, observation))
        return Encoded(hidden, hidden, moment.carry)

    def hear(
        self, params: PyTree, acting: PyTree, seen: Seen, gates: Gates, moment: Moment
    ) -> Heard:
        """The hidden states after the last round."""
        del acting
        encoded = self._encoded(params, seen.observation)
        hidden, heard_from = seen.feature, seen.delivered
        if self.edges is Edges.NEVER:
            for own in self._each_round(params["own"]):
                hidden = jnp.tanh(encoded + self._mixed(own, hidden))
            return Heard(hidden, moment.carry)
        weight = fill_diagonal(gates.decision)
        if self.aggregate == "mean":
            weight = weight / jnp.maximum(1.0, jnp.sum(weight, axis=-1, keepdims=True))
        elif self.aggregate == "others":
            weight = weight / (self.sizes.agents - 1)
        kernels = (self._each_round(params[name]) for name in ("own", "heard"))
        for own, other in zip(*kernels, strict=True):
            heard = jnp.einsum("...ij,...jh->...ih", weight, heard_from)
            hidden = jnp.tanh(encoded + self._mixed(own, hidden) + self._mixed(other, heard))
            heard_from = seen.delivered if self.latency else hidden
        return Heard(hidden, moment.carry)

    def _each_round(self, kernels: list[PyTree]) -> list[PyTree]:
        return kernels * self.rounds if len(kernels) < self.rounds else kernels

    def _encoded(self, params: PyTree, observation: Float[Array, "*batch N O"]) -> Array:
        return per_agent(self._encoder.apply, self.shared)(params["encoder"], observation)

    def _mixed(self, kernel: PyTree, hidden: Float[Array, "*batch N H"]) -> Array:
        return per_agent(self._mix.apply, self.shared)(kernel, hidden)
