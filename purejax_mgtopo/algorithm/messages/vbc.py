"""VBC's combiner (Zhang, Zhang & Lin 2019, arXiv 1909.02682): what is heard is added to what an agent does."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from purejax_mgtopo.algorithm.edges import fill_diagonal
from purejax_mgtopo.algorithm.networks import init_per_agent, per_agent
from purejax_mgtopo.algorithm.part import Encoded, Heard, Interpreter, Moment, Value
from purejax_mgtopo.algorithm.team import Step
from purejax_mgtopo.algorithm.types import Edges, Gates, PyTree, Seen, Sizes
from purejax_mgtopo.config import Experiment

HIDDEN, MESSAGE = 196, 16


class Combined(Interpreter):
    """``u_i = u_i^local + W c_i`` before tanh, with ``c_i = sum_j G_ij e_j / (N - 1)`` and messages e of 16 numbers
    that a network of one hidden layer (196, ELU) makes of a sender's feature ``tanh(E o)``.

    The policy loss has the mean over agents of the standard deviation of c_i's components as a penalty, so that
    messages vary only where that pays. Difference from the original: messages are 16 wide and projected to actions, for
    the original adds them to the values of its many discrete ones; the weight is for the mean, hence smaller.
    """

    def __init__(self, experiment: Experiment, sizes: Sizes, edges: Edges = Edges.ANY) -> None:
        super().__init__(experiment, sizes, edges)
        self.feature_size = experiment.learner.hidden
        self.message_size = MESSAGE
        self.weight = experiment.member.vbc.penalty
        self.shared = experiment.learner.share_parameters
        self._encoder = nn.Dense(self.feature_size)
        self._hidden = nn.Dense(HIDDEN)
        self._message = nn.Dense(MESSAGE)
        self._combine = nn.Dense(sizes.action, use_bias=False)

    def init_params(self, key: Key[Array, ""]) -> PyTree:
        """``{"encoder", "hidden", "message", "combine"}`` for each agent, stacked (a single one if shared).

        Without "combine" if nobody is ever heard.
        """

        def one(agent_key: Key[Array, ""]) -> PyTree:
            encoder_key, hidden_key, message_key, combine_key = jax.random.split(agent_key, 4)
            observation, feature = jnp.zeros(self.sizes.observation), jnp.zeros(self.feature_size)
            params = {
                "encoder": self._encoder.init(encoder_key, observation),
                "hidden": self._hidden.init(hidden_key, feature),
                "message": self._message.init(message_key, jnp.zeros(HIDDEN)),
            }
            if self.edges is Edges.NEVER:
                return params
            return params | {"combine": self._combine.init(combine_key, jnp.zeros(MESSAGE))}

        return init_per_agent(one, key, self.sizes.agents, self.shared)

    def encode(
        self,
        params: PyTree,
        acting: PyTree,
        observation: Float[Array, "*batch N O"],
        moment: Moment,
    ) -> Encoded:
        """The feature, and the message made of it."""
        del acting
        each = {
            name: per_agent(layer.apply, self.shared)
            for name, layer in (("encoder", self._encoder), ("hidden", self._hidden))
        }
        feature = jnp.tanh(each["encoder"](params["encoder"], observation))
        hidden = nn.elu(each["hidden"](params["hidden"], feature))
        message = per_agent(self._message.apply, self.shared)(params["message"], hidden)
        return Encoded(feature, message, moment.carry)

    def hear(
        self, params: PyTree, acting: PyTree, seen: Seen, gates: Gates, moment: Moment
    ) -> Heard:
        """The own feature, and what is heard as an offset on the action."""
        del acting
        if self.edges is Edges.NEVER:
            return Heard(seen.feature, moment.carry)
        heard = self.arriving(seen, gates)
        offset = per_agent(self._combine.apply, self.shared)(params["combine"], heard)
        return Heard(seen.feature, moment.carry, offset=offset)

    def penalty(self, acting: PyTree, step: Step, value: Value) -> Float[Array, ""] | float:
        """The mean standard deviation of what arrives, over its components."""
        del acting, value
        if self.edges is Edges.NEVER or not self.weight:
            return 0.0
        heard = self.arriving(step.seen, step.delivering)
        variance = jnp.var(heard, axis=-1)
        # The root's derivative at zero is infinite: where nothing arrives.
        spread = jnp.where(variance > 0, jnp.sqrt(jnp.where(variance > 0, variance, 1.0)), 0.0)
        return self.weight * jnp.mean(spread)

    def arriving(self, seen: Seen, gates: Gates) -> Float[Array, "*batch N M"]:
        """c: what each agent receives, over N - 1."""
        weight = fill_diagonal(gates.decision) / (self.sizes.agents - 1)
        return jnp.einsum("...ij,...jm->...im", weight, seen.delivered)
