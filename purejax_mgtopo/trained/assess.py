"""Trained seeds on fresh episodes, and what their communication is worth: the same policies, other channels.

Conditions, all without exploration noise and from the same starts:

    sampled   the trained topology, edges drawn as in training
    greedy    the trained topology, edges open where more likely than not
    cut       every edge closed
    open      every edge open
    random    every edge open with the same probability at every step: this seed's own share of open edges under
              `sampled`, over all pairs and steps. So as much is said, but neither to whom nor when is chosen.
    own       the trained topology, but whoever is heard says what the receiver says
    shuffled  the trained topology, but whoever is heard says what it says in another episode
    constant  the trained topology, but whoever is heard says zeros

A team that never hears anything has `sampled` alone. What `shuffled` keeps of the gain over `cut` is not communication.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax_mpe import Snapshot
from jaxtyping import Array, Float, Key
from numpy.typing import NDArray

from purejax_mgtopo.algorithm.algorithm import Algorithm
from purejax_mgtopo.algorithm.evaluate import edge_quality, right_counts, with_nan
from purejax_mgtopo.algorithm.rollout import rollout
from purejax_mgtopo.algorithm.team import Policy, Team
from purejax_mgtopo.algorithm.types import (
    Both,
    Edges,
    Mode,
    Purpose,
    PyTree,
    Streams,
)
from purejax_mgtopo.analysis.statistics import finite_seeds
from purejax_mgtopo.config import Experiment
from purejax_mgtopo.errors import ConfigError, RunError, unknown_name
from purejax_mgtopo.machine.compiler import matmul_precision
from purejax_mgtopo.records.metrics import read_metrics
from purejax_mgtopo.settings import LARGEST, check_random_seed
from purejax_mgtopo.trained.channels import RandomEdges
from purejax_mgtopo.trained.load import load_trained

EDGES = ("cut", "open", "random")
CONTENT = ("own", "shuffled", "constant")
CHANNELS = (*EDGES, *CONTENT)
"""Other channels than the trained one."""
CONDITIONS = ("sampled", "greedy", *CHANNELS)
_TOGETHER = 1000  # episodes that are played at the same time


@flax.struct.dataclass
class Outcome:
    """What the episodes of one seed under one condition show; leaves may carry leading axes of these."""

    episodic_return: Float[Array, "*lead"]
    """Mean return of an episode."""
    standard_error: Float[Array, "*lead"]
    """Standard error of the mean return over the episodes drawn; NaN for a single one."""
    edge_rate: Float[Array, "*lead"]
    """Share of edges open."""
    measures: dict[str, Float[Array, "*lead"]]
    """The task's own measures (`Scenario.measures`), means over all steps."""
    measures_end: dict[str, Float[Array, "*lead"]]
    """The task's own measures after the last step."""
    edge_quality: dict[str, Float[Array, "*lead"]] = flax.struct.field(default_factory=dict)
    """Precision and recall of edges, where the task knows right ones; NaN where there is none (nothing open)."""


@dataclass(frozen=True)
class Assessment:
    """A run's seeds on fresh episodes: S seeds, C conditions."""

    folder: Path
    experiment: Experiment
    trained_episodes: int
    episodes: int
    episode_seed: int
    seeds: tuple[int, ...]
    finite: NDArray[np.bool_]
    """[S] false for seeds that did not stay finite, in training or here; summaries leave them out."""
    conditions: tuple[str, ...]
    outcome: Outcome
    """Every leaf [S, C], in NumPy."""

    def __repr__(self) -> str:
        return (
            f"<Assessment {self.experiment.task}, {self.experiment.method}: {len(self.seeds)} seeds, "
            f"{self.episodes:,} episodes each, {', '.join(self.conditions)}; {self.folder}>"
        )


def assess(
    folder: str | Path,
    seeds: Sequence[int] | None = None,
    *,
    channels: Sequence[str] = CHANNELS,
    episodes: int = 1000,
    episode_seed: int = 0,
) -> Assessment:
    """Play fresh episodes with the latest networks of a run's seeds, under every condition.

    Args:
        folder: of the run.
        seeds: by default all that have a checkpoint.
        channels: which of `CHANNELS` besides the trained one, with sampled and greedy edges.
        episodes: for each seed and condition; the same starts for all of them.
        episode_seed: another one, other episodes. None are those of training nor of its evaluations.

    Raises:
        RunError: where there is no run, or no checkpoint.
        ConfigError: for seeds that the run does not have, no episodes, an episode seed out of range, or a channel that
            there is not.
    """
    for channel in channels:
        if channel not in CHANNELS:
            raise unknown_name("channel", channel, CHANNELS)
    if not 1 <= episodes <= LARGEST:
        raise ConfigError(f"episodes must be from 1 to {LARGEST}, not {episodes}")
    check_random_seed("episode_seed", episode_seed)
    trained = load_trained(folder, seeds)
    silent = trained.algorithm.team.rule.edges is Edges.NEVER
    acting = trained.algorithm.parts.acting(trained.networks.parts)
    networks = trained.networks.learner.policy, acting
    with matmul_precision(trained.means.precision):
        chosen = tuple(channel for channel in CHANNELS if channel in channels)
        keys = episode_keys(episode_seed, episodes)
        outcome = _play(trained.algorithm, *networks, keys, chosen)
    outcome = jax.tree.map(np.asarray, outcome)
    outcome = replace(outcome, edge_quality=with_nan(outcome.edge_quality))
    if episodes == 1:  # it has no spread; a device must not say so, where JAX_DEBUG_NANS would stop
        outcome = replace(outcome, standard_error=np.full_like(outcome.standard_error, np.nan))
    # Asked of the networks, not of their returns: a task may reward a team that is nowhere.
    leaves = [leaf.reshape(len(trained.seeds), -1) for leaf in jax.tree.leaves(networks)]
    finite, _ = finite_seeds(np.concatenate(leaves, axis=1))
    frozen = frozen_seeds(trained.folder) | trained.frozen
    return Assessment(
        folder=trained.folder,
        experiment=trained.experiment,
        trained_episodes=trained.episode,
        episodes=episodes,
        episode_seed=episode_seed,
        seeds=trained.seeds,
        finite=finite & [seed not in frozen for seed in trained.seeds],
        conditions=CONDITIONS[:1] if silent else (*CONDITIONS[:2], *chosen),
        outcome=outcome,
    )


def frozen_seeds(folder: Path) -> set[int]:
    """Seeds of a run whose networks left the finite numbers in training, and stay as they were before."""
    try:
        rows = list(read_metrics(sorted(folder.glob("metrics*.parquet"))))
    except (OSError, ValueError) as error:
        raise RunError(f"the metrics in {folder} cannot be read: {error}") from None
    return {int(seed) for row in rows for seed in row.seeds[~row.finite]}


def episode_keys(episode_seed: int, episodes: int) -> Key[Array, " episodes"]:
    """One key for each episode, the same for all seeds and conditions."""
    key = Purpose.ASSESSMENT.key(episode_seed)
    return jax.random.split(key, episodes)


@partial(jax.jit, static_argnames=("algorithm", "channels"))
def _play(
    algorithm: Algorithm,
    policies: PyTree,
    acting: PyTree,
    keys: Key[Array, " episodes"],
    channels: tuple[str, ...],
) -> Outcome:
    """Every leaf [S, C]. One seed after the other: a program that batches their rollouts gains nothing on a CPU."""
    team = algorithm.team
    plain = team.over("clear")
    other = plain.under(RandomEdges(algorithm.experiment, team.sizes))

    def of_seed(networks: tuple[Policy, Both]) -> Outcome:
        policy, own = networks
        sampled = _outcome(algorithm, team, policy, own, keys, Mode.EVAL_SAMPLED)
        if team.rule.edges is Edges.NEVER:
            return jax.tree.map(lambda x: x[None], sampled)
        greedy = _outcome(algorithm, team, policy, own, keys, Mode.EVAL_GREEDY)

        def at_rate(rate: Array) -> Outcome:
            acting = replace(own, rule=rate)
            return _outcome(algorithm, other, policy, acting, keys, Mode.EVAL_SAMPLED)

        rates = {"cut": jnp.zeros(()), "open": jnp.ones(()), "random": sampled.edge_rate}
        asked = [rates[channel] for channel in EDGES if channel in channels]
        outcomes = jax.tree.map(lambda *x: jnp.stack(x), sampled, greedy)
        told = [outcomes, *([jax.lax.map(at_rate, jnp.stack(asked))] if asked else [])]
        for channel in (channel for channel in CONTENT if channel in channels):
            heard = plain.over(channel)
            outcome = _outcome(algorithm, heard, policy, own, keys, Mode.EVAL_SAMPLED)
            told.append(jax.tree.map(lambda x: x[None], outcome))
        return jax.tree.map(lambda *x: jnp.concatenate(x), *told)

    return jax.lax.map(of_seed, (policies, acting))


def _outcome(
    algorithm: Algorithm, team: Team, policy: Policy, acting: Both, keys: Array, mode: Mode
) -> Outcome:
    env = algorithm.env

    def play(key: Array) -> tuple[Array, Array, dict[str, Array], dict[str, Array]]:
        played = rollout(env, team, policy, acting, Streams.split(key), mode)

        def measure(moving: Array, step: Array) -> dict[str, Array]:
            return env.measures(env.restore(Snapshot(moving, played.fixed), step))

        after = jax.vmap(measure)(played.moving[1:], 1 + jnp.arange(env.horizon))
        right = right_counts(env, played)
        return jnp.sum(played.reward), jnp.mean(played.open_edges), after, right

    episodes = len(keys)
    returns, edges, measured, right = jax.lax.map(play, keys, batch_size=min(episodes, _TOGETHER))
    return Outcome(
        episodic_return=jnp.mean(returns),
        standard_error=_standard_error(returns),
        edge_rate=jnp.mean(edges),
        edge_quality=edge_quality(right),
        measures=jax.tree.map(jnp.mean, measured),
        measures_end=jax.tree.map(lambda x: jnp.mean(x[:, -1]), measured),
    )


def _standard_error(returns: Float[Array, " episodes"]) -> Float[Array, ""]:
    """Its mean's; 0 for a single one, which has none."""
    if len(returns) == 1:
        return jnp.zeros(())
    return jnp.std(returns, ddof=1) / jnp.sqrt(len(returns))
