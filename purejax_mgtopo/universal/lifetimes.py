"""Lifetimes of gates under one update rule, and the objective by which that rule learns from them (Eq. 6).

Policies are frozen, and differ from one lifetime to the next; only gates learn. A lifetime lasts as many gate updates
as it was given, and then another begins in its place.
"""

from __future__ import annotations

from dataclasses import replace

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from purejax_mgtopo.algorithm.rollout import rollout
from purejax_mgtopo.algorithm.team import Policy, Team
from purejax_mgtopo.algorithm.topology.baseline import BaselineState
from purejax_mgtopo.algorithm.topology.edgewise.judged import Edgewise, Moving, Situation, Told
from purejax_mgtopo.algorithm.topology.gates import entropy, log_probability
from purejax_mgtopo.algorithm.types import Both, Measures, Mode, PyTree, Sizes, Streams, Trajectory
from purejax_mgtopo.config import Experiment, override
from purejax_mgtopo.plugins import tasks
from purejax_mgtopo.universal.settings import MetaTraining

MEASURES = ("meta_objective", "correction", "return", "edge_rate", "gate_entropy")
"""What a step tells of a lifetime: f's root mean square, and of the fresh episodes the priced return."""


@flax.struct.dataclass
class Lot:
    """What a lifetime is given at its birth."""

    policy: Int[Array, ""]
    """Which of the frozen teams plays."""
    length: Float[Array, ""]
    """Its gate updates."""
    cost: Float[Array, ""]
    """Price of an open edge."""
    scale: Float[Array, ""]
    """A factor for rewards and price."""


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


class Group:
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
        self.settings, self.policies, self.acting = settings, policies, acting
        self.updates = experiment.updates_per_iteration
        self.noise = experiment.learner.exploration_noise
        self.env = env = tasks.make(experiment.task)
        sizes = Sizes(env.num_agents, env.observation_size, env.action_size, horizon=env.horizon)
        self.team = Team(experiment, sizes, env.others_seen)
        self.rule = Edgewise(experiment, self.team.sizes)
        self.teams = jax.tree.leaves(policies)[0].shape[0]

    def first(self, key: Key[Array, ""]) -> Lifetime:
        """A lifetime of the first generation: as old as it happens to be, so that deaths are spread."""
        key, age_key = jax.random.split(key)
        life = self.born(key)
        return replace(life, age=jnp.floor(life.lot.length * jax.random.uniform(age_key)))

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

    def draw(self, key: Key[Array, ""]) -> Lot:
        """A lifetime's lot."""
        settings = self.settings
        policy_key, *keys = jax.random.split(key, 4)
        length, cost, scale = (jax.random.uniform(key) for key in keys)
        factor = settings.largest_scale ** (2 * scale - 1)
        return Lot(
            policy=jax.random.randint(policy_key, (), 0, self.teams),
            length=jnp.floor(
                settings.shortest * (settings.longest / settings.shortest) ** length + 0.5
            ),
            cost=factor * settings.highest_cost * cost,
            scale=factor,
        )

    def play(self, lot: Lot, gates: PyTree, key: Key[Array, ""]) -> Trajectory:
        """An episode of the lot's frozen team, with these gates; its reward is scaled and priced."""
        policy, acting = jax.tree.map(lambda x: x[lot.policy], (self.policies, self.acting))
        keys, both = Streams.split(key), Both(gates, acting)
        tau = rollout(self.env, self.team, policy, both, keys, Mode.ROLLOUT, self.noise)
        opened = jnp.sum(tau.gates.decision, axis=(-2, -1))
        return replace(tau, reward=lot.scale * tau.reward - lot.cost * opened)

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

    def judged(self, life: Lifetime, key: Key[Array, ""]) -> tuple[Trajectory, Float[Array, "F T"]]:
        """Fresh episodes of a lifetime, and their advantages by its baseline."""
        keys = jax.random.split(key, self.settings.fresh_episodes)
        fresh = jax.vmap(lambda key: self.play(life.lot, life.moving.gates, key))(keys)

        def advantage(tau: Trajectory) -> Float[Array, " T"]:
            return self.rule.baseline.advantage(life.baseline, tau, tau.reward)[0]

        return fresh, jax.vmap(advantage)(fresh)

    def step(self, eta: PyTree, life: Lifetime) -> tuple[Lifetime, tuple[PyTree, Measures]]:
        """A lifetime K gate updates later, the gradient that it would move eta by, and its measures."""
        key, birth_key, fresh_key = jax.random.split(life.key, 3)
        over = (life.age >= life.lot.length) | ~_finite(life.moving)
        begun = jax.tree.map(
            lambda old, new: jnp.where(over, new, old), replace(life, key=key), self.born(birth_key)
        )
        ended, (taus, told) = self.lived(eta, begun)
        fresh, advantages = self.judged(ended, fresh_key)
        (objective, f), gradient = jax.value_and_grad(self.objective, has_aux=True)(
            eta, begun.moving, taus, told, fresh, advantages
        )
        probability = fresh.gates.probability
        logits = self.rule.logits(ended.moving.gates, fresh.observation[:, :-1])
        values = (
            objective,
            jnp.sqrt(jnp.mean(jnp.square(f))),
            jnp.mean(jnp.sum(fresh.reward, axis=-1)) / life.lot.scale,
            jnp.mean(probability),
            jnp.mean(entropy(logits)),
        )
        return ended, (gradient, dict(zip(MEASURES, values, strict=True)))

    def objective(
        self,
        eta: PyTree,
        moving: Moving,
        taus: Trajectory,
        told: Told,
        fresh: Trajectory,
        advantages: Float[Array, "F T"],
    ) -> tuple[Float[Array, ""], Float[Array, "K T N N-1"]]:
        """What the gates are worth that eta makes of those in `moving`, and the f by which it does.

        ``mean log c sg(A) + beta H - l2 mean f^2 - l mean(f)^2``, over fresh episodes after the K-th update, steps and
        edges; all but eta is data.
        """
        settings = self.settings
        moving, taus, told, fresh, advantages = jax.lax.stop_gradient(
            (moving, taus, told, fresh, advantages)
        )

        def replay(moving: Moving, inputs: tuple) -> tuple[Moving, Array]:
            tau, told = inputs
            moving, f, _ = self.rule.inner_step(eta, moving, tau, told, True)
            return moving, f

        f: Array
        moving, f = jax.lax.scan(replay, moving, (taus, told))
        logits = self.rule.logits(moving.gates, fresh.observation[:, :-1])
        score = log_probability(logits, fresh.gates.decision) * advantages[..., None, None]
        value = jnp.mean(score + settings.entropy * entropy(logits))
        penalty = settings.output_l2 * jnp.mean(jnp.square(f))
        return value - penalty - settings.mean_l2 * jnp.square(jnp.mean(f)), f


def _finite(tree: PyTree) -> Bool[Array, ""]:
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)]))
