"""Noise-free episodes on fixed evaluation seeds, with sampled and with greedy gates; part of the training program."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from purejax_mgtopo.algorithm.algorithm import Algorithm, LearnerState
from purejax_mgtopo.algorithm.edges import fill_diagonal
from purejax_mgtopo.algorithm.rollout import rollout
from purejax_mgtopo.algorithm.types import Mode, Purpose, Streams, Trajectory


def evaluation_shapes(agents: int) -> dict[str, tuple[int, ...]]:
    """What `evaluate` tells, and the shape of each; asking `evaluate` itself would mean to trace it twice."""
    scalars = ("return_sampled", "return_greedy", "edge_rate", "edge_rate_greedy")
    return {**dict.fromkeys(scalars, ()), "pair_rate": (agents, agents)}


def evaluation_episodes(algorithm: Algorithm, state: LearnerState, mode: Mode) -> Trajectory:
    """The evaluation episodes themselves, ``[evaluation.episodes, ...]``: the same ones at every call."""
    settings = algorithm.experiment.evaluation
    acting = algorithm.parts.acting(state.parts)

    def play(key: Array) -> Trajectory:
        keys = Streams.split(key)
        return rollout(algorithm.env, algorithm.team, state.learner.policy, acting, keys, mode)

    key = Purpose.EVALUATION.key(settings.seed)
    return jax.vmap(play)(jax.random.split(key, settings.episodes))


def evaluate(algorithm: Algorithm, state: LearnerState) -> dict[str, Float[Array, "..."]]:
    """One seed's current parameters, as means over the evaluation episodes.

    ``return_sampled`` and ``edge_rate`` (the share of edges open) are of sampled gates, ``return_greedy`` and
    ``edge_rate_greedy`` of greedy ones; ``pair_rate`` [N, N] is the share of steps in which i (row) received from j
    (column), sampled gates, zero on the diagonal.
    """
    sampled = evaluation_episodes(algorithm, state, Mode.EVAL_SAMPLED)
    greedy = evaluation_episodes(algorithm, state, Mode.EVAL_GREEDY)

    def episodic_return(episodes: Trajectory) -> Float[Array, ""]:
        return jnp.mean(jnp.sum(episodes.reward, axis=-1))

    return {
        "return_sampled": episodic_return(sampled),
        "return_greedy": episodic_return(greedy),
        "edge_rate": jnp.mean(sampled.gates.decision),
        "edge_rate_greedy": jnp.mean(greedy.gates.decision),
        "pair_rate": fill_diagonal(jnp.mean(sampled.gates.decision, axis=(0, 1))),
    }
