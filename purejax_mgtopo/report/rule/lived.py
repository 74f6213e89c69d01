"""A life lived anew under a run's rule, where that judges each edge: fresh gates among a seed's trained policies.

A run keeps its last gates alone, which have made up their minds; what its rule says of undecided ones, and over the
whole of a life, only another life can tell.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from purejax_mgtopo.algorithm.algorithm import Algorithm
from purejax_mgtopo.algorithm.edges import drop_diagonal, fill_diagonal
from purejax_mgtopo.algorithm.rollout import rollout
from purejax_mgtopo.algorithm.topology.edgewise.judged import Edgewise, Situation, Told
from purejax_mgtopo.algorithm.topology.edgewise.network import Memory
from purejax_mgtopo.algorithm.topology.edgewise.said import Said
from purejax_mgtopo.algorithm.types import Both, Mode, PyTree, Streams, Trajectory

if TYPE_CHECKING:
    from purejax_mgtopo.trained.load import Networks


@flax.struct.dataclass
class LivedLife:
    """U gate updates: what each was learned from, what the rule was told of it and said; all [U, ...]."""

    memory: Memory
    """The lifetime's, before each update."""
    trajectory: Trajectory
    told: Told
    f: Float[Array, "U T N N-1"]

    @property
    def said(self) -> Said:
        """What was told, and said, of each edge."""
        return Said(jax.tree.map(drop_diagonal, self.told.inputs), self.f)

    def thinned(self, most: int) -> LivedLife:
        """At most so many of its updates, evenly spread."""
        updates = len(self.f)
        kept = jnp.arange(min(most, updates)) * updates // min(most, updates)
        return jax.tree.map(lambda x: x[kept], self)


def speaks_of_edges(algorithm: Algorithm) -> bool:
    """Whether the algorithm's rule corrects the advantage of each edge by a network that can be asked anything."""
    return isinstance(algorithm.team.rule, Edgewise)


def network_of(algorithm: Algorithm, networks: Networks) -> PyTree:
    """The parameters by which a seed's rule judges edges. Raises ConfigError where the file that holds them is gone."""
    rule = algorithm.team.rule
    assert isinstance(rule, Edgewise)
    return jax.tree.map(jnp.asarray, rule.network_of(networks.parts.rule))


@partial(jax.jit, static_argnames=("algorithm", "updates"))
def relive(
    algorithm: Algorithm, networks: Networks, eta: PyTree, updates: int, key: Key[Array, ""]
) -> LivedLife:
    """So many gate updates from fresh gates and a fresh baseline on, among policies that learn no more.

    The rule does not learn either; it is told that the life is as long as the run's, of which each update is so much
    the larger a share.
    """
    rule, experiment = algorithm.team.rule, algorithm.experiment
    assert isinstance(rule, Edgewise)
    policy, noise = networks.learner.policy, experiment.learner.exploration_noise
    acting = algorithm.parts.acting(networks.parts).interpreter
    play_key, begin = jax.random.split(key)
    begun = rule.init(begin)

    def update(state: tuple, inputs: tuple[Array, Key[Array, ""]]) -> tuple[tuple, LivedLife]:
        (moving, baseline), (progress, key) = state, inputs
        keys, both = Streams.split(key), Both(moving.gates, acting)
        tau = rollout(algorithm.env, algorithm.team, policy, both, keys, Mode.ROLLOUT, noise)
        reward = rule.priced_reward(tau)
        situation = Situation(progress, float(experiment.episodes), rule.settings.edge_cost)
        told, baseline = rule.told(moving.gates, baseline, tau, reward, situation)
        after, f, _ = rule.inner_step(eta, moving, tau, told)
        baseline, _ = rule.baseline.fit(baseline, tau, reward)
        return (after, baseline), LivedLife(moving.memory, tau, told, f)

    keys = jax.random.split(play_key, updates)
    progress = jnp.arange(updates) / updates
    return jax.lax.scan(update, (begun.moving, begun.baseline), (progress, keys))[1]


@partial(jax.jit, static_argnames=("rule",))
def _asked(rule: Edgewise, eta: PyTree, life: LivedLife, told: Told) -> Array:
    """f of all updates, had the rule been told something else; its memory is what it was."""

    def one(inputs: tuple) -> Array:
        return rule.correction(eta, *inputs)[0]

    return jax.lax.map(one, (life.memory, life.trajectory, told))


def at_price(algorithm: Algorithm, eta: PyTree, life: LivedLife, price: float) -> Said:
    """What the rule says of the same steps where it is told of another price, and of nothing else."""
    inputs = life.told.inputs
    return _answer(algorithm, eta, life, replace(inputs, cost=jnp.full_like(inputs.cost, price)))


def among(
    algorithm: Algorithm, eta: PyTree, life: LivedLife, agents: int, key: Key[Array, ""]
) -> Said:
    """What the rule says of a made-up team of so many agents.

    Each of its edges is one of the life's, drawn with replacement and followed throughout; all else is the life's.
    """
    inputs = jax.tree.map(drop_diagonal, life.told.inputs)
    own = inputs.decision.shape[-2] * inputs.decision.shape[-1]
    source = jax.random.randint(key, (agents, agents - 1), 0, own)
    drawn = jax.tree.map(lambda x: fill_diagonal(x.reshape(*x.shape[:2], own)[..., source]), inputs)
    return _answer(
        algorithm, eta, life, replace(drawn, share=jnp.full_like(drawn.share, 1 / agents))
    )


def _answer(algorithm: Algorithm, eta: PyTree, life: LivedLife, inputs: PyTree) -> Said:
    told = replace(life.told, edges=inputs.stacked())
    f = _asked(algorithm.team.rule, eta, life, told)
    return Said(jax.tree.map(drop_diagonal, inputs), f)
