"""Topology by policy gradient: REINFORCE with a learned baseline (paper, Eq. 4)."""

from __future__ import annotations

from dataclasses import replace

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from purejax_mgtopo.algorithm.topology.baseline import Baseline, BaselineState
from purejax_mgtopo.algorithm.topology.gates import EdgeGates, tree_difference, tree_norm
from purejax_mgtopo.algorithm.topology.metrics import RuleMetrics
from purejax_mgtopo.algorithm.types import PyTree, Trajectory
from purejax_mgtopo.config import Experiment


@flax.struct.dataclass
class ReinforceState:
    """theta_c, RMSprop's nu, and the baseline."""

    gates: PyTree
    nu: PyTree
    baseline: BaselineState


class Reinforce(EdgeGates):
    """All edges of a step share one advantage ``A_t = G_t^(n) - V(o_t)``."""

    def __init__(self, config: Experiment, num_agents: int, observation_size: int) -> None:
        super().__init__(config, num_agents, observation_size)
        self.baseline = Baseline(config, num_agents, observation_size)

    def init(self, key: Key[Array, ""]) -> ReinforceState:
        """Fresh gates and baseline."""
        gates_key, baseline_key = jax.random.split(key)
        gates = self.init_gates(gates_key)
        nu = jax.tree.map(jnp.zeros_like, gates)
        return ReinforceState(gates, nu, self.baseline.init(baseline_key))

    def inner_update(
        self, state: ReinforceState, trajectory: Trajectory, policy_gradient: PyTree
    ) -> tuple[ReinforceState, RuleMetrics, tuple[()]]:
        """One step of Eq. 4 on the newest trajectory."""
        del policy_gradient
        reward = self.priced_reward(trajectory)
        advantage, baseline = self.baseline.advantage(state.baseline, trajectory, reward)
        weight = jnp.broadcast_to(advantage[:, None, None], trajectory.gates.decision.shape)
        gradient = self.score_gradient(state.gates, trajectory, weight)
        if self.settings.entropy:
            bonus = jax.grad(self.mean_entropy)(state.gates, trajectory)
            gradient = jax.tree.map(lambda g, b: g + self.settings.entropy * b, gradient, bonus)
        gates, nu = self.ascend(state.gates, state.nu, gradient)
        metrics = RuleMetrics(
            advantage_norm=jnp.sqrt(jnp.mean(jnp.square(advantage))),
            gate_gradient_norm=tree_norm(gradient),
            gate_update_norm=tree_norm(tree_difference(gates, state.gates)),
        )
        return ReinforceState(gates, nu, baseline), metrics.filled(), ()

    def outer_update(
        self, steps: tuple[()], state: ReinforceState, trajectories: Trajectory
    ) -> tuple[ReinforceState, RuleMetrics]:
        """The baseline learns from tau(1), ..., tau(K), one step each, in order."""
        del steps

        def fit(baseline: BaselineState, trajectory: Trajectory) -> tuple[BaselineState, Array]:
            return self.baseline.fit(baseline, trajectory, self.priced_reward(trajectory))

        latest = jax.tree.map(lambda x: x[1:], trajectories)
        baseline, losses = jax.lax.scan(fit, state.baseline, latest)
        return replace(state, baseline=baseline), RuleMetrics(
            baseline_loss=jnp.mean(losses)
        ).filled()
