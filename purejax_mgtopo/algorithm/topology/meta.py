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

from purejax_mgtopo.algorithm.networks import LSTM, States, apply
from purejax_mgtopo.algorithm.topology.baseline import Baseline, BaselineState
from purejax_mgtopo.algorithm.topology.gates import (
    EdgeGates,
    entropy,
    log_probability,
    tree_difference,
    tree_norm,
)
from purejax_mgtopo.algorithm.topology.metrics import RuleMetrics
from purejax_mgtopo.algorithm.types import PyTree, Trajectory
from purejax_mgtopo.config import Experiment, MetaConfig


class BackwardLSTM(nn.Module):
    """eta: LSTM(128) over the trajectory from its end to its start, then FC(128)-Linear (Table 1)."""

    hidden: int
    outputs: int

    def setup(self) -> None:
        self.lstm = LSTM(self.hidden)
        self.body = nn.Dense(self.hidden)
        self.head = nn.Dense(self.outputs)

    def states(self, x: Float[Array, "T X"], done: Float[Array, " T"]) -> States:
        """The LSTM's, at all steps."""
        # Nothing after an episode's end tells about what came before it.
        return self.lstm.backward(self.lstm.project(x), 1 - done)

    def __call__(
        self, x: Float[Array, "T X"], done: Float[Array, " T"], states: States | None = None
    ) -> Float[Array, "T outputs"]:
        """Of the same inputs' `states`, if they are known already."""
        hidden = self.lstm.backward(self.lstm.project(x), 1 - done, states)[0]
        return self.head(nn.relu(self.body(hidden)))


@flax.struct.dataclass
class MetaState:
    """theta_c, RMSprop's nu, the baseline phi, and eta with its optimiser."""

    gates: PyTree
    nu: PyTree
    baseline: BaselineState
    eta: PyTree
    eta_optimizer: PyTree


@flax.struct.dataclass
class InnerStep:
    """One step of Eq. 5 as the outer update goes back over it: where it started, and the states of eta's LSTM."""

    gates: PyTree
    nu: PyTree
    states: States


class MetaGradient(EdgeGates):
    """Each edge has an advantage of its own, ``A-hat = f_eta(tau)``, and eta learns to make gates that pay."""

    def __init__(self, config: Experiment, num_agents: int, observation_size: int) -> None:
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
        self, eta: PyTree, gates: PyTree, trajectory: Trajectory, states: States | None = None
    ) -> Float[Array, "T N N-1"]:
        """A-hat: what eta makes of ``x_t = [r_t, d_t, gamma, {c(o_t)}]``, read backwards.

        `states` are those of eta's LSTM, if they are known already.
        """
        out = apply(self._eta, eta, *self._inputs(gates, trajectory), states)
        return out.reshape(trajectory.gates.decision.shape)

    def _inputs(
        self, gates: PyTree, trajectory: Trajectory
    ) -> tuple[Float[Array, "T X"], Float[Array, " T"]]:
        """x, and where an episode is done.

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
        return jnp.concatenate(columns, axis=-1), done

    def inner_step(
        self,
        eta: PyTree,
        gates: PyTree,
        nu: PyTree,
        trajectory: Trajectory,
        states: States | None = None,
    ) -> tuple[PyTree, PyTree, Float[Array, "T N N-1"], PyTree]:
        """``theta_c(k-1) -> theta_c(k)`` by Eq. 5: new gates and nu, and the A-hat and gradient that moved them."""
        advantage = self.advantage(eta, gates, trajectory, states)
        gradient = self.score_gradient(gates, trajectory, advantage)
        gates, nu = self.ascend(gates, nu, gradient, self.meta.stop_denominator)
        return gates, nu, advantage, gradient

    def inner_update(
        self, state: MetaState, trajectory: Trajectory, policy_gradient: PyTree
    ) -> tuple[MetaState, RuleMetrics, InnerStep]:
        """One step of Eq. 5 on the newest trajectory, with the current eta."""
        del policy_gradient
        states = apply(
            self._eta, state.eta, *self._inputs(state.gates, trajectory), method="states"
        )
        gates, nu, advantage, gradient = self.inner_step(
            state.eta, state.gates, state.nu, trajectory, states
        )
        metrics = RuleMetrics(
            advantage_norm=jnp.sqrt(jnp.mean(jnp.square(advantage))),
            gate_gradient_norm=tree_norm(gradient),
            gate_update_norm=tree_norm(tree_difference(gates, state.gates)),
        )
        step = InnerStep(state.gates, state.nu, states)
        return replace(state, gates=gates, nu=nu), metrics.filled(), step

    def outer_update(
        self, steps: InnerStep, state: MetaState, trajectories: Trajectory
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
        objective, gradient = self.meta_gradient(state.eta, steps, trajectories, advantages)
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
        data = jax.lax.stop_gradient((gates, nu, trajectories, advantages))
        gates, nu, trajectories, advantages = data

        def replay(carry: tuple, inputs: tuple) -> tuple:
            gates, nu, value = self._scored_step(eta, *carry, *inputs)
            return (gates, nu), value

        inputs = (*_before_and_after(trajectories), advantages)
        values: Array
        _, values = jax.lax.scan(replay, (gates, nu), inputs)
        return values @ self._weights(values.shape[0])

    def meta_gradient(
        self,
        eta: PyTree,
        steps: InnerStep,
        trajectories: Trajectory,
        advantages: Float[Array, "K T"],
    ) -> tuple[Float[Array, ""], PyTree]:
        """`meta_objective` and its gradient, from the steps by which theta_c(0) has become theta_c(K) in training.

        Back from the last step to the first: each is differentiated where it started, so that none is replayed but
        the one at hand.
        """

        def back(slopes: tuple, inputs: tuple) -> tuple:
            d_eta, d_gates, d_nu = slopes
            step, weight, previous, following, advantage = inputs

            def forward(eta: PyTree, gates: PyTree, nu: PyTree) -> tuple:
                return self._scored_step(
                    eta, gates, nu, previous, following, advantage, step.states
                )

            (_, _, value), pull = jax.vjp(forward, eta, step.gates, step.nu)
            d_here, d_gates, d_nu = pull((d_gates, d_nu, weight))
            return (jax.tree.map(jnp.add, d_eta, d_here), d_gates, d_nu), value

        weights = self._weights(advantages.shape[0])
        none = (
            jax.tree.map(jnp.zeros_like, eta),
            *jax.tree.map(lambda x: jnp.zeros_like(x[0]), (steps.gates, steps.nu)),
        )
        inputs = (steps, weights, *_before_and_after(trajectories), advantages)
        values: Array
        (gradient, _, _), values = jax.lax.scan(back, none, inputs, reverse=True)
        return values @ weights, gradient

    def _scored_step(
        self,
        eta: PyTree,
        gates: PyTree,
        nu: PyTree,
        previous: Trajectory,
        following: Trajectory,
        advantage: Float[Array, " T"],
        states: States | None = None,
    ) -> tuple[PyTree, PyTree, Float[Array, ""]]:
        """theta_c(k) and nu(k) of those before, and what they are worth: tau(k)'s decisions by their advantage."""
        gates, nu, estimate, _ = self.inner_step(eta, gates, nu, previous, states)
        logits = self.logits(gates, following.observation[:-1])
        score = log_probability(logits, following.gates.decision) * advantage[:, None, None]
        value = jnp.sum(score + self.meta.entropy * entropy(logits)) / advantage.shape[0]
        return gates, nu, value - self.meta.output_l2 * jnp.mean(jnp.square(estimate))

    def _weights(self, updates: int) -> Float[Array, " K"]:
        """Of the K updates' values in the objective."""
        if self.meta.blend_intermediate:
            return jnp.full(updates, 1 / updates)
        return jnp.zeros(updates).at[-1].set(1.0)


def _before_and_after(trajectories: Trajectory) -> tuple[Trajectory, Trajectory]:
    """tau(k-1) and tau(k) for k = 1, ..., K."""
    before = jax.tree.map(lambda x: x[:-1], trajectories)
    return before, jax.tree.map(lambda x: x[1:], trajectories)
