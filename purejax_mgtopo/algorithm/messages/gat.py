"""Two rounds of graph attention: the channel of MAGIC (Niu, Paleja & Gombolay, AAMAS 2021)."""

from __future__ import annotations

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from purejax_mgtopo.algorithm.edges import fill_diagonal
from purejax_mgtopo.algorithm.messages.attention import ATTENTION, attention, attention_measures
from purejax_mgtopo.algorithm.networks import apply, init_per_agent, per_agent
from purejax_mgtopo.algorithm.part import (
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
from purejax_mgtopo.errors import require

HEADS, SLOPE = 4, 0.2


class GraphAttention(Interpreter):
    """``sum_j alpha_ij W h_j`` over those from whom i receives and i itself, with ``alpha_i = softmax_j LeakyReLU(a W
    h_i + b W h_j)`` over the same: four heads side by side and ELU, then one head. The policy reads ``[h, z]``.

    Closed edges have no weight and take no part in the softmax, where the authors leave them in the denominator. Every
    agent reads itself, lest those who hear nobody in the first round have nothing to say in the second. With next-step
    delivery both rounds hear the previous step's h of the others.
    """

    measures: ClassVar[tuple[str, ...]] = ("attention_to_others",)

    def __init__(self, experiment: Experiment, sizes: Sizes, edges: Edges = Edges.ANY) -> None:
        super().__init__(experiment, sizes, edges)
        hidden = experiment.learner.hidden
        require(
            hidden % HEADS == 0,
            f"gat splits messages over {HEADS} heads: learner.hidden ({hidden}) must be a multiple of {HEADS}",
        )
        self.feature_size = self.message_size = hidden
        self.heard_size = 2 * hidden
        self.shared = experiment.learner.share_parameters
        self._encoder = nn.Dense(hidden)
        self._heads = (Heads(HEADS, hidden // HEADS), Heads(1, hidden))

    @property
    def edge_bits(self) -> int:
        """Bits that pass over an open edge in one step: a message in each round."""
        return super().edge_bits * len(self._heads)

    def init_params(self, key: Key[Array, ""]) -> PyTree:
        """``{"encoder", "rounds": two}`` for each agent, stacked (a single one if shared)."""
        hidden = jnp.zeros(self.feature_size)

        def one(agent_key: Key[Array, ""]) -> PyTree:
            encoder_key, *round_keys = jax.random.split(agent_key, 3)
            pairs = zip(self._heads, round_keys, strict=True)
            return {
                "encoder": self._encoder.init(encoder_key, jnp.zeros(self.sizes.observation)),
                "rounds": [heads.init(k, hidden, hidden[None]) for heads, k in pairs],
            }

        return init_per_agent(one, key, self.sizes.agents, self.shared)

    def encode(
        self,
        params: PyTree,
        acting: PyTree,
        observation: Float[Array, "*batch N O"],
        moment: Moment,
    ) -> Encoded:
        """h, both as the feature and as the message."""
        del acting
        encoder = per_agent(self._encoder.apply, self.shared)
        hidden = jnp.tanh(encoder(params["encoder"], observation))
        return Encoded(hidden, hidden, moment.carry)

    def hear(
        self, params: PyTree, acting: PyTree, seen: Seen, gates: Gates, moment: Moment
    ) -> Heard:
        """h, and what the second round makes of it and of the others."""
        del acting
        shape = (*seen.feature.shape[:-1], self.sizes.agents)
        openness = jnp.broadcast_to(jnp.eye(self.sizes.agents), shape)
        if self.edges is not Edges.NEVER:
            openness = openness + fill_diagonal(gates.decision)
        z = self._rounds(params, seen, openness)[0]
        return Heard(jnp.concatenate([seen.feature, z], axis=-1), moment.carry)

    def learn(self, state: PyTree, trajectory: Trajectory, context: Context) -> Learned:
        """Nothing; tells where the attention goes."""
        return Learned(state, attention_measures(trajectory, context))

    def shown(self, params: PyTree, trajectory: Trajectory, seen: Seen) -> Shown:
        """How much each agent makes of each other in the second round, and of itself."""
        if self.edges is Edges.NEVER:
            return Shown()
        gates = arriving(trajectory.gates, seen)
        openness = jnp.eye(self.sizes.agents) + fill_diagonal(gates.decision)
        return Shown(pairs={ATTENTION: self._rounds(params, seen, openness)[1][..., 0, :]})

    def _rounds(
        self, params: PyTree, seen: Seen, openness: Float[Array, "*batch N N"]
    ) -> tuple[Float[Array, "*batch N H"], Float[Array, "*batch N 1 N"]]:
        """What comes of both rounds, and the weights of the second."""
        first, second = params["rounds"]
        own = nn.elu(self._read(0, first, seen.feature, seen.delivered, openness)[0])
        return self._read(1, second, own, seen.delivered if self.latency else own, openness)

    def _read(
        self,
        number: int,
        params: PyTree,
        own: Float[Array, "*batch N H"],
        arrived: Float[Array, "*batch N H"],
        openness: Float[Array, "*batch N N"],
    ) -> tuple[Float[Array, "*batch N H"], Float[Array, "*batch N heads N"]]:
        """What one round makes of what arrives: each receiver's own heads read every sender, and itself."""
        heads = self._heads[number]

        def one(
            params: PyTree,
            own: Float[Array, "*batch H"],
            row: Float[Array, "*batch N"],
            myself: Float[Array, " N"],
            arrived: Float[Array, "*batch N H"],
        ) -> tuple[Float[Array, "*batch H"], Float[Array, "*batch heads N"]]:
            sent = jnp.where(myself[:, None] > 0, own[..., None, :], arrived)
            value, score = apply(heads, params, own, sent)
            weight = attention(score, jnp.broadcast_to(row[..., None, :], score.shape))
            heard = jnp.einsum("...hj,...jhw->...hw", weight, value)
            return heard.reshape(*heard.shape[:-2], -1), weight

        axes = (None if self.shared else 0, -2, -2, 0, None)
        me = jnp.eye(self.sizes.agents)
        return jax.vmap(one, in_axes=axes, out_axes=(-2, -3))(params, own, openness, me, arrived)


class Heads(nn.Module):
    """``W h`` of all senders, and how much one receiver wants to hear of each, by every head."""

    heads: int
    width: int

    @nn.compact
    def __call__(
        self, own: Float[Array, "*batch H"], sent: Float[Array, "*batch N H"]
    ) -> tuple[Float[Array, "*batch N heads W"], Float[Array, "*batch heads N"]]:
        transform = nn.Dense(self.heads * self.width, use_bias=False)
        mine = transform(own).reshape(*own.shape[:-1], self.heads, self.width)
        value = transform(sent).reshape(*sent.shape[:-1], self.heads, self.width)
        a, b = (
            self.param(name, nn.initializers.lecun_normal(), (self.width, self.heads))
            for name in ("receiver", "sender")
        )
        receiver = jnp.einsum("...hw,wh->...h", mine, a)
        sender = jnp.einsum("...hw,wh->...h", value, b)
        score = receiver[..., None] + jnp.swapaxes(sender, -1, -2)
        return value, nn.leaky_relu(score, SLOPE)
