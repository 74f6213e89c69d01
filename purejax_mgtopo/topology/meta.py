"""Topology by a meta-learned update rule: the paper's method (Section 4.2, Eqs. 5-9).

The meta-gradient is a pure function of eta: it *replays* the K gate updates over stored trajectories and never goes
through the environment, the replay buffer, the policies or a sampled decision. Nothing is lost by that: the estimator
of Eq. 7 has no such derivative.
"""

from __future__ import annotations

from dataclasses import replace

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key

from purejax_mgtopo.config import Config, MetaConfig
from purejax_mgtopo.networks import LSTM, LSTM_SEQUENCE, apply
from purejax_mgtopo.topology.baseline import Baseline, BaselineState
from purejax_mgtopo.topology.gates import (
    EdgeGates,
    entropy,
    log_probability,
    tree_difference,
    tree_norm,
)
from purejax_mgtopo.topology.metrics import RuleMetrics
from purejax_mgtopo.types import PyTree, Trajectory


class BackwardLSTM(nn.Module):
    """eta: LSTM(128) over the trajectory from its end to its start, then FC(128)-Linear (Table 1)."""

    hidden: int
    outputs: int

    def setup(self) -> None:
        self.lstm = LSTM(self.hidden)
        self.body = nn.Dense(self.hidden)
        self.head = nn.Dense(self.outputs)

    def __call__(
        self, x: Float[Array, "T X"], done: Float[Array, " T"]
    ) -> Float[Array, "T outputs"]:
        # Nothing after an episode's end tells about what came before it.
        hidden = self.lstm.backward(self.lstm.project(x), 1 - done)
        return self.head(nn.relu(self.body(hidden)))


@flax.struct.dataclass
class MetaState:
    """theta_c, RMSprop's nu, the baseline phi, and eta with its optimiser."""

    gates: PyTree
    nu: PyTree
    baseline: BaselineState
    eta: PyTree
    eta_optimizer: PyTree


class MetaGradient(EdgeGates):
    """Each edge has an advantage of its own, ``A-hat = f_eta(tau)``, and eta learns to make gates that pay."""

    def __init__(self, config: Config, num_agents: int, observation_size: int) -> None:
        super().__init__(config, num_agents, observation_size)
        self.meta: MetaConfig = config.meta
        self.discount = config.learner.discount
        self.baseline = Baseline(config, num_agents, observation_size)
        self.edges = num_agents * (num_agents - 1)
        self._eta = BackwardLSTM(self.meta.hidden, self.edges)
        self._optimizer = optax.chain(
            optax.clip_by_global_norm(self.meta.gradient_clip),
            optax.rmsprop(
                self.meta.learning_rate, config.gates.rms_decay, config.gates.rms_epsilon
            ),
        )

    def init(self, key: Key[Array, ""]) -> MetaState:
        """Fresh gates, baseline and eta."""
        gates_key, baseline_key, eta_key = jax.random.split(key, 3)
        gates = self.init_gates(gates_key)
        eta = self.init_eta(eta_key)
        return MetaState(
            gates=gates,
            nu=jax.tree.map(jnp.zeros_like, gates),
            baseline=self.baseline.init(baseline_key),
            eta=eta,
            eta_optimizer=self._optimizer.init(eta),
        )

    def init_eta(self, key: Key[Array, ""]) -> PyTree:
        """Fresh meta-parameters."""
        width = 3 + self.edges * (2 if self.meta.append_decisions else 1)
        return self._eta.init(key, jnp.zeros((1, width)), jnp.zeros(1))

    def advantage(
        self, eta: PyTree, gates: PyTree, trajectory: Trajectory
    ) -> Float[Array, "T N N-1"]:
        """A-hat: what eta makes of ``x_t = [r_t, d_t, gamma, {c(o_t)}]``, read backwards.

        The probabilities are those of `gates` on the trajectory's observations, so that eta's replay can
        differentiate through them.
        """
        steps = trajectory.reward.shape[0]
        probability = jax.nn.sigmoid(self.logits(gates, trajectory.observation[:-1]))
        if self.meta.stop_input_gradient:
            probability = jax.lax.stop_gradient(probability)
        reward = self.priced_reward(trajectory)
        if self.meta.reward_transform == "signed_log":
            reward = jnp.sign(reward) * jnp.log1p(jnp.abs(reward))
        # A trajectory is one episode: it ends, if only by the clock, with its last step.
        done = jnp.zeros(steps, reward.dtype).at[-1].set(1.0)
        columns = [
            jnp.stack([reward, done, jnp.full_like(reward, self.discount)], axis=-1),
            probability.reshape(steps, -1),
        ]
        if self.meta.append_decisions:
            columns.append(trajectory.gates.decision.reshape(steps, -1))
        out = apply(self._eta, eta, jnp.concatenate(columns, axis=-1), done)
        return out.reshape(probability.shape)

    def inner_step(
        self, eta: PyTree, gates: PyTree, nu: PyTree, trajectory: Trajectory
    ) -> tuple[PyTree, PyTree, Float[Array, "T N N-1"], PyTree]:
        """``theta_c(k-1) -> theta_c(k)`` by Eq. 5: new gates and nu, and the A-hat and gradient that moved them."""
        advantage = self.advantage(eta, gates, trajectory)
        gradient = self.score_gradient(gates, trajectory, advantage)
        gates, nu = self.ascend(gates, nu, gradient, self.meta.stop_denominator)
        return gates, nu, advantage, gradient

    def inner_update(
        self, state: MetaState, trajectory: Trajectory, policy_gradient: PyTree
    ) -> tuple[MetaState, RuleMetrics]:
        """One step of Eq. 5 on the newest trajectory, with the current eta."""
        del policy_gradient
        gates, nu, advantage, gradient = self.inner_step(
            state.eta, state.gates, state.nu, trajectory
        )
        metrics = RuleMetrics(
            advantage_norm=jnp.sqrt(jnp.mean(jnp.square(advantage))),
            gate_gradient_norm=tree_norm(gradient),
            gate_update_norm=tree_norm(tree_difference(gates, state.gates)),
        )
        return replace(state, gates=gates, nu=nu), metrics.filled()

    def outer_update(
        self, start: MetaState, state: MetaState, trajectories: Trajectory
    ) -> tuple[MetaState, RuleMetrics]:
        """Baseline on tau(1..K) (line 12), then eta by Eq. 9 (line 13)."""
        latest = jax.tree.map(lambda x: x[1:], trajectories)

        def fit(baseline: BaselineState, trajectory: Trajectory) -> tuple[BaselineState, Array]:
            return self.baseline.fit(baseline, trajectory, self.priced_reward(trajectory))

        def judge(baseline: BaselineState, trajectory: Trajectory) -> tuple[BaselineState, Array]:
            reward = self.priced_reward(trajectory)
            advantage, baseline = self.baseline.advantage(baseline, trajectory, reward)
            return baseline, advantage

        baseline, losses = jax.lax.scan(fit, state.baseline, latest)
        baseline, advantages = jax.lax.scan(judge, baseline, latest)
        objective, gradient = jax.value_and_grad(self.meta_objective)(
            state.eta, start.gates, start.nu, trajectories, advantages
        )
        ascent = jax.tree.map(jnp.negative, gradient)
        updates, eta_optimizer = self._optimizer.update(ascent, state.eta_optimizer, state.eta)
        eta = optax.apply_updates(state.eta, updates)
        newest = jax.tree.map(lambda x: x[-1], trajectories)
        cosine = self.reinforce_cosine(state.eta, state.gates, newest, advantages[-1])
        metrics = RuleMetrics(
            baseline_loss=jnp.mean(losses),
            meta_objective=objective,
            meta_gradient_norm=tree_norm(gradient),
            eta_update_norm=tree_norm(updates),
            reinforce_cosine=cosine,
        )
        state = replace(state, baseline=baseline, eta=eta, eta_optimizer=eta_optimizer)
        return state, metrics.filled()

    def reinforce_cosine(
        self, eta: PyTree, gates: PyTree, trajectory: Trajectory, advantage: Float[Array, " T"]
    ) -> Float[Array, ""]:
        """Does eta ask for what REINFORCE would? Cosine of the gate gradients of Eq. 5 (A-hat) and Eq. 4 (A).

        Both over all gate parameters of all agents, before RMSprop, at the same `gates` on the same `trajectory`. An
        outer update reports it for tau(K) and the theta_c(K) that played it, with the eta that made this iteration's
        gate updates (before its own update), and with A = G - V normalised as in Eq. 7, by the updated baseline. NaN
        if either gradient is exactly zero.
        """
        estimate = self.advantage(eta, gates, trajectory)
        shared = jnp.broadcast_to(advantage[:, None, None], estimate.shape)
        asked = self.score_gradient(gates, trajectory, estimate)
        usual = self.score_gradient(gates, trajectory, shared)
        along = sum(jax.tree.leaves(jax.tree.map(jnp.vdot, asked, usual)))
        return along / tree_norm(asked) / tree_norm(usual)

    def meta_objective(
        self,
        eta: PyTree,
        gates: PyTree,
        nu: PyTree,
        trajectories: Trajectory,
        advantages: Float[Array, "K T"],
    ) -> Float[Array, ""]:
        """J(eta) whose gradient is Eq. 9.

        Replays ``theta_c(0) -> ... -> theta_c(K)`` over tau(0), ..., tau(K-1) from `gates` and `nu`, both constants;
        after the k-th update scores tau(k)'s decisions by their advantage (Eq. 7) and adds the entropy (Eq. 8).

        Args:
            eta: meta-parameters.
            gates: theta_c(0).
            nu: RMSprop's state at theta_c(0).
            trajectories: tau(0), ..., tau(K) along a leading axis.
            advantages: G - V on tau(1), ..., tau(K); data.
        """
        trajectories = jax.lax.stop_gradient(trajectories)
        advantages = jax.lax.stop_gradient(advantages)

        def replay(carry: tuple, inputs: tuple) -> tuple:
            gates, nu = carry
            previous, following, advantage = inputs
            gates, nu, estimate, _ = self.inner_step(eta, gates, nu, previous)
            logits = self.logits(gates, following.observation[:-1])
            score = log_probability(logits, following.gates.decision) * advantage[:, None, None]
            value = jnp.sum(score + self.meta.entropy * entropy(logits)) / advantage.shape[0]
            return (gates, nu), value - self.meta.output_l2 * jnp.mean(jnp.square(estimate))

        previous = jax.tree.map(lambda x: x[:-1], trajectories)
        following = jax.tree.map(lambda x: x[1:], trajectories)
        constants = jax.lax.stop_gradient((gates, nu))
        # Recomputing a step is cheaper than keeping its K copies of everything the size of the gates; but for eta's
        # LSTM, which is slow, step after step, and whose states are small.
        keep = jax.checkpoint_policies.save_only_these_names(LSTM_SEQUENCE)
        replay = jax.checkpoint(replay, policy=keep)
        _, values = jax.lax.scan(replay, constants, (previous, following, advantages))
        return jnp.mean(values) if self.meta.blend_intermediate else values[-1]
