"""TarMAC (Das et al. 2019, arXiv 1810.11187): senders sign their messages, and receivers attend to signatures."""

from __future__ import annotations

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from purejax_mgtopo.algorithm.edges import fill_diagonal
from purejax_mgtopo.algorithm.messages.attention import (
    ATTENTION,
    ATTENTION_MEASURES,
    attention,
    attention_measures,
)
from purejax_mgtopo.algorithm.networks import init_per_agent, per_agent
from purejax_mgtopo.algorithm.part import (
    Announced,
    Context,
    Encoded,
    Heard,
    Interpreter,
    Learned,
    Moment,
    Shown,
    arriving,
)
from purejax_mgtopo.algorithm.types import Edges, Gates, PyTree, Seen, Sizes, Trajectory
from purejax_mgtopo.config import Experiment

KEY, VALUE = 16, 32


class TarMAC(Interpreter):
    """``h <- tanh(W [c, h])`` in each of ``message.rounds`` rounds, with ``c_i = sum_j alpha_ij v_j`` and ``alpha_i =
    softmax_j(q_i k_j / 4)`` over those from whom i receives, and i itself.

    A message is a signature k (16) and a value v (32), both linear in the sender's h; all rounds share their weights.
    With next-step delivery every round hears the previous step's first messages, and the receiver its own of now.
    Differences from the original: rounds within a step and a feed-forward h instead of a GRU whose messages arrive in
    the next step (``message.latency = 1``); the policy learns from the critic.
    """

    measures: ClassVar[Announced] = ATTENTION_MEASURES

    def __init__(self, experiment: Experiment, sizes: Sizes, edges: Edges = Edges.ANY) -> None:
        super().__init__(experiment, sizes, edges)
        self.feature_size = experiment.learner.hidden
        self.message_size = KEY + VALUE
        self.rounds = experiment.message.rounds
        self.scale = experiment.member.tarmac.score_scale
        self.shared = experiment.learner.share_parameters
        self._encoder = nn.Dense(self.feature_size)
        self._signed = nn.Dense(KEY + VALUE)
        self._query = nn.Dense(KEY)
        self._update = nn.Dense(self.feature_size)

    def init_params(self, key: Key[Array, ""]) -> PyTree:
        """``{"encoder", "signed", "query", "update"}`` for each agent, stacked (a single one if shared).

        Without "query" if nobody is ever heard.
        """
        hidden = jnp.zeros(self.feature_size)

        def one(agent_key: Key[Array, ""]) -> PyTree:
            encoder_key, signed_key, query_key, update_key = jax.random.split(agent_key, 4)
            joined = jnp.zeros(VALUE + self.feature_size)
            params = {
                "encoder": self._encoder.init(encoder_key, jnp.zeros(self.sizes.observation)),
                "signed": self._signed.init(signed_key, hidden),
                "update": self._update.init(update_key, joined),
            }
            if self.edges is Edges.NEVER:
                return params
            return params | {"query": self._query.init(query_key, hidden)}

        return init_per_agent(one, key, self.sizes.agents, self.shared)

    def encode(
        self,
        params: PyTree,
        acting: PyTree,
        observation: Float[Array, "*batch N O"],
        moment: Moment,
    ) -> Encoded:
        """h0, and the message made of it."""
        del acting
        encoder = per_agent(self._encoder.apply, self.shared)
        hidden = jnp.tanh(encoder(params["encoder"], observation))
        return Encoded(hidden, self._message(params, hidden), moment.carry)

    def hear(
        self, params: PyTree, acting: PyTree, seen: Seen, gates: Gates, moment: Moment
    ) -> Heard:
        """h after the last round."""
        del acting
        hidden, own, arrived = seen.feature, seen.message, seen.delivered
        for _ in range(self.rounds):
            context = self._context(params, hidden, own, arrived, gates)
            joined = jnp.concatenate([context, hidden], axis=-1)
            hidden = jnp.tanh(per_agent(self._update.apply, self.shared)(params["update"], joined))
            own = self._message(params, hidden)
            arrived = seen.delivered if self.latency else own
        return Heard(hidden, moment.carry)

    def learn(self, state: PyTree, trajectory: Trajectory, context: Context) -> Learned:
        """Nothing; tells where the attention goes."""
        return Learned(state, attention_measures(trajectory, context))

    def shown(self, params: PyTree, trajectory: Trajectory, seen: Seen) -> Shown:
        """How much each agent makes of each message in the first round, its own too."""
        if self.edges is Edges.NEVER:
            return Shown()
        gates = arriving(trajectory.delivering, seen)
        weight = self.weights(params, seen.feature, seen.message, seen.delivered, gates)
        return Shown(pairs={ATTENTION: weight})

    def weights(
        self,
        params: PyTree,
        hidden: Float[Array, "*batch N H"],
        own: Float[Array, "*batch N M"],
        arrived: Float[Array, "*batch N M"],
        gates: Gates,
    ) -> Float[Array, "*batch N N"]:
        """How much each agent makes of each message, its own on the diagonal; rows sum to 1."""
        query = per_agent(self._query.apply, self.shared)(params["query"], hidden)
        myself = jnp.eye(self.sizes.agents, dtype=query.dtype)
        others = jnp.einsum("...ik,...jk->...ij", query, arrived[..., :KEY])
        mine = jnp.sum(query * own[..., :KEY], axis=-1, keepdims=True)
        score = jnp.where(myself > 0, mine, others) / self.scale
        return attention(score, fill_diagonal(gates.decision) + myself)

    def _context(
        self, params: PyTree, hidden: Array, own: Array, arrived: Array, gates: Gates
    ) -> Float[Array, "*batch N V"]:
        value = own[..., KEY:]
        if self.edges is Edges.NEVER:
            return value
        weight = self.weights(params, hidden, own, arrived, gates)
        myself = jnp.eye(self.sizes.agents, dtype=weight.dtype)
        mine = jnp.sum(weight * myself, axis=-1, keepdims=True)
        return mine * value + (weight * (1 - myself)) @ arrived[..., KEY:]

    def _message(self, params: PyTree, hidden: Float[Array, "*batch N H"]) -> Array:
        return per_agent(self._signed.apply, self.shared)(params["signed"], hidden)
