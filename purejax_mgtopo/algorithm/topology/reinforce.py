"""Topology by policy gradient: REINFORCE with a learned baseline (paper, Eq. 4)."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from purejax_mgtopo.algorithm.part import Announced, Context, Learned, Outer
from purejax_mgtopo.algorithm.topology.baseline import Baseline, BaselineState
from purejax_mgtopo.algorithm.topology.gates import (
    BASELINE_MEASURES,
    STEP_MEASURES,
    EdgeGates,
    step_measures,
)
from purejax_mgtopo.algorithm.types import PyTree, Sizes, Trajectory
from purejax_mgtopo.config import Experiment


@flax.struct.dataclass
class ReinforceState:
    """theta_c, RMSprop's nu, and the baseline."""

    gates: PyTree
    nu: PyTree
    baseline: BaselineState


class Reinforce(EdgeGates):
    """All edges of a step share one advantage ``A_t = G_t^(n) - V(o_t)``."""

    measures: ClassVar[Announced] = STEP_MEASURES
    outer_measures: ClassVar[Announced] = BASELINE_MEASURES

    def __init__(self, experiment: Experiment, sizes: Sizes) -> None:
        super().__init__(experiment, sizes)
        self.baseline = Baseline(experiment, sizes)

    def init(self, key: Key[Array, ""]) -> ReinforceState:
        """Fresh gates and baseline."""
        gates_key, baseline_key = jax.random.split(key)
        gates = self.init_gates(gates_key)
        nu = jax.tree.map(jnp.zeros_like, gates)
        return ReinforceState(gates, nu, self.baseline.init(baseline_key))

    def remembered(self, state: ReinforceState) -> PyTree:
        """The advantage's running moments."""
        return state.baseline.moments

    def learn(self, state: ReinforceState, trajectory: Trajectory, context: Context) -> Learned:
        """One step of Eq. 4 on the newest trajectory."""
        del context
        reward = self.priced_reward(trajectory)
        advantage, baseline = self.baseline.advantage(state.baseline, trajectory, reward)
        weight = jnp.broadcast_to(advantage[:, None, None], trajectory.gates.decision.shape)
        gradient = self.asked(state.gates, trajectory, weight)
        gates, nu = self.ascend(state.gates, state.nu, gradient)
        measures = step_measures(advantage, gradient, state.gates, gates)
        return Learned(ReinforceState(gates, nu, baseline), measures)

    def outer(
        self,
        shared: PyTree,
        before: ReinforceState,
        state: ReinforceState,
        trajectories: Trajectory,
        trace: PyTree,
    ) -> Outer:
        """The baseline learns from tau(1), ..., tau(K), one step each, in order."""
        del shared, before, trace

        def fit(baseline: BaselineState, trajectory: Trajectory) -> tuple[BaselineState, Array]:
            return self.baseline.fit(baseline, trajectory, self.priced_reward(trajectory))

        latest = jax.tree.map(lambda x: x[1:], trajectories)
        baseline, losses = jax.lax.scan(fit, state.baseline, latest)
        return Outer(replace(state, baseline=baseline), {"baseline_loss": jnp.mean(losses)})
