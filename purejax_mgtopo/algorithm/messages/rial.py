"""RIAL (Foerster et al. 2016, arXiv 1605.06676): symbols are actions, chosen by Q-values of their own."""

from __future__ import annotations

import math
from typing import ClassVar

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key

from purejax_mgtopo.algorithm.edges import random_tape
from purejax_mgtopo.algorithm.messages.slots import Slots, slots
from purejax_mgtopo.algorithm.networks import MLP, init_per_agent, per_agent
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

NOTHING = -1
"""The last symbol of an agent that has sent none."""


@flax.struct.dataclass
class Heart:
    """Q of symbols, its target and optimiser, and the latest episodes: what was known, said and earned."""

    values: PyTree
    target: PyTree
    optimizer: PyTree
    known: Float[Array, "R T+1 N X"]
    symbol: Int[Array, "R T N"]
    reward: Float[Array, "R T"]


class Rial(Interpreter):
    """At each step an agent sends one of four symbols, the best by ``Q_m(o, received, own last symbol)`` or, with
    probability 0.05 in training, any. Policies read ``tanh(S m)``, m the symbols that arrive as one-hots, each
    sender's in a slot of its own. No derivative passes from agent to agent.

    Q_m learns by TD on the team's reward, from transitions of the latest episodes, with a target that follows at the
    learner's rate. Symbols arrive in the next step, and the replay stores what was sent; the target therefore counts
    two rewards, that of the step in which a symbol is said and that of the step in which it is heard, before it asks
    Q_m': what its sender knows by then need not tell any more why it was said. At an episode's last step edges are
    taken to be in the next one as they are in it.

    Differences from the original: motion is a policy's that learns from the critic, so that no average of two maxima is
    taken; own last symbols stand for the recurrent state; a short replay, where the original learns from each episode
    once. With same-step delivery symbols are chosen before anything is heard.
    """

    measures: ClassVar[Announced] = {
        "symbol_loss": "squared TD error of the symbols' Q-values, mean over transitions, sum over agents",
        "symbol_entropy": "entropy of an episode's symbols, in nats: 0 where all are the same",
    }

    def __init__(self, experiment: Experiment, sizes: Sizes, edges: Edges = Edges.ANY) -> None:
        super().__init__(experiment, sizes, edges)
        self.settings = experiment.member.rial
        self.learner = experiment.learner
        self.message_size = self.symbols = self.settings.symbols
        self.feature_size = sizes.observation
        self.tape_shape = (sizes.agents, 2)
        self.memory = 0
        self.shared = experiment.learner.share_parameters
        hidden = experiment.learner.hidden
        self._slots = Slots(sizes.agents, hidden, edges)
        self._values = MLP((hidden, hidden, self.symbols))
        self._known = sizes.observation + (sizes.agents + 1) * self.symbols
        self._optimizer = optax.rmsprop(self.settings.learning_rate)

    @property
    def edge_bits(self) -> int:
        """Bits that pass over an open edge in one step: those that name a symbol."""
        return math.ceil(math.log2(self.symbols))

    def init_params(self, key: Key[Array, ""]) -> PyTree:
        """``{"slots"}`` for each agent, stacked (a single one if shared); nothing if nobody is ever heard."""
        return init_per_agent(
            lambda k: self._slots.init(k, self.symbols), key, self.sizes.agents, self.shared
        )

    def init(self, key: Key[Array, ""]) -> Heart:
        """Fresh Q-values and an empty memory."""

        def one(agent_key: Key[Array, ""]) -> PyTree:
            return self._values.init(agent_key, jnp.zeros(self._known))

        values = init_per_agent(one, key, self.sizes.agents, self.shared)
        episodes, steps = self.settings.memory_episodes, self.sizes.horizon
        agents = self.sizes.agents
        return Heart(
            values=values,
            target=values,
            optimizer=self._optimizer.init(values),
            known=jnp.zeros((episodes, steps + 1, agents, self._known)),
            symbol=jnp.zeros((episodes, steps, agents), jnp.int8),
            reward=jnp.zeros((episodes, steps)),
        )

    def acting(self, state: Heart) -> PyTree:
        """The Q-values."""
        return state.values

    def remembered(self, state: Heart) -> PyTree:
        """The latest episodes."""
        return state.known, state.symbol, state.reward

    def initial_carry(self, batch: tuple[int, ...]) -> Int[Array, "*batch N"]:
        """Own last symbols: none yet."""
        return jnp.full((*batch, self.sizes.agents), NOTHING, jnp.int32)

    def kept(self, carry: PyTree) -> PyTree:
        """The symbols that were sent."""
        return carry.astype(jnp.int8)

    def resumed(self, kept: PyTree) -> Resumed:
        """The symbols that were sent."""
        return Resumed(kept.astype(jnp.int32), self._one_hot(kept))

    def encode(
        self,
        params: PyTree,
        acting: PyTree,
        observation: Float[Array, "*batch N O"],
        moment: Moment,
    ) -> Encoded:
        """The observation, and the symbol that an agent would send if it heard nothing."""
        del params
        silence = jnp.zeros((*observation.shape[:-1], self.sizes.agents * self.symbols))
        symbol = self._chosen(acting, observation, silence, moment)
        return Encoded(observation, self._one_hot(symbol), moment.carry)

    def hear(
        self, params: PyTree, acting: PyTree, seen: Seen, gates: Gates, moment: Moment
    ) -> Heard:
        """What the symbols mean; with next-step delivery also the symbols to be sent."""
        heard = self._slots.read(params, seen.delivered, gates, self.shared)
        z = None if isinstance(heard, float) else jnp.tanh(heard)
        if not self.latency:
            return Heard(z, jnp.argmax(seen.message, axis=-1).astype(jnp.int32))
        received = slots(seen.delivered, gates)
        symbol = self._chosen(acting, seen.observation, received, moment)
        return Heard(z, symbol, message=self._one_hot(symbol))

    def learn(self, state: Heart, trajectory: Trajectory, context: Context) -> Learned:
        """One RMSprop step of the Q-values on transitions of the latest episodes."""
        size, clock = self.settings.memory_episodes, context.clock

        def write(ring: Array, row: Array) -> Array:
            cursor = clock.episode % size
            return jax.lax.dynamic_update_index_in_dim(ring, row.astype(ring.dtype), cursor, 0)

        symbol = trajectory.kept.interpreter
        known = write(state.known, self.known(trajectory, context.seen(trajectory)))
        said, earned = write(state.symbol, symbol), write(state.reward, trajectory.reward)
        steps = trajectory.reward.shape[0]
        drawn = random_tape(context.key, (2, self.learner.batch_size))
        episode = (drawn[0] * jnp.minimum(clock.episode + 1, size)).astype(jnp.int32)
        step = (drawn[1] * steps).astype(jnp.int32)
        later = jnp.minimum(step + 1 + self.latency, steps)
        loss, gradient = jax.value_and_grad(self.loss)(
            state.values,
            state.target,
            known[episode, step],
            said[episode, step],
            self._paid(earned[episode], step),
            known[episode, later],
            self.learner.discount ** (later - step),
        )
        updates, optimizer = self._optimizer.update(gradient, state.optimizer)
        values = optax.apply_updates(state.values, updates)
        target = optax.incremental_update(values, state.target, self.learner.target_rate)
        share = jnp.mean(self._one_hot(symbol), axis=(0, 1))
        measures = {
            "symbol_loss": loss,
            "symbol_entropy": jnp.sum(jax.scipy.special.entr(share)),
        }
        return Learned(Heart(values, target, optimizer, known, said, earned), measures)

    def shown(self, params: PyTree, trajectory: Trajectory, seen: Seen) -> Shown:
        """The symbols that are sent."""
        del params, seen
        return Shown(agents={"symbol": trajectory.kept.interpreter.astype(float)})

    def known(self, trajectory: Trajectory, seen: Seen) -> Float[Array, "_ N X"]:
        """All that Q_m is told before each step, and after the last."""
        sent = seen.message if isinstance(trajectory.sent, tuple) else trajectory.sent
        before = jnp.concatenate([jnp.zeros_like(sent[:1]), sent])
        received = jnp.zeros((*seen.message.shape[:2], self.sizes.agents * self.symbols))
        received = jnp.concatenate([received, received[:1]])
        if self.latency:
            decision = trajectory.delivering.decision
            edges = jnp.concatenate([decision, decision[-1:]])
            received = slots(before, Gates(edges, edges))
        return jnp.concatenate([trajectory.observation, received, before], axis=-1)

    def loss(
        self,
        values: PyTree,
        target: PyTree,
        known: Float[Array, "B N X"],
        symbol: Int[Array, "B N"],
        reward: Float[Array, " B"],
        after: Float[Array, "B N X"],
        discount: Float[Array, " B"],
    ) -> Float[Array, ""]:
        """Mean over transitions, sum over agents, of ``(Q_m(x, m) - r - gamma^n max Q_m'(x', .))^2``.

        r are the discounted rewards of the n steps from x to x'.
        """
        best = jnp.max(self._asked(target, after), axis=-1)
        aim = jax.lax.stop_gradient(reward[:, None] + discount[:, None] * best)
        worth = jnp.sum(self._asked(values, known) * self._one_hot(symbol), axis=-1)
        return jnp.mean(jnp.sum(jnp.square(worth - aim), axis=-1))

    def _paid(self, reward: Float[Array, "B T"], step: Int[Array, " B"]) -> Float[Array, " B"]:
        """Discounted rewards from a step to that in which its symbol is heard, as far as the episode goes."""
        told = jnp.pad(reward, ((0, 0), (0, self.latency)))
        rows, paid = jnp.arange(len(reward)), jnp.zeros(len(reward), reward.dtype)
        for k in range(1 + self.latency):
            paid = paid + self.learner.discount**k * told[rows, step + k]
        return paid

    def _chosen(self, values: PyTree, observation: Array, received: Array, moment: Moment) -> Array:
        """The best symbols, or any; data to whoever differentiates."""
        own = self._one_hot(moment.carry)
        known = jnp.concatenate([observation, received, own], axis=-1)
        best = jnp.argmax(self._asked(values, known), axis=-1).astype(jnp.int32)
        if moment.mode is not Mode.ROLLOUT:
            return best
        anyone = (moment.tape[..., 1] * self.symbols).astype(jnp.int32)
        return jnp.where(moment.tape[..., 0] < self.settings.epsilon, anyone, best)

    def _asked(self, values: PyTree, known: Array) -> Float[Array, "*batch N symbols"]:
        return per_agent(self._values.apply, self.shared)(values, known)

    def _one_hot(self, symbol: Int[Array, "*batch"]) -> Float[Array, "*batch symbols"]:
        return jax.nn.one_hot(symbol, self.symbols, dtype=float)
