"""The rule that judges edges by a network that it does not own: what all lifetimes share, and learn together."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from purejax_mgtopo.algorithm.part import Announced, Context, Learned, Outer
from purejax_mgtopo.algorithm.topology.edgewise.judged import Edgewise, JudgedState, Situation, Told
from purejax_mgtopo.algorithm.topology.gates import BASELINE_MEASURES, step_measures
from purejax_mgtopo.algorithm.types import PyTree, Trajectory
from purejax_mgtopo.universal.lives import Lot, priced


@flax.struct.dataclass
class LentState(JudgedState):
    """What gate updates move, the baseline, and what a lifetime was given."""

    lot: Lot


class Lent(Edgewise):
    """The advantage of an edge is REINFORCE's and the correction of a shared network, of scaled and priced rewards.

    It does not move the network. It hands over what a group of lifetimes makes a direction of: the K episodes that
    gates have learned from, and what was told of them.
    """

    outer_measures: ClassVar[Announced] = BASELINE_MEASURES

    def init_shared(self, key: Key[Array, ""]) -> PyTree:
        """A network that corrects nothing yet."""
        return self.init_eta(key)

    def init(self, key: Key[Array, ""]) -> LentState:
        """Fresh gates and baseline, and a lot that changes nothing, for a group to replace."""
        gates_key, baseline_key = jax.random.split(key)
        one, none = jnp.ones(()), jnp.zeros(())
        lot = Lot(policy=jnp.zeros((), jnp.int32), length=one, cost=none, scale=one)
        return LentState(self.init_moving(gates_key), self.baseline.init(baseline_key), lot)

    def learn(self, state: LentState, trajectory: Trajectory, context: Context) -> Learned:
        """One step of Eq. 5 on the newest trajectory, with the network as it is now."""
        lot, tau = state.lot, priced(state.lot, trajectory)
        situation = Situation(context.clock.episode / lot.length, lot.length, lot.cost)
        told, baseline = self.told(state.gates, state.baseline, tau, tau.reward, situation)
        moving, f, gradient = self.inner_step(context.shared, state.moving, tau, told, True)
        advantage = told.advantage[:, None, None] + f
        measures = step_measures(advantage, gradient, state.gates, moving.gates)
        return Learned(LentState(moving, baseline, lot), measures, told)

    def outer(
        self,
        shared: PyTree,
        before: LentState,
        state: LentState,
        trajectories: Trajectory,
        trace: Told,
    ) -> Outer:
        """The baseline learns from tau(1), ..., tau(K); tau(0), ..., tau(K-1) are handed over."""
        del shared, before
        taus = priced(state.lot, trajectories)
        baseline, losses = self.fitted(state.baseline, jax.tree.map(lambda x: x[1:], taus))
        learned_from = jax.tree.map(lambda x: x[:-1], taus)
        measures = {"baseline_loss": jnp.mean(losses)}
        return Outer(replace(state, baseline=baseline), measures, (learned_from, trace))
