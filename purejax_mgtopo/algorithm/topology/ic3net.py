"""Broadcast gates of IC3Net (Singh, Jain & Sukhbaatar 2019, arXiv 1812.09755): to talk to all, or to nobody."""

from __future__ import annotations

from dataclasses import replace

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from purejax_mgtopo.algorithm.edges import columns
from purejax_mgtopo.algorithm.networks import init_per_agent, per_agent
from purejax_mgtopo.algorithm.part import Context, Learned, Moment, Shown
from purejax_mgtopo.algorithm.topology.gates import log_probability, step_measures
from purejax_mgtopo.algorithm.topology.reinforce import Reinforce, ReinforceState
from purejax_mgtopo.algorithm.types import Gates, Mode, PyTree, Seen, Sizes, Trajectory
from purejax_mgtopo.config import Experiment


@flax.struct.dataclass
class Talk:
    """What was decided at a step; with next-step delivery it goes with the message, to the next one."""

    talks: Float[Array, "*batch N"]
    """1 for who talks."""
    told: Float[Array, "*batch N H"] | tuple[()]
    """What the gates were told, where that is not the feature."""


class BroadcastGates(Reinforce):
    """One linear gate for each agent decides whether all others receive from it, by its feature or (``member.ic3net
    .gate_input = "heard"``) by what it had made of messages in the step before.

    It learns by the score function on each newest trajectory with the advantage that all agents share, without an
    entropy bonus, and no gradient passes from it into what it reads. A silent agent still hears; the released code
    mutes it (``member.ic3net.mute_silent``). With next-step delivery a message goes with the decision of the step in
    which it was sent, as in the original; at an episode's start nobody talks. Differences from the original: actions
    are deterministic and learn from the critic; the team's reward stands for individual ones; by default messages
    arrive in their own step, and are exchanged twice, where the original exchanges them once; replayed windows begin
    with nothing heard; the two-way softmax is a logistic gate, the same family with half the parameters.
    """

    def __init__(self, experiment: Experiment, sizes: Sizes) -> None:
        super().__init__(experiment, sizes)
        settings = experiment.member.ic3net
        self.listens = settings.gate_input == "heard"
        self.mutes = settings.mute_silent
        self.late = experiment.message.latency
        self.memory = self.late + self.listens
        self.tape_shape = (sizes.agents,)
        self._width = sizes.heard if self.listens else sizes.feature
        self._gate = nn.Dense(1)

    def init_gates(self, key: Key[Array, ""]) -> PyTree:
        """Parameters of the gates, stacked over agents (one alone if shared)."""

        def one(agent_key: Key[Array, ""]) -> PyTree:
            return self._gate.init(agent_key, jnp.zeros(self._width))

        return init_per_agent(one, key, self.sizes.agents, self.shared)

    def initial_carry(self, batch: tuple[int, ...]) -> Float[Array, "*batch N 2"] | tuple[()]:
        """Probabilities and decisions of the step before, if messages take one: nobody talked."""
        return jnp.zeros((*batch, self.sizes.agents, 2)) if self.late else ()

    def talk_logits(
        self, gates: PyTree, told: Float[Array, "*batch N H"]
    ) -> Float[Array, "*batch N"]:
        """Log-odds that each agent talks."""
        told = jax.lax.stop_gradient(told)
        return per_agent(self._gate.apply, self.shared)(gates, told)[..., 0]

    def gate(self, acting: PyTree, seen: Seen, moment: Moment) -> tuple[Gates, PyTree]:
        """Bernoulli decisions of the senders; data to whoever differentiates."""
        told = seen.feature if isinstance(seen.heard, tuple) else seen.heard
        probability = jax.nn.sigmoid(jax.lax.stop_gradient(self.talk_logits(acting, told)))
        threshold = 0.5 if moment.mode is Mode.EVAL_GREEDY else moment.tape
        talks = (threshold < probability).astype(probability.dtype)
        chosen, carry = Talk(talks, seen.heard), moment.carry
        if self.late:
            carry = jnp.stack([probability, talks], axis=-1)
            probability, talks = moment.carry[..., 0], moment.carry[..., 1]
        return Gates(self._edges(probability), self._edges(talks), aux=chosen), carry

    def _edges(self, senders: Float[Array, "*batch N"]) -> Float[Array, "*batch N N-1"]:
        return columns(senders) * senders[..., None] if self.mutes else columns(senders)

    def learn(self, state: ReinforceState, trajectory: Trajectory, context: Context) -> Learned:
        """One step of the score function on the newest trajectory."""
        del context
        reward = self.priced_reward(trajectory)
        advantage, baseline = self.baseline.advantage(state.baseline, trajectory, reward)

        def score(gates: PyTree) -> Float[Array, ""]:
            return self.mean_talk_score(gates, trajectory, advantage)

        gradient = jax.grad(score)(state.gates)
        gates, nu = self.ascend(state.gates, state.nu, gradient)
        measures = step_measures(advantage, gradient, state.gates, gates)
        return Learned(replace(state, gates=gates, nu=nu, baseline=baseline), measures)

    def shown(self, params: PyTree, trajectory: Trajectory, seen: Seen) -> Shown:
        """Who talks."""
        del params, seen
        return Shown(agents={"talks": trajectory.gates.aux.talks})

    def mean_talk_score(
        self, gates: PyTree, trajectory: Trajectory, advantage: Float[Array, " T"]
    ) -> Float[Array, ""]:
        """Mean over steps, sum over agents, of the weighted log-probability of the decisions to talk."""
        talk: Talk = trajectory.gates.aux
        told = trajectory.feature if isinstance(talk.told, tuple) else talk.told
        scored = log_probability(self.talk_logits(gates, told), talk.talks) * advantage[:, None]
        return jnp.sum(scored) / trajectory.reward.shape[0]
