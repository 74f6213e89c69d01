"""ATOC's channel (Jiang & Lu 2018, arXiv 1805.07733): a bidirectional LSTM integrates the thoughts of a group."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from purejax_mgtopo.algorithm.edges import fill_diagonal
from purejax_mgtopo.algorithm.kernels.cell import activated, rows_of
from purejax_mgtopo.algorithm.kernels.stored import product
from purejax_mgtopo.algorithm.messages.lstm import MessageLSTM
from purejax_mgtopo.algorithm.networks import apply, init_per_agent, per_agent
from purejax_mgtopo.algorithm.part import Encoded, Heard, Interpreter, Moment
from purejax_mgtopo.algorithm.types import Edges, Gates, Groups, PyTree, Seen, Sizes
from purejax_mgtopo.config import Experiment
from purejax_mgtopo.errors import require

FORWARD, BACKWARD = "forward", "backward"


class IntegratedThoughts(Interpreter):
    """``z = V h + W h~`` with the thought ``h = tanh(E o)``, and h~ the integrated one: what a bidirectional LSTM, one
    for all groups, has at the agent's place after reading the members' thoughts by index; zeros outside groups.

    Groups come from the rule's ``aux`` and are processed one after the other: who is in two of them brings to the
    second what came of the first. A member who hears nobody keeps its thought. Under rules without groups each agent
    reads those from whom it receives, and itself. With next-step delivery all read thoughts of the step before.
    ``member.atoc.stop_thoughts`` keeps derivatives from senders, as a build of a third party does.
    """

    def __init__(self, experiment: Experiment, sizes: Sizes, edges: Edges = Edges.ANY) -> None:
        super().__init__(experiment, sizes, edges)
        hidden = experiment.learner.hidden
        require(
            hidden % 2 == 0,
            f"atoc reads thoughts in two directions: learner.hidden ({hidden}) must be even",
        )
        self.feature_size = self.message_size = hidden
        self.stops = experiment.member.atoc.stop_thoughts
        self.shared = experiment.learner.share_parameters
        self._encoder = nn.Dense(hidden)
        self._own = nn.Dense(hidden)
        self._integrated = nn.Dense(hidden, use_bias=False)
        self._lstm = MessageLSTM(hidden, hidden // 2)

    def init_params(self, key: Key[Array, ""]) -> PyTree:
        """``{"encoder", "own", "integrated"}`` for each agent, stacked (a single one if shared), and ``{"forward",
        "backward"}`` for all.

        Without the last three if nobody is ever heard.
        """
        hidden, talks = jnp.zeros(self.feature_size), self.edges is not Edges.NEVER
        own_key, *lstm_keys = jax.random.split(key, 3)

        def one(agent_key: Key[Array, ""]) -> PyTree:
            encoder_key, own_key, integrated_key = jax.random.split(agent_key, 3)
            params = {
                "encoder": self._encoder.init(encoder_key, jnp.zeros(self.sizes.observation)),
                "own": self._own.init(own_key, hidden),
            }
            heard = {"integrated": self._integrated.init(integrated_key, hidden)}
            return params | (heard if talks else {})

        params = init_per_agent(one, own_key, self.sizes.agents, self.shared)
        if not talks:
            return params
        return params | {
            name: self._lstm.init(k, hidden, method="first")
            for name, k in zip((FORWARD, BACKWARD), lstm_keys, strict=True)
        }

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
        """z."""
        del acting
        z = per_agent(self._own.apply, self.shared)(params["own"], seen.feature)
        if self.edges is Edges.NEVER:
            return Heard(z, moment.carry)
        thought = jax.lax.stop_gradient(seen.delivered) if self.stops else seen.delivered
        mask = fill_diagonal(gates.decision)
        if isinstance(gates.aux, Groups):
            integrated = self._by_groups(params, thought, mask, gates.aux.member)
        else:
            integrated = self._by_receivers(params, thought, mask)
        heard = per_agent(self._integrated.apply, self.shared)(params["integrated"], integrated)
        return Heard(z + heard, moment.carry)

    def _by_groups(
        self,
        params: PyTree,
        thought: Float[Array, "*batch N H"],
        mask: Float[Array, "*batch N N"],
        member: Float[Array, "*batch K N"],
    ) -> Float[Array, "*batch N H"]:
        """Integrated thoughts after the last group."""
        integrated = jnp.zeros_like(thought)
        for group in jnp.moveaxis(member, -2, 0):
            inside = mask * group[..., :, None] * group[..., None, :]
            reads, is_read = jnp.max(inside, axis=-1), jnp.max(inside, axis=-2)
            projected = self._projected(params, thought)
            read = self._read(params, projected, jnp.maximum(reads, is_read))
            changes = reads[..., None] > 0
            integrated = jnp.where(changes, read, integrated)
            thought = jnp.where(changes, read, thought)
        return integrated

    def _by_receivers(
        self,
        params: PyTree,
        thought: Float[Array, "*batch N H"],
        mask: Float[Array, "*batch N N"],
    ) -> Float[Array, "*batch N H"]:
        """Integrated thoughts where each agent reads for itself; differentiable in the mask."""
        myself = jnp.eye(self.sizes.agents, dtype=mask.dtype)
        projected = self._projected(params, thought)[..., None, :]
        read = self._read(params, projected, mask + myself)
        anybody = 1 - jnp.prod(1 - mask, axis=-1, keepdims=True)
        return anybody * jnp.sum(read * myself[..., None], axis=-2)

    def _projected(
        self, params: PyTree, thought: Float[Array, "*batch N H"]
    ) -> Float[Array, "N ways *batch gates"]:
        """What each direction reads place by place, as it comes to them, times its kernel."""
        rows = jnp.moveaxis(thought, -2, 0)

        def of(name: str, rows: Float[Array, "N *batch H"]) -> Float[Array, "N *batch gates"]:
            kernel, bias = self._weights(params, name)
            return product(rows, kernel[: self.message_size]) + bias

        return jnp.stack([of(FORWARD, rows), of(BACKWARD, rows[::-1])], axis=1)

    def _read(
        self,
        params: PyTree,
        projected: Float[Array, "N ways *#batch gates"],
        present: Float[Array, "*batch N"],
    ) -> Float[Array, "*batch N H"]:
        """Both directions' hidden states at each place, over those who are present; both advance at once."""
        recurrent = jnp.stack([self._weights(params, name)[0] for name in (FORWARD, BACKWARD)])
        recurrent = recurrent[:, self.message_size :]
        there = jnp.moveaxis(present, -1, 0)[..., None]
        keeps = jnp.stack([there, there[::-1]], axis=1)
        hidden = cell = jnp.zeros((*keeps.shape[1:-1], recurrent.shape[1]))
        states: list[Array] = []
        for gates, keep in zip(rows_of(projected), keeps, strict=True):
            if states:
                gates = gates + jax.vmap(product)(hidden, recurrent)
            i, f, g, o = activated(gates)
            new_cell = f * cell + i * g
            new_hidden = o * jnp.tanh(new_cell)
            hidden = keep * new_hidden + (1 - keep) * hidden
            cell = keep * new_cell + (1 - keep) * cell
            states.append(hidden)
        forward, backward = (
            jnp.stack([state[way] for state in order], axis=-2)
            for way, order in enumerate((states, states[::-1]))
        )
        return jnp.concatenate([forward, backward], axis=-1)

    def _weights(self, params: PyTree, way: str) -> tuple[Array, Array]:
        return apply(self._lstm, params[way], method="weights")
