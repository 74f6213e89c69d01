"""Is a prey worth chasing?

Fresh predators are trained against it, with the package's own learner; and hunters that head straight for the nearest
prey, which need no training, try it too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import jax_mpe
import numpy as np
from jax_mpe.predator_prey import PredatorPrey, PredatorPreyState
from jax_mpe.scenario import Snapshot
from jaxtyping import Array, Float, Key
from numpy.typing import NDArray

from purejax_mgtopo.algorithm.algorithm import Algorithm, LearnerState
from purejax_mgtopo.algorithm.evaluate import evaluation_episodes
from purejax_mgtopo.algorithm.types import Mode, Purpose
from purejax_mgtopo.analysis.statistics import Interval, stratified_bootstrap
from purejax_mgtopo.config import Config, EvaluationConfig, Experiment
from purejax_mgtopo.population.population import Population
from purejax_mgtopo.prey.selfplay import hunt_straight
from purejax_mgtopo.prey.settings import PreySettings

FIRST_SEED = 1_000
"""The first seed of the predators, which must not start as those of the self-play did."""
EPISODES = 500
SEED = 20_212


class Chase(NamedTuple):
    """How trained predators fare without exploration: means over episodes, one number a seed."""

    contacts: Float[np.ndarray, " S"]
    """Pairs of predator and prey in contact, summed over the steps of an episode."""
    captures: Float[np.ndarray, " S"]
    """Steps and prey in contact with any predator, an episode."""
    inside: Float[np.ndarray, " S"]
    """Share of the prey's steps within the arena."""
    team_return: Float[np.ndarray, " S"]

    def intervals(self) -> dict[str, list[float]]:
        """Each measure's mean over seeds with its 95 % interval, ready for JSON."""
        return {name: _interval(values) for name, values in self._asdict().items()}


def chase(settings: PreySettings, prey: str, tell: Callable[[int], None]) -> Chase:
    """Train predators with topology `none` against this prey, and watch them.

    Args:
        settings: for the size of the task, the number of seeds, and how long to train.
        prey: as `jax_mpe.make` takes it.
        tell: called after each chunk with the episodes done.
    """
    experiment = Experiment(
        task=f"{settings.task}@{prey}",
        topology="none",
        messages="lstm",
        seeds=settings.seeds,
        first_seed=FIRST_SEED,
        episodes=settings.chase_episodes,
        chunk_episodes=settings.chunk,
        evaluation=EvaluationConfig(every=settings.chase_episodes, episodes=EPISODES),
    )
    population = Population(Config(experiment))
    state = population.init()
    for _ in range(experiment.chunks):
        state, report = population.advance(state)
        tell(report.episode)
    seeds = jax.tree.map(lambda x: jax.device_put(x, jax.devices()[0]), state.seeds)
    watched = jax.jit(lambda seeds: jax.lax.map(_Watch(population.algorithm), seeds))(seeds)
    return Chase(*(np.asarray(x, float)[: settings.seeds] for x in watched))


def hunt(settings: PreySettings, prey: str) -> list[float]:
    """Contacts an episode with straight hunters: mean over episodes with its 95 % interval."""
    env = cast(PredatorPrey, jax_mpe.make(settings.task, prey=prey))

    def episode(key: Key[Array, ""]) -> Array:
        def step(state: PredatorPreyState, _: None) -> tuple[PredatorPreyState, Array]:
            state, _ = env.step(state, hunt_straight(state))
            return state, env.measures(state)["contacts"]

        return jnp.sum(jax.lax.scan(step, env.reset(key)[0], length=env.horizon)[1])

    keys = jax.random.split(Purpose.HUNT.key(SEED), EPISODES)
    return _interval(np.asarray(jax.jit(jax.vmap(episode))(keys), float))


def _interval(values: NDArray[np.float64]) -> list[float]:
    """The mean of `values` with its 95 % interval, ready for JSON."""
    one: Interval = stratified_bootstrap([values], lambda drawn: drawn[0].mean(axis=-1))
    return [round(float(x), 4) for x in (one.point, one.low, one.high)]


class _Watch:
    def __init__(self, algorithm: Algorithm) -> None:
        self.algorithm = algorithm
        self.env = cast(PredatorPrey, algorithm.env)

    def __call__(self, state: LearnerState) -> tuple[Array, ...]:
        episodes = evaluation_episodes(self.algorithm, state, Mode.EVAL_GREEDY)

        def restored(moving: Array, fixed: Array) -> Any:
            return jax.vmap(lambda m: self.env.restore(Snapshot(m, fixed), 0))(moving[1:])

        states = jax.vmap(restored)(episodes.moving, episodes.fixed)
        measures = jax.vmap(jax.vmap(self.env.measures))(states)
        far = jnp.max(jnp.abs(states.prey_position), axis=-1)
        return (
            jnp.mean(jnp.sum(measures["contacts"], axis=1)),
            jnp.mean(jnp.sum(measures["captures"], axis=1)),
            jnp.mean(far <= self.env.half_width),
            jnp.mean(jnp.sum(episodes.reward, axis=1)),
        )
