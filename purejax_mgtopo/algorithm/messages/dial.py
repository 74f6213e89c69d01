"""DIAL (Foerster et al. 2016, arXiv 1605.06676): messages are bits in execution, and noisy numbers in training."""

from __future__ import annotations

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from purejax_mgtopo.algorithm.messages.slots import Slots
from purejax_mgtopo.algorithm.networks import init_per_agent, per_agent
from purejax_mgtopo.algorithm.part import (
    Announced,
    Context,
    Encoded,
    Heard,
    Interpreter,
    Learned,
    Moment,
    Resumed,
    Shown,
)
from purejax_mgtopo.algorithm.types import Edges, Gates, Mode, PyTree, Seen, Sizes, Trajectory
from purejax_mgtopo.config import Experiment

FULL = 127
"""A message of 1, as the replay stores it."""


class Dial(Interpreter):
    """``h = ReLU(W tanh(E o + S m + R m_own))`` with m the bits that arrive, each sender's in a slot of its own, and
    m_own the agent's own last ones; the next bits have the log-odds ``l = L h``.

    In training ``2 sigma(l + n) - 1`` is sent, n normal with standard deviation 2, and the receiver's loss reaches the
    sender through it; in evaluation -1 or 1, by the sign of l. Either way 0 is silence. Messages arrive in the next
    step: the policy's gradient passes back through windows of five steps, which start from stored messages and run
    anew with fresh noise from there (those of the TD target with the target's parameters).

    Differences from the original: the policy loss takes the place of the TD loss of discrete actions; own bits of the
    step before stand for its recurrent state; they are 8, where its riddles have one; a window's loss is that of its
    last step, so that a batch has as many windows as it has transitions elsewhere; the threshold is at even odds, where
    released code has it at a log-odds of 0.5. With same-step delivery bits are told from what an agent sees and its own
    last ones.
    """

    measures: ClassVar[Announced] = {
        "bit_rate": "share of bits that are sent as ones",
        "bit_clarity": "mean size of the bits sent: 1 where all are -1 or 1, 0 where all are in doubt",
    }

    def __init__(self, experiment: Experiment, sizes: Sizes, edges: Edges = Edges.ANY) -> None:
        super().__init__(experiment, sizes, edges)
        settings = experiment.member.dial
        self.noise = settings.noise
        self.message_size = settings.bits
        self.feature_size = hidden = experiment.learner.hidden
        self.tape_shape = (sizes.agents, settings.bits)
        self.memory = settings.window - 1
        self.shared = experiment.learner.share_parameters
        self._slots = Slots(sizes.agents, hidden, edges)
        self._layers = {
            "encoder": (nn.Dense(hidden), sizes.observation),
            "own": (nn.Dense(hidden, use_bias=False), settings.bits),
            "body": (nn.Dense(hidden), hidden),
            "speaker": (nn.Dense(settings.bits), hidden),
        }

    @property
    def edge_bits(self) -> int:
        """Bits that pass over an open edge in one step."""
        return self.message_size

    def init_params(self, key: Key[Array, ""]) -> PyTree:
        """``{"encoder", "own", "body", "speaker", "slots"}`` for each agent, stacked (a single one if shared).

        Without "slots" if nobody is ever heard.
        """

        def one(agent_key: Key[Array, ""]) -> PyTree:
            slots_key, *keys = jax.random.split(agent_key, 1 + len(self._layers))
            params = {
                name: layer.init(k, jnp.zeros(width))
                for k, (name, (layer, width)) in zip(keys, self._layers.items(), strict=True)
            }
            return params | self._slots.init(slots_key, self.message_size)

        return init_per_agent(one, key, self.sizes.agents, self.shared)

    def initial_carry(self, batch: tuple[int, ...]) -> Float[Array, "*batch N bits"]:
        """Own last bits: none yet."""
        return jnp.zeros((*batch, self.sizes.agents, self.message_size))

    def kept(self, carry: PyTree) -> PyTree:
        """The bits that were sent, noise included, to a hundredth."""
        return jnp.round(carry * FULL).astype(jnp.int8)

    def resumed(self, kept: PyTree) -> Resumed:
        """The bits that were sent, as data."""
        message = kept.astype(float) / FULL
        return Resumed(message, message)

    def encode(
        self,
        params: PyTree,
        acting: PyTree,
        observation: Float[Array, "*batch N O"],
        moment: Moment,
    ) -> Encoded:
        """What an agent makes of what it sees and last sent, and the bits that it would send if it heard nothing."""
        del acting
        first = self._before_hearing(params, observation, moment.carry)
        hidden = self._body(params, first)
        message = self._sent(params, hidden, moment)
        return Encoded(hidden, message, moment.carry)

    def hear(
        self, params: PyTree, acting: PyTree, seen: Seen, gates: Gates, moment: Moment
    ) -> Heard:
        """h after hearing; with next-step delivery also the bits to be sent."""
        del acting
        first = self._before_hearing(params, seen.observation, moment.carry)
        hidden = self._body(params, first + self._heard(params, seen, gates))
        if not self.latency:
            return Heard(hidden, seen.message)
        message = self._sent(params, hidden, moment)
        return Heard(hidden, message, message=message)

    def learn(self, state: PyTree, trajectory: Trajectory, context: Context) -> Learned:
        """Nothing; tells how many bits were sent as ones, and how clear they were: 1 if all were -1 or 1."""
        del context
        sent = trajectory.message if isinstance(trajectory.sent, tuple) else trajectory.sent
        return Learned(
            state,
            {
                "bit_rate": jnp.mean((sent > 0).astype(sent.dtype)),
                "bit_clarity": jnp.mean(jnp.abs(sent)),
            },
        )

    def shown(self, params: PyTree, trajectory: Trajectory, seen: Seen) -> Shown:
        """The bits that are sent."""
        del params
        sent = seen.message if isinstance(trajectory.sent, tuple) else trajectory.sent
        return Shown(agents={"bits": (sent > 0).astype(sent.dtype)})

    def _before_hearing(self, params: PyTree, observation: Array, own: Array) -> Array:
        return self._apply("encoder", params, observation) + self._apply("own", params, own)

    def _heard(self, params: PyTree, seen: Seen, gates: Gates) -> Array | float:
        return self._slots.read(params, seen.delivered, gates, self.shared)

    def _body(self, params: PyTree, first: Array) -> Float[Array, "*batch N H"]:
        return nn.relu(self._apply("body", params, jnp.tanh(first)))

    def _sent(self, params: PyTree, hidden: Array, moment: Moment) -> Float[Array, "*batch N bits"]:
        """The discretise-regularise unit: -1 or 1 in evaluation, between them and noisy in training."""
        odds = self._apply("speaker", params, hidden)
        if moment.mode in (Mode.EVAL_SAMPLED, Mode.EVAL_GREEDY):
            return jnp.where(odds > 0, 1.0, -1.0)
        tiny = jnp.finfo(moment.tape.dtype).tiny
        noise = self.noise * jax.scipy.special.ndtri(jnp.maximum(moment.tape, tiny))
        return 2 * jax.nn.sigmoid(odds + noise) - 1

    def _apply(self, name: str, params: PyTree, x: Array) -> Array:
        return per_agent(self._layers[name][0].apply, self.shared)(params[name], x)
