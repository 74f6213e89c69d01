"""Topology by a meta-learned update rule: the paper's method (Section 4.2, Eqs. 5-9).

The meta-gradient is a pure function of eta: it *replays* the K gate updates over stored trajectories and never goes
through the environment, the replay buffer, the policies or a sampled decision. Nothing is lost by that: the estimator
of Eq. 7 has no such derivative.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key

from purejax_mgtopo.algorithm.kernels.meta_backward import (
    InnerStep,
    before_and_after,
    meta_gradient,
)
from purejax_mgtopo.algorithm.kernels.reversed_lstm import States
from purejax_mgtopo.algorithm.kernels.stored import for_products
from purejax_mgtopo.algorithm.networks import apply
from purejax_mgtopo.algorithm.part import Announced, Context, Learned, Outer, Rule
from purejax_mgtopo.algorithm.topology.baseline import Baseline, BaselineState
from purejax_mgtopo.algorithm.topology.edgewise.online import EdgeMeta
from purejax_mgtopo.algorithm.topology.edgewise.weights import begun
from purejax_mgtopo.algorithm.topology.eta import BackwardLSTM, eta_optimizer
from purejax_mgtopo.algorithm.topology.gates import (
    OUTER_MEASURES,
    STEP_MEASURES,
    EdgeGates,
    entropy,
    log_probability,
    step_measures,
    tree_norm,
)
from purejax_mgtopo.algorithm.types import PyTree, Sizes, Trajectory
from purejax_mgtopo.config import Experiment, MetaConfig


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

    judges: ClassVar[bool] = True
    measures: ClassVar[Announced] = STEP_MEASURES
    outer_measures: ClassVar[Announced] = OUTER_MEASURES

    @classmethod
    def of(cls, experiment: Experiment) -> type[Rule]:
        """This rule with the paper's network, or the one with a network for each edge."""
        return EdgeMeta if experiment.meta.architecture == "edge" else cls

    def __init__(self, experiment: Experiment, sizes: Sizes) -> None:
        super().__init__(experiment, sizes)
        self.meta: MetaConfig = experiment.meta
        self.discount = experiment.learner.discount
        self.baseline = Baseline(experiment, sizes)
        self.pairs = sizes.agents * (sizes.agents - 1)
        self._eta = BackwardLSTM(self.meta.hidden, self.pairs)
        self._optimizer = eta_optimizer(self.meta)

    def init(self, key: Key[Array, ""]) -> MetaState:
        """Fresh gates, baseline and eta, or the eta that `meta.start` names."""
        gates_key, baseline_key, eta_key = jax.random.split(key, 3)
        gates = self.init_gates(gates_key)
        eta = begun(self.meta.start, self.init_eta(eta_key))
        return MetaState(
            gates=gates,
            nu=jax.tree.map(jnp.zeros_like, gates),
            baseline=self.baseline.init(baseline_key),
            eta=eta,
            eta_optimizer=self._optimizer.init(eta),
        )

    def remembered(self, state: MetaState) -> PyTree:
        """The advantage's running moments."""
        return state.baseline.moments

    def init_eta(self, key: Key[Array, ""]) -> PyTree:
        """Fresh meta-parameters."""
        width = 3 + self.pairs * (2 if self.meta.append_decisions else 1)
        return self._eta.init(key, jnp.zeros((1, width)), jnp.zeros(1))

    def advantage(
        self, eta: PyTree, gates: PyTree, trajectory: Trajectory, states: States | None = None
    ) -> Float[Array, "T N N-1"]:
        """A-hat: what eta makes of ``x_t = [r_t, d_t, gamma, {c(o_t)}]``, read backwards.

        `states` are those of eta's LSTM, if they are known already.
        """
        out = apply(self._eta, eta, *self._inputs(gates, trajectory), states)
        return out.reshape(trajectory.gates.decision.shape)

    def judged(self, state: MetaState, trajectory: Trajectory) -> Float[Array, "T N N-1"]:
        """A-hat of an episode's decisions."""
        return self.advantage(state.eta, state.gates, trajectory)

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
        gradient = self.asked(gates, trajectory, advantage)
        gates, nu = self.ascend(gates, nu, gradient, self.meta.stop_denominator)
        return gates, nu, advantage, gradient

    def learn(self, state: MetaState, trajectory: Trajectory, context: Context) -> Learned:
        """One step of Eq. 5 on the newest trajectory, with the current eta."""
        del context
        states = apply(
            self._eta, state.eta, *self._inputs(state.gates, trajectory), method="states"
        )
        gates, nu, advantage, gradient = self.inner_step(
            state.eta, state.gates, state.nu, trajectory, states
        )
        measures = step_measures(advantage, gradient, state.gates, gates)
        trace = InnerStep(for_products(state.gates), for_products(state.nu), states)
        return Learned(replace(state, gates=gates, nu=nu), measures, trace)

    def outer(
        self,
        shared: PyTree,
        before: MetaState,
        state: MetaState,
        trajectories: Trajectory,
        trace: InnerStep,
    ) -> Outer:
        """Baseline on tau(1..K) (line 12), then eta by Eq. 9 (line 13)."""
        del shared, before
        latest = jax.tree.map(lambda x: x[1:], trajectories)

        def fit(baseline: BaselineState, trajectory: Trajectory) -> tuple[BaselineState, Array]:
            return self.baseline.fit(baseline, trajectory, self.priced_reward(trajectory))

        def judge(baseline: BaselineState, trajectory: Trajectory) -> tuple[BaselineState, Array]:
            reward = self.priced_reward(trajectory)
            advantage, baseline = self.baseline.advantage(baseline, trajectory, reward)
            return baseline, advantage

        baseline, losses = jax.lax.scan(fit, state.baseline, latest)
        baseline, advantages = jax.lax.scan(judge, baseline, latest)
        weights = self._weights(advantages.shape[0])
        objective, gradient = meta_gradient(
            self._scored_step, weights, state.eta, trace, trajectories, advantages
        )
        ascent = jax.tree.map(jnp.negative, gradient)
        updates, eta_optimizer = self._optimizer.update(ascent, state.eta_optimizer, state.eta)
        eta = optax.apply_updates(state.eta, updates)
        newest = jax.tree.map(lambda x: x[-1], trajectories)
        cosine = self.reinforce_cosine(state.eta, state.gates, newest, advantages[-1])
        measures = {
            "baseline_loss": jnp.mean(losses),
            "meta_objective": objective,
            "meta_gradient_norm": tree_norm(gradient),
            "eta_update_norm": tree_norm(updates),
            "reinforce_cosine": cosine,
        }
        state = replace(state, baseline=baseline, eta=eta, eta_optimizer=eta_optimizer)
        return Outer(state, measures)

    def reinforce_cosine(
        self, eta: PyTree, gates: PyTree, trajectory: Trajectory, advantage: Float[Array, " T"]
    ) -> Float[Array, ""]:
        """Does eta ask for what REINFORCE would? Cosine of the gate gradients of Eq. 5 (A-hat) and Eq. 4 (A).

        Both over all gate parameters of all agents, before RMSprop, at the same `gates` on the same `trajectory`. An
        outer update reports it for tau(K) and the theta_c(K) that played it, with the eta that made this iteration's
        gate updates (before its own update), and with A = G - V normalised as in Eq. 7, by the updated baseline. 0
        if either gradient is exactly zero.
        """
        estimate = self.advantage(eta, gates, trajectory)
        shared = jnp.broadcast_to(advantage[:, None, None], estimate.shape)
        return self.cosine(gates, trajectory, estimate, shared)

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

        inputs = (*before_and_after(trajectories), advantages)
        values: Array
        _, values = jax.lax.scan(replay, (gates, nu), inputs)
        return values @ self._weights(values.shape[0])

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
        """Weights of the K updates' values in the objective."""
        if self.meta.blend_intermediate:
            return jnp.full(updates, 1 / updates)
        return jnp.zeros(updates).at[-1].set(1.0)
