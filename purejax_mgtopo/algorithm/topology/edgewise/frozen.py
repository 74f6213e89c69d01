"""An update rule that was learned once, over many tasks and sizes, and learns no more."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from purejax_mgtopo.algorithm.part import Announced, Context, Learned, Outer
from purejax_mgtopo.algorithm.topology.edgewise.judged import Edgewise, JudgedState
from purejax_mgtopo.algorithm.topology.edgewise.weights import SHIPPED, read_rule
from purejax_mgtopo.algorithm.topology.gates import BASELINE_MEASURES, step_measures
from purejax_mgtopo.algorithm.types import PyTree, Trajectory


class Universal(Edgewise):
    """The advantage of an edge is REINFORCE's and the correction of a frozen network, the same for every task and N."""

    outer_measures: ClassVar[Announced] = BASELINE_MEASURES

    @cached_property
    def eta(self) -> PyTree:
        """The network's parameters, read when they are first needed: a trained team acts without them."""
        file = self.experiment.member.universal.file
        return read_rule(file or SHIPPED)[1]

    def init_shared(self, key: Key[Array, ""]) -> PyTree:
        """Nothing, for what is frozen need not be shared; but a file that cannot be read is refused before a run."""
        assert self.eta is not None
        return super().init_shared(key)

    def network_of(self, state: JudgedState) -> PyTree:
        """The parameters by which a seed's edges are judged."""
        del state
        return jax.tree.map(jnp.asarray, self.eta)

    def init(self, key: Key[Array, ""]) -> JudgedState:
        """Fresh gates and baseline."""
        gates_key, baseline_key = jax.random.split(key)
        return JudgedState(self.init_moving(gates_key), self.baseline.init(baseline_key))

    def learn(self, state: JudgedState, trajectory: Trajectory, context: Context) -> Learned:
        """One step of Eq. 5 on the newest trajectory."""
        reward, situation = self.priced_reward(trajectory), self.situation(context)
        told, baseline = self.told(state.gates, state.baseline, trajectory, reward, situation)
        eta = self.network_of(state)
        moving, f, gradient = self.inner_step(eta, state.moving, trajectory, told)
        advantage = told.advantage[:, None, None] + f
        measures = step_measures(advantage, gradient, state.gates, moving.gates)
        return Learned(replace(state, moving=moving, baseline=baseline), measures)

    def outer(
        self,
        shared: PyTree,
        before: JudgedState,
        state: JudgedState,
        trajectories: Trajectory,
        trace: PyTree,
    ) -> Outer:
        """The baseline learns from tau(1), ..., tau(K), one step each, in order."""
        del shared, before, trace
        latest = jax.tree.map(lambda x: x[1:], trajectories)
        baseline, losses = self.fitted(state.baseline, latest)
        return Outer(replace(state, baseline=baseline), {"baseline_loss": jnp.mean(losses)})
