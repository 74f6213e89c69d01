"""Broadcast gates of IC3Net (Singh, Jain & Sukhbaatar 2019, arXiv 1812.09755): to talk to all, or to nobody."""

from __future__ import annotations

from dataclasses import replace

import flax.linen as nn
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


class BroadcastGates(Reinforce):
    """One linear gate for each agent, on its feature, decides whether all others receive from it.

    It learns by the score function on each newest trajectory with the advantage that all agents share, without an
    entropy bonus, and no gradient passes from it into the feature. A silent agent still hears; the released code mutes
    it. Differences from the original: actions are deterministic and learn from the critic; the team's reward stands for
    individual ones; gate and message belong to the same step (``message.latency = 1`` delays both, as the original
    does); the two-way softmax is a logistic gate, the same family with half the parameters.
    """

    def __init__(self, experiment: Experiment, sizes: Sizes) -> None:
        super().__init__(experiment, sizes)
        self.tape_shape = (sizes.agents,)
        self._gate = nn.Dense(1)

    def init_gates(self, key: Key[Array, ""]) -> PyTree:
        """Parameters of the gates, stacked over agents (one alone if shared)."""

        def one(agent_key: Key[Array, ""]) -> PyTree:
            return self._gate.init(agent_key, jnp.zeros(self.sizes.feature))

        return init_per_agent(one, key, self.sizes.agents, self.shared)

    def talk_logits(
        self, gates: PyTree, feature: Float[Array, "*batch N F"]
    ) -> Float[Array, "*batch N"]:
        """Log-odds that each agent talks."""
        feature = jax.lax.stop_gradient(feature)
        return per_agent(self._gate.apply, self.shared)(gates, feature)[..., 0]

    def gate(self, acting: PyTree, seen: Seen, moment: Moment) -> tuple[Gates, PyTree]:
        """Bernoulli decisions of the senders; data to whoever differentiates. ``aux`` is who talks, [N]."""
        logits = jax.lax.stop_gradient(self.talk_logits(acting, seen.feature))
        probability = jax.nn.sigmoid(logits)
        threshold = 0.5 if moment.mode is Mode.EVAL_GREEDY else moment.tape
        talks = (threshold < probability).astype(probability.dtype)
        return Gates(columns(probability), columns(talks), aux=talks), moment.carry

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
        return Shown(agents={"talks": trajectory.gates.aux})

    def mean_talk_score(
        self, gates: PyTree, trajectory: Trajectory, advantage: Float[Array, " T"]
    ) -> Float[Array, ""]:
        """Mean over steps, sum over agents, of the weighted log-probability of the decisions to talk."""
        logits = self.talk_logits(gates, trajectory.feature)
        scored = log_probability(logits, trajectory.gates.aux) * advantage[:, None]
        return jnp.sum(scored) / trajectory.reward.shape[0]
