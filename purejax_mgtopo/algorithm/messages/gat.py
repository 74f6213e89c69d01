"""Two rounds of graph attention: the channel of MAGIC (Niu, Paleja & Gombolay, AAMAS 2021)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.initializers import lecun_normal
from jaxtyping import Array, Float, Key

from purejax_mgtopo.algorithm.edges import fill_diagonal
from purejax_mgtopo.algorithm.kernels.stored import product
from purejax_mgtopo.algorithm.kernels.thin_matmul import thin_matmul
from purejax_mgtopo.algorithm.messages.attention import (
    ATTENTION,
    ATTENTION_MEASURES,
    attention,
    attention_among_all,
    attention_measures,
)
from purejax_mgtopo.algorithm.networks import apply, init_per_agent, per_agent
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
from purejax_mgtopo.errors import require

HEADS, SLOPE = 4, 0.2


class GraphAttention(Interpreter):
    """``sum_j alpha_ij W h_j`` over those from whom i receives and i itself, with ``alpha_i = softmax_j LeakyReLU(a W
    h_i + b W h_j)`` over the same: four heads side by side and ELU, then one head. The policy reads ``[h, z]``.

    Closed edges have no weight and take no part in the softmax; the authors leave them in the denominator
    (``member.gat.normalise = false``). Every
    agent reads itself, lest those who hear nobody in the first round have nothing to say in the second. With next-step
    delivery both rounds hear the previous step's h of the others.
    """

    measures: ClassVar[Announced] = ATTENTION_MEASURES
    graphs: ClassVar[int] = 2

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
        self._weigh = attention if experiment.member.gat.normalise else attention_among_all
        self._heads = (Heads(hidden, HEADS, hidden // HEADS), Heads(hidden, 1, hidden))
        self.rounds = len(self._heads)

    def init_params(self, key: Key[Array, ""]) -> PyTree:
        """``{"encoder", "rounds": two}`` for each agent, stacked (a single one if shared)."""

        def one(agent_key: Key[Array, ""]) -> PyTree:
            encoder_key, *round_keys = jax.random.split(agent_key, 3)
            pairs = zip(self._heads, round_keys, strict=True)
            return {
                "encoder": self._encoder.init(encoder_key, jnp.zeros(self.sizes.observation)),
                "rounds": [heads.init(k) for heads, k in pairs],
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
        myself = jnp.broadcast_to(jnp.eye(self.sizes.agents), shape)
        graphs = [myself, myself]
        if self.edges is not Edges.NEVER:
            graphs = self._graphs(gates)
        z = self._rounds(params, seen, graphs)[0]
        return Heard(jnp.concatenate([seen.feature, z], axis=-1), moment.carry)

    def learn(self, state: PyTree, trajectory: Trajectory, context: Context) -> Learned:
        """Nothing; tells where the attention goes."""
        return Learned(state, attention_measures(trajectory, context))

    def shown(self, params: PyTree, trajectory: Trajectory, seen: Seen) -> Shown:
        """How much each agent makes of each other in the second round, and of itself."""
        if self.edges is Edges.NEVER:
            return Shown()
        graphs = self._graphs(arriving(trajectory.delivering, seen))
        return Shown(pairs={ATTENTION: self._rounds(params, seen, graphs)[1][..., 0, :]})

    def _graphs(self, gates: Gates) -> list[Float[Array, "*batch N N"]]:
        """Whom each agent reads in either round: itself always."""
        myself = jnp.eye(self.sizes.agents)
        return [myself + fill_diagonal(edges) for edges in (gates.decision, gates.second)]

    def _rounds(
        self, params: PyTree, seen: Seen, graphs: list[Float[Array, "*batch N N"]]
    ) -> tuple[Float[Array, "*batch N H"], Float[Array, "*batch N 1 N"]]:
        """What comes of both rounds, and the weights of the second."""
        first, second = params["rounds"]
        own = nn.elu(self._read(0, first, seen.feature, seen.delivered, graphs[0])[0])
        return self._read(1, second, own, seen.delivered if self.latency else own, graphs[1])

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
        kernel, receiver, sender = jax.vmap(
            partial(apply, heads), in_axes=None if self.shared else 0, axis_size=self.sizes.agents
        )(params)
        score = _each(thin_matmul)(receiver, own)[..., None] + self._scores(sender, own, arrived)
        openness = jnp.broadcast_to(openness[..., None, :], score.shape)
        weight = self._weigh(nn.leaky_relu(score, SLOPE), openness)
        mixed = self._mixed(weight, own, arrived)
        heard = [_each(product)(kernel[..., h, :], mixed[..., h, :]) for h in range(heads.heads)]
        return jnp.concatenate(heard, axis=-1), weight

    def _scores(
        self,
        sender: Float[Array, "N H heads"],
        own: Float[Array, "*batch N H"],
        arrived: Float[Array, "*batch N H"],
    ) -> Float[Array, "*batch N heads N"]:
        """What every sender's message, and a receiver's own, adds to the receiver's scores."""
        agents, _, heads = sender.shape
        # One product of a message with the columns of all receivers.
        columns = jnp.moveaxis(sender, 0, 1).reshape(-1, agents * heads)
        scores = jnp.swapaxes(thin_matmul(arrived, columns), -1, -2)
        scores = scores.reshape(*own.shape[:-1], heads, agents)
        if not self.latency:
            return scores
        return jnp.where(self._myself > 0, _each(thin_matmul)(sender, own)[..., None], scores)

    def _mixed(
        self,
        weight: Float[Array, "*batch N heads N"],
        own: Float[Array, "*batch N H"],
        arrived: Float[Array, "*batch N H"],
    ) -> Float[Array, "*batch N heads H"]:
        """What each head of each receiver reads, on average, before W."""
        agents = self.sizes.agents
        others = weight * (1 - self._myself) if self.latency else weight
        rows = others.reshape(*own.shape[:-2], -1, agents)
        mixed = (rows @ arrived).reshape(*weight.shape[:-1], -1)
        if not self.latency:
            return mixed
        mine = jnp.sum(weight * self._myself, axis=-1, keepdims=True)
        return mixed + mine * own[..., None, :]

    @property
    def _myself(self) -> Float[Array, "N 1 N"]:
        return jnp.eye(self.sizes.agents)[:, None]


def _each(multiply: Callable[[Array, Array], Array]) -> Callable[[Array, Array], Array]:
    """A product of each agent's rows with its own kernel."""
    return per_agent(lambda kernel, x: multiply(x, kernel), shared=False)


class Heads(nn.Module):
    """W of several heads, and what a and b make of it.

    Senders are weighed before W, not after it: ``sum_j alpha_j W h_j = W sum_j alpha_j h_j``, a product for each
    receiver in place of one for each pair; and scores are products with ``a W`` and ``b W``, a column for each head.
    """

    inputs: int
    heads: int
    width: int

    @nn.compact
    def __call__(
        self,
    ) -> tuple[Float[Array, "I heads W"], Float[Array, "I heads"], Float[Array, "I heads"]]:
        # Under the name that it had as a dense layer, by which files of policies hold it.
        kernel = Kernel(self.inputs, self.heads * self.width, name="Dense_0")()
        kernel = kernel.reshape(self.inputs, self.heads, self.width)
        receiver, sender = (
            self.param(name, lecun_normal(), (self.width, self.heads))
            for name in ("receiver", "sender")
        )
        by_receiver, by_sender = (jnp.einsum("ihw,wh->ih", kernel, v) for v in (receiver, sender))
        return kernel, by_receiver, by_sender


class Kernel(nn.Module):
    """The kernel of a dense layer, for who does not multiply by all of it at once."""

    inputs: int
    outputs: int

    @nn.compact
    def __call__(self) -> Float[Array, "I J"]:
        return self.param("kernel", lecun_normal(), (self.inputs, self.outputs))
