"""Lifetimes of gates among frozen policies, which differ from one lifetime to the next: only gates learn."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from purejax_mgtopo.algorithm.rollout import rollout
from purejax_mgtopo.algorithm.team import Policy, Team
from purejax_mgtopo.algorithm.topology.baseline import BaselineState
from purejax_mgtopo.algorithm.topology.edgewise.judged import Edgewise, Moving, Situation, Told
from purejax_mgtopo.algorithm.types import Both, Mode, PyTree, Sizes, Streams, Trajectory
from purejax_mgtopo.config import Experiment, override
from purejax_mgtopo.plugins import tasks
from purejax_mgtopo.universal.lives import Lives, Lot, priced
from purejax_mgtopo.universal.settings import MetaTraining

if TYPE_CHECKING:
    from purejax_mgtopo.trained.load import TrainedRun


@flax.struct.dataclass
class Lifetime:
    """All that one lifetime is."""

    lot: Lot
    age: Float[Array, ""]
    """Gate updates done."""
    moving: Moving
    baseline: BaselineState
    trajectory: Trajectory
    """The newest episode, not yet learned from; its reward is scaled and priced."""
    key: Key[Array, ""]


class Group(Lives):
    """The lifetimes of one task: frozen teams, fresh gates, and an objective.

    Args:
        experiment: the task, and how gates and baseline learn.
        policies: the frozen teams' policies, along a leading axis.
        acting: what their interpreters act with besides, likewise.
    """

    def __init__(
        self, experiment: Experiment, settings: MetaTraining, policies: Policy, acting: PyTree
    ) -> None:
        # The price is part of a lifetime's rewards: whatever comes to the rule has it taken off.
        experiment = override(experiment, {"topology": "universal", "gates.edge_cost": 0.0})
        self.policies, self.acting = policies, acting
        self.updates = experiment.updates_per_iteration
        self.noise = experiment.learner.exploration_noise
        self.env = env = tasks.make(experiment.task)
        sizes = Sizes(env.num_agents, env.observation_size, env.action_size, horizon=env.horizon)
        self.team = Team(experiment, sizes, env.others_seen)
        teams = jax.tree.leaves(policies)[0].shape[0]
        super().__init__(settings, Edgewise(experiment, self.team.sizes), teams)

    def born(self, key: Key[Array, ""]) -> Lifetime:
        """Fresh gates in a new situation."""
        key, lot_key, gates_key, baseline_key, play_key = jax.random.split(key, 5)
        lot = self.draw(lot_key)
        moving = self.rule.init_moving(gates_key)
        return Lifetime(
            lot=lot,
            age=jnp.zeros(()),
            moving=moving,
            baseline=self.rule.baseline.init(baseline_key),
            trajectory=self.play(lot, moving.gates, play_key),
            key=key,
        )

    def aged(self, life: Lifetime, age: Float[Array, ""]) -> Lifetime:
        """A lifetime that has been told that so many gate updates are done."""
        return replace(life, age=age)

    def play(self, lot: Lot, gates: PyTree, key: Key[Array, ""]) -> Trajectory:
        """An episode of the lot's frozen team, with these gates; its reward is scaled and priced."""
        policy, acting = jax.tree.map(lambda x: x[lot.policy], (self.policies, self.acting))
        keys, both = Streams.split(key), Both(gates, acting)
        return priced(
            lot, rollout(self.env, self.team, policy, both, keys, Mode.ROLLOUT, self.noise)
        )

    def played(self, life: Lifetime, key: Key[Array, ""]) -> Trajectory:
        """An episode of a lifetime as it is now; its reward is scaled and priced."""
        return self.play(life.lot, life.moving.gates, key)

    def lived(self, eta: PyTree, life: Lifetime) -> tuple[Lifetime, tuple[Trajectory, Told]]:
        """A lifetime K gate updates later, and the episodes it has learned from, with what was told of them."""
        keys = jax.random.split(life.key, self.updates + 1)

        def update(life: Lifetime, key: Array) -> tuple[Lifetime, tuple]:
            lot, tau = life.lot, life.trajectory
            situation = Situation(life.age / lot.length, lot.length, lot.cost)
            told, baseline = self.rule.told(
                life.moving.gates, life.baseline, tau, tau.reward, situation
            )
            moving, f, _ = self.rule.inner_step(eta, life.moving, tau, told, True)
            after = self.play(lot, moving.gates, key)
            life = Lifetime(lot, life.age + 1, moving, baseline, after, life.key)
            return life, (tau, told)

        life, (taus, told) = jax.lax.scan(update, replace(life, key=keys[0]), keys[1:])
        latest = jax.tree.map(
            lambda past, last: jnp.concatenate([past[1:], last[None]]), taus, life.trajectory
        )
        baseline, _ = self.rule.fitted(life.baseline, latest)
        return replace(life, baseline=baseline), (taus, told)

    def lasting(self, updates: int, key: Key[Array, ""]) -> Lifetime:
        """A newborn of so many gate updates, whatever its lot says."""
        life = self.born(key)
        return replace(life, lot=replace(life.lot, length=jnp.asarray(float(updates))))


def group_of(trained: TrainedRun, settings: MetaTraining) -> Group:
    """The lifetimes among all teams of a run of the method random."""
    networks = jax.tree.map(jnp.asarray, trained.networks)
    acting = trained.algorithm.parts.acting(networks.parts).interpreter
    return Group(trained.experiment, settings, networks.learner.policy, acting)
