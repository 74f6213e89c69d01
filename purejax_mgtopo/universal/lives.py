"""What lifetimes of gates under one update rule have in common: lots, deaths, and the objective by which that rule
learns from them (Eq. 6).

A lifetime lasts as many gate updates as it was given, and then another begins in its place.
"""

from __future__ import annotations

import abc
from dataclasses import replace
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from purejax_mgtopo.algorithm.topology.edgewise.judged import Edgewise, Moving, Told
from purejax_mgtopo.algorithm.topology.gates import entropy, log_probability
from purejax_mgtopo.algorithm.types import Measures, PyTree, Trajectory
from purejax_mgtopo.population.frozen import all_finite
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
    delay: Int[Array, ""] | None = None
    """Steps by which rewards come late; None where they never do."""


def priced(lot: Lot, trajectories: Trajectory) -> Trajectory:
    """Trajectories whose rewards are scaled and come late, and whose open edges are paid for at once."""
    opened = jnp.sum(trajectories.gates.decision, axis=(-2, -1))
    reward = trajectories.reward
    if lot.delay is not None:
        reward = late(reward, lot.delay)
    return replace(trajectories, reward=lot.scale * reward - lot.cost * opened)


def late(reward: Float[Array, "*batch T"], delay: Int[Array, ""]) -> Float[Array, "*batch T"]:
    """Rewards so many steps later; all that would come after the last step come in it."""
    steps = jnp.arange(reward.shape[-1])
    arrives = jnp.minimum(steps + delay, steps[-1])
    # Selected and summed: a product would round, and a scatter is what GPUs do badly.
    return jnp.sum(jnp.where(arrives[:, None] == steps, reward[..., None], 0.0), axis=-2)


class Lives(abc.ABC):
    """The lifetimes of one task, and an objective.

    A lifetime has `lot`, `age` (gate updates done), `moving`, `baseline` and `key`.

    Args:
        rule: how gates learn, and are judged.
        teams: from how many teams a lot chooses.
    """

    def __init__(self, settings: MetaTraining, rule: Edgewise, teams: int) -> None:
        self.settings, self.rule, self.teams = settings, rule, teams

    @abc.abstractmethod
    def born(self, key: Key[Array, ""]) -> Any:
        """Fresh gates in a new situation."""

    @abc.abstractmethod
    def aged(self, life: Any, age: Float[Array, ""]) -> Any:
        """A lifetime that has been told that so many gate updates are done."""

    @abc.abstractmethod
    def lived(self, eta: PyTree, life: Any) -> tuple[Any, tuple[Trajectory, Told]]:
        """A lifetime K gate updates later, and the episodes it has learned from, with what was told of them."""

    @abc.abstractmethod
    def played(self, life: Any, key: Key[Array, ""]) -> Trajectory:
        """An episode of a lifetime as it is now; its reward is scaled and priced."""

    def next(self, over: Bool[Array, ""], life: Any, key: Key[Array, ""]) -> Any:
        """The lifetime, or another in its place."""
        return jax.tree.map(lambda old, new: jnp.where(over, new, old), life, self.born(key))

    def first(self, key: Key[Array, ""]) -> Any:
        """A lifetime of the first generation: as old as it happens to be, so that deaths are spread."""
        key, age_key = jax.random.split(key)
        life = self.born(key)
        return self.aged(life, jnp.floor(life.lot.length * jax.random.uniform(age_key)))

    def judged(self, life: Any, key: Key[Array, ""]) -> tuple[Trajectory, Float[Array, "F T"]]:
        """Fresh episodes of a lifetime, and their advantages by its baseline."""
        keys = jax.random.split(key, self.settings.fresh_episodes)
        fresh = jax.vmap(lambda key: self.played(life, key))(keys)

        def advantage(tau: Trajectory) -> Float[Array, " T"]:
            return self.rule.baseline.advantage(life.baseline, tau, tau.reward)[0]

        return fresh, jax.vmap(advantage)(fresh)

    def draw(self, key: Key[Array, ""]) -> Lot:
        """A lifetime's lot."""
        settings = self.settings
        delays = settings.longest_delay > 0
        policy_key, *keys = jax.random.split(key, 4 + delays)
        length, cost, scale = (jax.random.uniform(key) for key in keys[:3])
        factor = settings.largest_scale ** (2 * scale - 1)
        return Lot(
            policy=jax.random.randint(policy_key, (), 0, self.teams),
            length=jnp.floor(
                settings.shortest * (settings.longest / settings.shortest) ** length + 0.5
            ),
            cost=factor * settings.highest_cost * cost,
            scale=factor,
            delay=jax.random.randint(keys[3], (), 0, settings.longest_delay + 1)
            if delays
            else None,
        )

    def step(self, eta: PyTree, life: Any) -> tuple[Any, tuple[PyTree, Measures]]:
        """A lifetime K gate updates later, the gradient that it would move eta by, and its measures."""
        key, birth_key, fresh_key = jax.random.split(life.key, 3)
        over = (life.age >= life.lot.length) | ~all_finite(life.moving)
        begun = self.next(over, replace(life, key=key), birth_key)
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
            jnp.mean(jnp.sum(fresh.reward, axis=-1)) / ended.lot.scale,
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
