"""Messages that pass on what was heard: the channel of ExpoComm (Li et al., ICLR 2025)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import optax
from flax.linen.initializers import lecun_normal
from jaxtyping import Array, Float, Key

from purejax_mgtopo.algorithm.edges import fill_diagonal
from purejax_mgtopo.algorithm.messages.attention import ATTENTION, attention
from purejax_mgtopo.algorithm.networks import MLP, apply, init_per_agent, per_agent
from purejax_mgtopo.algorithm.part import (
    Announced,
    Context,
    Encoded,
    Heard,
    Interpreter,
    Learned,
    Moment,
    Shown,
    Value,
    arriving,
)
from purejax_mgtopo.algorithm.types import Edges, Gates, PyTree, Seen, Sizes, Trajectory
from purejax_mgtopo.config import Experiment

if TYPE_CHECKING:
    from purejax_mgtopo.algorithm.team import Step

KEY = 32


@flax.struct.dataclass
class Predictor:
    """The network that tells the team's observations from a message, and its Adam state."""

    params: PyTree
    optimizer: PyTree


class Relay(Interpreter):
    """``m <- GRU(m, ReLU(P [h, c]))`` is what an agent sends, with ``h = tanh(E o)`` and ``c = V sum_j alpha_ij m_j``
    over those from whom it receives, ``alpha_i = softmax_j(m_j . K Q h_i / sqrt(32))``; the policy reads ``[h, m]``.

    With next-step delivery news travel on, an edge a step: over an exponential graph to everybody in log N steps. With
    same-step delivery what is sent is m as if nothing was heard. Messages are grounded by a loss of their own
    (``member.relay.auxiliary``): from each of them a network tells what all agents see. Replayed windows of
    ``member.relay.window`` steps begin with an empty memory; what has travelled longer is acted on, and not learned
    from. Differences from the original: it has GRUs where one peer is heard at a time, and bare attention over several;
    agents have no memory besides; the joint observation stands for the state.
    """

    measures: ClassVar[Announced] = {
        "grounding_error": "mean squared error with which what all agents see is told from a message",
    }

    def __init__(self, experiment: Experiment, sizes: Sizes, edges: Edges = Edges.ANY) -> None:
        super().__init__(experiment, sizes, edges)
        settings, hidden = experiment.member.relay, experiment.learner.hidden
        self.feature_size = self.message_size = hidden
        self.heard_size = 2 * hidden
        self.memory = max(settings.window - 1, self.latency)
        self.auxiliary = settings.auxiliary
        self.shared = experiment.learner.share_parameters
        self._layers = {
            "encoder": (nn.Dense(hidden), sizes.observation),
            "processor": (nn.Dense(hidden), 2 * hidden),
            "query": (nn.Dense(KEY), hidden),
            "key": (nn.Dense(hidden, use_bias=False), KEY),
            "value": (nn.Dense(hidden, use_bias=False), hidden),
        }
        # Not the orthogonal kernel that is its default: see `LSTM`.
        self._cell = nn.GRUCell(hidden, recurrent_kernel_init=lecun_normal())
        self._predictor = MLP((hidden, sizes.agents * sizes.observation))
        self._adam = optax.adam(experiment.learner.policy_learning_rate)

    def init_params(self, key: Key[Array, ""]) -> PyTree:
        """``{"cell", "encoder", "processor", "query", "key", "value"}`` for each agent, stacked (one alone if shared).

        Without the last three if nobody is ever heard.
        """
        names = list(self._layers)[: 2 if self.edges is Edges.NEVER else None]

        def one(agent_key: Key[Array, ""]) -> PyTree:
            cell_key, *keys = jax.random.split(agent_key, 1 + len(self._layers))
            params = {}
            for name, own in zip(names, keys, strict=False):
                layer, width = self._layers[name]
                params[name] = layer.init(own, jnp.zeros(width))
            start = jnp.zeros(self.message_size)
            return params | {"cell": self._cell.init(cell_key, start, start)}

        return init_per_agent(one, key, self.sizes.agents, self.shared)

    def init(self, key: Key[Array, ""]) -> Predictor | tuple[()]:
        """A fresh predictor, if messages are to be grounded."""
        if not self.auxiliary:
            return ()

        def one(agent_key: Key[Array, ""]) -> PyTree:
            return self._predictor.init(agent_key, jnp.zeros(self.message_size))

        params = init_per_agent(one, key, self.sizes.agents, self.shared)
        return Predictor(params, self._adam.init(params))

    def acting(self, state: Predictor | tuple[()]) -> PyTree:
        """The predictor's parameters: the policy loss asks for it."""
        return () if isinstance(state, tuple) else state.params

    def initial_carry(self, batch: tuple[int, ...]) -> Float[Array, "*batch N H"]:
        """Own messages: empty."""
        return jnp.zeros((*batch, self.sizes.agents, self.message_size))

    def encode(
        self,
        params: PyTree,
        acting: PyTree,
        observation: Float[Array, "*batch N O"],
        moment: Moment,
    ) -> Encoded:
        """h, and the message of an agent that hears nothing."""
        del acting
        hidden = jnp.tanh(self._apply("encoder", params, observation))
        message = self._carried(params, hidden, jnp.zeros_like(hidden), moment.carry)
        return Encoded(hidden, message, moment.carry)

    def hear(
        self, params: PyTree, acting: PyTree, seen: Seen, gates: Gates, moment: Moment
    ) -> Heard:
        """h, and the message after hearing; with next-step delivery that is what is sent."""
        del acting
        told = jnp.zeros_like(seen.feature)
        if self.edges is not Edges.NEVER:
            weight = self.weights(params, seen.feature, seen.delivered, gates)
            told = self._apply("value", params, weight @ seen.delivered)
        message = self._carried(params, seen.feature, told, moment.carry)
        z = jnp.concatenate([seen.feature, message], axis=-1)
        return Heard(z, message, message=message if self.latency else None)

    def weights(
        self,
        params: PyTree,
        hidden: Float[Array, "*batch N H"],
        arrived: Float[Array, "*batch N H"],
        gates: Gates,
    ) -> Float[Array, "*batch N N"]:
        """How much each agent makes of each message; rows sum to 1, or to 0 where nothing arrives."""
        asked = self._apply("key", params, self._apply("query", params, hidden))
        score = asked @ jnp.swapaxes(arrived, -1, -2) / KEY**0.5
        return attention(score, fill_diagonal(gates.decision))

    def penalty(self, acting: PyTree, step: Step, value: Value) -> Float[Array, ""] | float:
        """How badly what all agents see is told from each message, weighted."""
        del value
        if not self.auxiliary:
            return 0.0
        sent = step.seen.message if isinstance(step.sent, tuple) else step.sent
        return self.auxiliary * self._error(acting, sent, step.seen.observation)

    def learn(
        self, state: Predictor | tuple[()], trajectory: Trajectory, context: Context
    ) -> Learned:
        """One Adam step of the predictor down the policy loss; tells its error on the newest trajectory."""
        if isinstance(state, tuple):
            return Learned(state, {"grounding_error": jnp.zeros(())})
        sent = trajectory.message if isinstance(trajectory.sent, tuple) else trajectory.sent
        error = self._error(state.params, sent, trajectory.observation[:-1])
        updates, optimizer = self._adam.update(context.policy_gradient, state.optimizer)
        params = optax.apply_updates(state.params, updates)
        return Learned(Predictor(params, optimizer), {"grounding_error": error})

    def shown(self, params: PyTree, trajectory: Trajectory, seen: Seen) -> Shown:
        """How much each agent makes of each other's message."""
        if self.edges is Edges.NEVER:
            return Shown()
        gates = arriving(trajectory.delivering, seen)
        return Shown(pairs={ATTENTION: self.weights(params, seen.feature, seen.delivered, gates)})

    def _carried(self, params: PyTree, hidden: Array, told: Array, message: Array) -> Array:
        """The GRU's next state."""
        read = nn.relu(self._apply("processor", params, jnp.concatenate([hidden, told], axis=-1)))

        def cell(own: PyTree, state: Array, inputs: Array) -> Array:
            return apply(self._cell, own, state, inputs)[1]

        return per_agent(cell, self.shared)(params["cell"], message, read)

    def _error(
        self,
        predictor: PyTree,
        message: Float[Array, "*batch N H"],
        observation: Float[Array, "*batch N O"],
    ) -> Float[Array, ""]:
        """Mean squared error of what is told of all observations, over messages and numbers."""
        told = per_agent(self._predictor.apply, self.shared)(predictor, message)
        joined = jax.lax.stop_gradient(observation).reshape(*observation.shape[:-2], 1, -1)
        return jnp.mean(jnp.square(told - joined))

    def _apply(self, name: str, params: PyTree, x: Array) -> Array:
        return per_agent(self._layers[name][0].apply, self.shared)(params[name], x)
