"""A tiny run, and networks that never trained, for what is done with trained teams."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from purejax_mgtopo.algorithm.algorithm import Algorithm
from purejax_mgtopo.algorithm.types import Both
from purejax_mgtopo.config import Config, Experiment, Means, override
from purejax_mgtopo.trained.assess import CONDITIONS, Assessment, Outcome
from purejax_mgtopo.trained.export import header_of, networks_of
from purejax_mgtopo.trained.load import Networks, TrainedRun, load_trained
from purejax_mgtopo.trained.policy import ExportedTeam, load_policy, pack

TINY = {
    "task": "navigation_N3_l3",
    "topology": "reinforce",
    "seeds": 2,
    "first_seed": 4,
    "episodes": 2,
    "updates_per_iteration": 2,
    "chunk_episodes": 2,
    "evaluation.every": 2,
    "evaluation.episodes": 2,
    "evaluation.final_episodes": 4,
    "learner.hidden": 8,
    "learner.batch_size": 8,
    "learner.replay_transitions": 150,
    "learner.warmup_episodes": 3,
    "meta.hidden": 6,
    "seed_axis": "map",
    "wandb": "off",
}


def scattered(shapes: Any, seed: int) -> Any:
    """Random numbers in the place of every parameter: nothing is zero, nothing alike."""
    rng = np.random.default_rng(seed)

    def fill(leaf: Any) -> jax.Array:
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            return jnp.zeros(leaf.shape, leaf.dtype)
        return jnp.asarray(rng.normal(size=leaf.shape) * 0.6, leaf.dtype)

    return jax.tree.map(fill, shapes)


def made_up(folder: Path, seed: int = 0, **changes: Any) -> TrainedRun:
    """A run that never trained: random networks of seed 4."""
    (folder / "config.json").write_text("{}")
    settings = {name.replace("__", "."): value for name, value in changes.items()}
    algorithm = Algorithm(override(Config(), TINY | settings).experiment)
    key = jax.eval_shape(lambda: jax.random.key(0))
    learned = scattered(jax.eval_shape(algorithm.maddpg.init, key), seed)
    parts = scattered(jax.eval_shape(algorithm.parts.init, Both(key, key)), seed + 1)
    networks = jax.tree.map(lambda leaf: leaf[None], Networks(learned, parts))
    return TrainedRun(folder, algorithm.experiment, Means(), algorithm, (4,), networks, episode=2)


def content_of(trained: TrainedRun) -> bytes:
    return pack(header_of(trained, 4), networks_of(trained, 4))


def through_a_file(trained: TrainedRun) -> ExportedTeam:
    path = trained.folder / "policy.npz"
    path.write_bytes(content_of(trained))
    return load_policy(path)


def observations(trained: TrainedRun, steps: int, batch: int = 5, seed: int = 9) -> list[jax.Array]:
    env = trained.algorithm.env
    shape = (steps, batch, env.num_agents, env.observation_size)
    return list(jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32))


def biased(gates: Any, change: Any) -> Any:
    """Gates whose last layer has another bias."""
    last = gates["params"]["Dense_2"]
    return {"params": {**gates["params"], "Dense_2": {**last, "bias": change(last["bias"])}}}


def changed(of_policy: Any = None, of_gates: Any = None) -> Any:
    """Stands in for `load_trained`: leaves of the run's two seeds multiplied or shifted, seed by seed."""

    def by_seed(values: Any, leaf: Any) -> Any:
        return np.reshape(values, (2, *[1] * (leaf.ndim - 1))).astype(leaf.dtype)

    def load(*args: Any) -> Any:
        trained = load_trained(*args)
        learned, parts = trained.networks.learner, trained.networks.parts
        if of_policy is not None:
            spoilt = jax.tree.map(lambda leaf: leaf * by_seed(of_policy, leaf), learned.policy)
            learned = learned.replace(policy=spoilt)
        if of_gates is not None:
            gates = biased(parts.rule.gates, lambda bias: bias + by_seed(of_gates, bias))
            parts = parts.replace(rule=parts.rule.replace(gates=gates))
        networks = trained.networks.replace(learner=learned, parts=parts)
        return dataclasses.replace(trained, networks=networks)

    return load


def synthetic(**changes: Any) -> Assessment:
    """Four seeds, the last one diverged; cutting costs exactly 2 whatever the seed."""
    sampled = np.array([1.0, 5.0, 9.0, np.nan])
    falls = [0, 1, -2, 0, 0, -2, -1.5, -2]
    returns = np.stack([sampled + fall for fall in falls], axis=1)
    flat = np.zeros((4, len(CONDITIONS)))
    settings: dict[str, Any] = dict(
        folder=Path("results/a"),
        experiment=Experiment(),
        trained_episodes=10,
        episodes=3,
        episode_seed=0,
        seeds=(0, 1, 2, 3),
        finite=np.array([True, True, True, False]),
        conditions=CONDITIONS,
        outcome=Outcome(returns, flat + 0.1, flat + 0.5, {"collisions": flat + 3}, {}),
    )
    return Assessment(**settings | changes)
