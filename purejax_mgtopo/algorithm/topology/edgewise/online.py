"""The meta rule with one network for every edge, learned within one seed as the paper's is (Eqs. 5-9)."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key

from purejax_mgtopo.algorithm.kernels.meta_backward import before_and_after
from purejax_mgtopo.algorithm.part import Announced, Context, Learned, Outer
from purejax_mgtopo.algorithm.topology.baseline import BaselineState
from purejax_mgtopo.algorithm.topology.edgewise.judged import (
    Edgewise,
    JudgedState,
    Moving,
    Situation,
    Told,
)
from purejax_mgtopo.algorithm.topology.edgewise.weights import begun
from purejax_mgtopo.algorithm.topology.eta import eta_optimizer
from purejax_mgtopo.algorithm.topology.gates import (
    OUTER_MEASURES,
    entropy,
    log_probability,
    step_measures,
    tree_norm,
)
from purejax_mgtopo.algorithm.types import PyTree, Sizes, Trajectory
from purejax_mgtopo.config import Experiment


@flax.struct.dataclass
class EdgeMetaState(JudgedState):
    """What gate updates move, the baseline phi, and eta with its optimiser."""

    eta: PyTree
    eta_optimizer: PyTree


class EdgeMeta(Edgewise):
    """The advantage of an edge is REINFORCE's and a correction ``f_eta``, and eta learns to make gates that pay."""

    judges: ClassVar[bool] = True
    outer_measures: ClassVar[Announced] = OUTER_MEASURES

    def __init__(self, experiment: Experiment, sizes: Sizes) -> None:
        super().__init__(experiment, sizes)
        self.meta = experiment.meta
        self._optimizer = eta_optimizer(self.meta)

    def init(self, key: Key[Array, ""]) -> EdgeMetaState:
        """Fresh gates and baseline, and an eta that corrects nothing yet, or the one that `meta.start` names."""
        gates_key, baseline_key, eta_key = jax.random.split(key, 3)
        eta = begun(self.meta.start, self.init_eta(eta_key))
        moving, baseline = self.init_moving(gates_key), self.baseline.init(baseline_key)
        return EdgeMetaState(moving, baseline, eta, self._optimizer.init(eta))

    def judged(self, state: EdgeMetaState, trajectory: Trajectory) -> Float[Array, "T N N-1"]:
        """A-hat of an episode's decisions, at the end of training."""
        end = Situation(jnp.ones(()), float(self.experiment.episodes), self.settings.edge_cost)
        reward = self.priced_reward(trajectory)
        told, _ = self.told(state.gates, state.baseline, trajectory, reward, end)
        f, _ = self.correction(state.eta, state.moving.memory, trajectory, told)
        return told.advantage[:, None, None] + f

    def learn(self, state: EdgeMetaState, trajectory: Trajectory, context: Context) -> Learned:
        """One step of Eq. 5 on the newest trajectory, with the current eta."""
        reward, situation = self.priced_reward(trajectory), self.situation(context)
        told, baseline = self.told(state.gates, state.baseline, trajectory, reward, situation)
        stop = self.meta.stop_denominator
        moving, f, gradient = self.inner_step(state.eta, state.moving, trajectory, told, stop)
        advantage = told.advantage[:, None, None] + f
        measures = step_measures(advantage, gradient, state.gates, moving.gates)
        return Learned(replace(state, moving=moving, baseline=baseline), measures, told)

    def outer(
        self,
        shared: PyTree,
        before: EdgeMetaState,
        state: EdgeMetaState,
        trajectories: Trajectory,
        trace: Told,
    ) -> Outer:
        """Baseline on tau(1..K) (line 12), then eta by Eq. 9 (line 13)."""
        del shared
        latest = jax.tree.map(lambda x: x[1:], trajectories)
        baseline, losses = self.fitted(state.baseline, latest)

        def judge(baseline: BaselineState, trajectory: Trajectory) -> tuple[BaselineState, Array]:
            reward = self.priced_reward(trajectory)
            return self.baseline.advantage(baseline, trajectory, reward)[::-1]

        # The moments that this leaves are dropped: each trajectory joins them when gates learn from it.
        advantages: Array
        _, advantages = jax.lax.scan(judge, baseline, latest)
        objective, gradient = jax.value_and_grad(self.meta_objective)(
            state.eta, before.moving, trajectories, trace, advantages
        )
        ascent = jax.tree.map(jnp.negative, gradient)
        updates, eta_optimizer = self._optimizer.update(ascent, state.eta_optimizer, state.eta)
        newest, last = jax.tree.map(lambda x: x[-1], (trajectories, advantages))
        usual = jnp.broadcast_to(last[:, None, None], newest.gates.decision.shape)
        asked = self.judged(replace(state, baseline=baseline), newest)
        measures = {
            "baseline_loss": jnp.mean(losses),
            "meta_objective": objective,
            "meta_gradient_norm": tree_norm(gradient),
            "eta_update_norm": tree_norm(updates),
            "reinforce_cosine": self.cosine(state.gates, newest, asked, usual),
        }
        eta = optax.apply_updates(state.eta, updates)
        return Outer(
            replace(state, baseline=baseline, eta=eta, eta_optimizer=eta_optimizer), measures
        )

    def meta_objective(
        self,
        eta: PyTree,
        moving: Moving,
        trajectories: Trajectory,
        told: Told,
        advantages: Float[Array, "K T"],
    ) -> Float[Array, ""]:
        """J(eta) whose gradient is Eq. 9: the K updates are replayed from `moving`, where they began.

        Args:
            eta: meta-parameters; all else is data.
            moving: theta_c(0), nu(0), and the memory before the first update.
            trajectories: tau(0), ..., tau(K) along a leading axis.
            told: of tau(0), ..., tau(K-1), when gates learned from them.
            advantages: G - V on tau(1), ..., tau(K).
        """
        data = jax.lax.stop_gradient((moving, trajectories, told, advantages))
        moving, trajectories, told, advantages = data

        def replay(moving: Moving, inputs: tuple) -> tuple[Moving, Array]:
            previous, following, told, advantage = inputs
            stop = self.meta.stop_denominator
            moving, f, _ = self.inner_step(eta, moving, previous, told, stop)
            logits = self.logits(moving.gates, following.observation[:-1])
            score = log_probability(logits, following.gates.decision) * advantage[:, None, None]
            value = jnp.sum(score + self.meta.entropy * entropy(logits)) / advantage.shape[0]
            return moving, value - self.meta.output_l2 * jnp.mean(jnp.square(f))

        inputs = (*before_and_after(trajectories), told, advantages)
        values: Array
        _, values = jax.lax.scan(replay, moving, inputs)
        return jnp.mean(values) if self.meta.blend_intermediate else values[-1]
