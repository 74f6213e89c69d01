"""ACML's channel (Mao et al. 2019, arXiv 1903.05561): a coordinator reads all messages and answers each agent."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from purejax_mgtopo.algorithm.messages.slots import slots
from purejax_mgtopo.algorithm.networks import apply, per_agent
from purejax_mgtopo.algorithm.part import Encoded, Heard, Interpreter, Moment
from purejax_mgtopo.algorithm.types import Edges, Gates, PyTree, Seen, Sizes
from purejax_mgtopo.config import Experiment

WIDTH = 64


class Coordinated(Interpreter):
    """``z_i = H_i ReLU(W m)``: one coordinator for all agents reads their messages ``m_j = tanh(E o_j)`` of 64 numbers,
    each sender's in a slot of its own, and has an answer for each.

    What does not pass an edge is zeros to it, an agent's own message too, which needs no relay; it has no biases, so
    that silence is answered by zeros. A central relay: who sends what matters, agents cannot be renamed. Generator and
    coordinator are one for all agents, actors are one each unless all parameters are shared. Difference from the
    original: edges may differ by receiver.
    """

    def __init__(self, experiment: Experiment, sizes: Sizes, edges: Edges = Edges.ANY) -> None:
        super().__init__(experiment, sizes, edges)
        self.feature_size = sizes.observation
        self.message_size = WIDTH
        self._generator = nn.Dense(WIDTH)
        self._trunk = nn.Dense(experiment.learner.hidden, use_bias=False)
        self._answer = nn.Dense(experiment.learner.hidden, use_bias=False)

    def init_params(self, key: Key[Array, ""]) -> PyTree:
        """``{"generator", "trunk", "answer": one for each agent}``; nothing if nobody is ever heard."""
        if self.edges is Edges.NEVER:
            return ()
        generator_key, trunk_key, answer_key = jax.random.split(key, 3)
        agents = self.sizes.agents
        hidden = jnp.zeros(self.heard_size)
        return {
            "generator": self._generator.init(generator_key, jnp.zeros(self.sizes.observation)),
            "trunk": self._trunk.init(trunk_key, jnp.zeros(agents * WIDTH)),
            "answer": jax.vmap(lambda k: self._answer.init(k, hidden))(
                jax.random.split(answer_key, agents)
            ),
        }

    def encode(
        self,
        params: PyTree,
        acting: PyTree,
        observation: Float[Array, "*batch N O"],
        moment: Moment,
    ) -> Encoded:
        """The observation, and the message made of it."""
        del acting
        if self.edges is Edges.NEVER:
            message = jnp.zeros((*observation.shape[:-1], WIDTH))
            return Encoded(observation, message, moment.carry)
        message = jnp.tanh(apply(self._generator, params["generator"], observation))
        return Encoded(observation, message, moment.carry)

    def hear(
        self, params: PyTree, acting: PyTree, seen: Seen, gates: Gates, moment: Moment
    ) -> Heard:
        """The coordinator's answers."""
        del acting
        if self.edges is Edges.NEVER:
            return Heard(None, moment.carry)
        arrived = slots(seen.delivered, gates)
        hidden = nn.relu(apply(self._trunk, params["trunk"], arrived))
        answer = per_agent(self._answer.apply, shared=False)(params["answer"], hidden)
        return Heard(answer, moment.carry)
