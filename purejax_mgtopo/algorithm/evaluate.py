"""Noise-free episodes on fixed evaluation seeds, with sampled and with greedy gates; part of the training program."""

from __future__ import annotations

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from purejax_mgtopo.algorithm.algorithm import Algorithm, LearnerState
from purejax_mgtopo.algorithm.rollout import rollout
from purejax_mgtopo.algorithm.types import Mode, Streams, Trajectory, fill_diagonal


@flax.struct.dataclass
class EvaluationMetrics:
    """Means over the evaluation episodes of one seed."""

    return_sampled: Float[Array, ""]
    return_greedy: Float[Array, ""]
    edge_rate: Float[Array, ""]
    """Share of edges open, sampled gates."""
    edge_rate_greedy: Float[Array, ""]
    pair_rate: Float[Array, "N N"]
    """Share of steps in which i (row) received from j (column), sampled gates; the diagonal is zero."""

    @classmethod
    def absent(cls, agents: int) -> EvaluationMetrics:
        """NaN throughout. Written out, because asking `evaluate` for the shapes would mean to trace it twice."""
        scalar = jnp.full((), jnp.nan)
        return cls(scalar, scalar, scalar, scalar, jnp.full((agents, agents), jnp.nan))


def evaluation_episodes(algorithm: Algorithm, state: LearnerState, mode: Mode) -> Trajectory:
    """The evaluation episodes themselves, ``[evaluation.episodes, ...]``: the same ones at every call."""
    settings = algorithm.config.evaluation

    def play(key: Array) -> Trajectory:
        keys = Streams.split(key)
        return rollout(
            algorithm.env,
            algorithm.team,
            state.learner.policy,
            state.rule.gates,
            reset_key=keys.reset,
            gate_key=keys.gate,
            exploration_key=keys.exploration,
            exploration=0.0,
            mode=mode,
        )

    # Folded first, for the children of the bare key are the streams of the training seed of that number.
    key = jax.random.fold_in(jax.random.key(settings.seed), 2**31)
    return jax.vmap(play)(jax.random.split(key, settings.episodes))


def evaluate(algorithm: Algorithm, state: LearnerState) -> EvaluationMetrics:
    """Evaluate one seed's current parameters."""
    sampled = evaluation_episodes(algorithm, state, Mode.EVAL_SAMPLED)
    greedy = evaluation_episodes(algorithm, state, Mode.EVAL_GREEDY)

    def episodic_return(episodes: Trajectory) -> Float[Array, ""]:
        return jnp.mean(jnp.sum(episodes.reward, axis=-1))

    return EvaluationMetrics(
        return_sampled=episodic_return(sampled),
        return_greedy=episodic_return(greedy),
        edge_rate=jnp.mean(sampled.gates.decision),
        edge_rate_greedy=jnp.mean(greedy.gates.decision),
        pair_rate=fill_diagonal(jnp.mean(sampled.gates.decision, axis=(0, 1))),
    )
