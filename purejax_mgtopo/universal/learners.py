"""Lifetimes in which everything learns: policies, critic and gates, from the first episode on (Algorithm 1)."""

from __future__ import annotations

from dataclasses import replace

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from purejax_mgtopo.algorithm.algorithm import Algorithm, LearnerState
from purejax_mgtopo.algorithm.rollout import rollout
from purejax_mgtopo.algorithm.topology.baseline import BaselineState
from purejax_mgtopo.algorithm.topology.edgewise.judged import Moving, Told
from purejax_mgtopo.algorithm.types import Both, Clock, Mode, PyTree, Streams, Trajectory
from purejax_mgtopo.config import Experiment, override
from purejax_mgtopo.universal.lent import Lent
from purejax_mgtopo.universal.lives import Lives, Lot, priced
from purejax_mgtopo.universal.settings import MetaTraining


@flax.struct.dataclass
class LearningLife:
    """All that one lifetime is: a seed of a training run, with counters and a lot of its own."""

    state: LearnerState
    clock: Clock
    key: Key[Array, ""]

    @property
    def lot(self) -> Lot:
        """What it was given at its birth."""
        return self.state.parts.rule.lot

    @property
    def age(self) -> Array:
        """Gate updates that are done: one after each episode."""
        return self.clock.episode

    @property
    def moving(self) -> Moving:
        """What a gate update moves."""
        return self.state.parts.rule.moving

    @property
    def baseline(self) -> BaselineState:
        """By what episodes are judged."""
        return self.state.parts.rule.baseline


class LearningGroup(Lives):
    """The lifetimes of one task, in which all that a team is begins anew and learns.

    The critic and the policies learn from the task's own rewards; scale and price are the rule's.
    """

    def __init__(self, experiment: Experiment, settings: MetaTraining) -> None:
        # As among frozen teams, the price is part of a lifetime's rewards.
        experiment = override(experiment, {"topology": "universal", "gates.edge_cost": 0.0})
        self.algorithm = Algorithm(experiment, Lent)
        self.env, self.noise = self.algorithm.env, experiment.learner.exploration_noise
        rule = self.algorithm.team.rule
        assert isinstance(rule, Lent)
        super().__init__(settings, rule, teams=1)

    def born(self, key: Key[Array, ""]) -> LearningLife:
        """Fresh networks and gates, a replay that is warmed up, and a lot."""
        key, lot_key, learner_key = jax.random.split(key, 3)
        state = self.algorithm.init(learner_key)
        rule = replace(state.parts.rule, lot=self.draw(lot_key))
        state = replace(state, parts=replace(state.parts, rule=rule))
        return LearningLife(state, self.algorithm.start_clock(), key)

    def aged(self, life: LearningLife, age: Float[Array, ""]) -> LearningLife:
        """A lifetime that has been told that so many gate updates are done."""
        return replace(life, clock=replace(life.clock, episode=age.astype(jnp.int32)))

    def next(self, over: Bool[Array, ""], life: LearningLife, key: Key[Array, ""]) -> LearningLife:
        """The lifetime, or another in its place.

        Where lanes go one after the other it is made only if it is needed: it takes a replay's worth of episodes.
        """
        return jax.lax.cond(over, lambda: self.born(key), lambda: life)

    def lived(
        self, eta: PyTree, life: LearningLife
    ) -> tuple[LearningLife, tuple[Trajectory, Told]]:
        """A lifetime K episodes later, and the episodes that gates have learned from, with what was told of them."""
        state, _, updates = self.algorithm.iterate(life.state, life.clock, Both(rule=eta))
        clock = life.clock.advanced(self.algorithm.experiment.updates_per_iteration)
        return LearningLife(state, clock, life.key), updates.rule

    def played(self, life: LearningLife, key: Key[Array, ""]) -> Trajectory:
        """An episode of a lifetime as it is now; its reward is scaled and priced."""
        team, policy = self.algorithm.team, life.state.learner.policy
        acting = self.algorithm.parts.acting(life.state.parts)
        keys = Streams.split(key)
        tau = rollout(self.env, team, policy, acting, keys, Mode.ROLLOUT, self.noise)
        return priced(life.lot, tau)
