"""Noise-free episodes on fixed evaluation seeds, with sampled and with greedy gates."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax_mpe import Snapshot
from jax_mpe.scenario import Scenario
from jaxtyping import Array, Float, Integer, Key

from purejax_mgtopo.algorithm.algorithm import Algorithm, LearnerState
from purejax_mgtopo.algorithm.edges import drop_diagonal, fill_diagonal
from purejax_mgtopo.algorithm.part import Interpreter
from purejax_mgtopo.algorithm.rollout import rollout
from purejax_mgtopo.algorithm.types import Mode, Purpose, Streams, Trajectory
from purejax_mgtopo.config import EvaluationConfig

QUALITIES = ("edge_precision", "edge_recall")
"""Names of what `edge_quality` tells: ratios of sums over all steps of all episodes. With nothing open there is no
precision, and where no edge is right no recall: `with_nan` makes NaN of them on the host."""
NOTHING = -1.0
"""What stands on a device for a ratio of nothing: NaN would end a sound program under JAX_DEBUG_NANS."""


COSTS = ("edges_per_step", "messages_per_step", "bits_per_step")
"""Names of what `cost_of_talk` tells."""
FINAL = ("return_sampled", "return_greedy", "edge_rate", "edge_rate_greedy")
"""Names of what the final evaluation keeps."""


def cost_of_talk(
    decision: Float[Array, "episodes T N N-1"], interpreter: Interpreter
) -> dict[str, Float[Array, ""]]:
    """What a step's communication costs, on average: edges open, messages (agents that are heard by anybody), and bits,
    those of a message over each open edge. Open in one round of two, it counts as half an edge.

    Where messages arrive in the next step, none passes in the first, and one serves both rounds.
    """
    decision = decision.at[:, : interpreter.latency].set(0.0)
    edges = jnp.sum(decision, axis=(-2, -1))
    heard = jnp.sign(jnp.max(fill_diagonal(decision), axis=-2))
    passing = jnp.sum(jnp.ceil(decision), axis=(-2, -1)) if interpreter.latency else edges
    costs = (edges, jnp.sum(heard, axis=-1), passing * interpreter.edge_bits)
    return dict(zip(COSTS, map(jnp.mean, costs), strict=True))


def knows_right_edges(env: Scenario[Any]) -> bool:
    """Whether the task says in every state who should hear whom."""

    def ask(key: Array) -> Any:
        return env.right_edges(env.reset(key)[0])

    return jax.eval_shape(ask, jax.random.key(0)) is not None


def right_counts(env: Scenario[Any], played: Trajectory) -> dict[str, Float[Array, ""]]:
    """Edges of one episode, over its steps: how many were open, right, and both. Nothing of a task that does not know.

    A decision is judged by the state in which it was taken.
    """
    if not knows_right_edges(env):
        return {}

    def ask(moving: Array, step: Array) -> Any:
        return env.right_edges(env.restore(Snapshot(moving, played.fixed), step))

    right = drop_diagonal(jax.vmap(ask)(played.moving[:-1], jnp.arange(env.horizon)))
    opened = played.open_edges
    return {"open": jnp.sum(opened), "right": jnp.sum(right), "both": jnp.sum(opened * right)}


def edge_quality(counts: dict[str, Float[Array, "*episodes"]]) -> dict[str, Float[Array, ""]]:
    """Precision, the share of open edges that are right; recall, the share of right edges that are open."""
    if not counts:
        return {}
    total = {name: jnp.sum(values) for name, values in counts.items()}

    def share(whole: Array) -> Array:
        return jnp.where(whole > 0, total["both"] / jnp.maximum(whole, 1.0), NOTHING)

    return dict(zip(QUALITIES, (share(total["open"]), share(total["right"])), strict=True))


def with_nan(told: Mapping[str, Any]) -> dict[str, Any]:
    """What was read of a device, with NaN for ratios of nothing: records keep it, pictures and means leave it out."""
    ends = ("", "_greedy")
    ratios = [f"{name}{end}" for name in QUALITIES for end in ends if f"{name}{end}" in told]
    return {
        **told,
        **{name: np.where(told[name] < 0, np.float32(np.nan), told[name]) for name in ratios},
    }


def evaluation_shapes(agents: int, right: bool = False) -> dict[str, tuple[int, ...]]:
    """What `evaluate` tells, and the shape of each; asking `evaluate` itself would mean to trace it.

    `right` says that the task knows right edges (`knows_right_edges`).
    """
    scalars: tuple[str, ...] = FINAL
    scalars += tuple(f"{name}{end}" for end in ("", "_greedy") for name in COSTS)
    if right:
        scalars += tuple(f"{name}{end}" for end in ("", "_greedy") for name in QUALITIES)
    return {**dict.fromkeys(scalars, ()), "pair_rate": (agents, agents)}


def evaluation_keys(
    settings: EvaluationConfig, batch: int | Integer[Array, ""] = 0
) -> Key[Array, " episodes"]:
    """Keys of the episodes of every evaluation (batch 0), or of one of the final evaluation's (1, 2, ...)."""
    every = Purpose.EVALUATION.key(settings.seed)
    if isinstance(batch, int) and batch == 0:
        return jax.random.split(every, settings.episodes)
    final = jax.random.fold_in(Purpose.FINAL_EVALUATION.key(settings.seed), batch)
    return jax.random.split(jnp.where(batch == 0, every, final), settings.episodes)


def evaluation_episodes(
    algorithm: Algorithm, state: LearnerState, mode: Mode, batch: int | Integer[Array, ""] = 0
) -> Trajectory:
    """The episodes of a batch themselves, ``[evaluation.episodes, ...]``: the same ones at every call."""
    keys = evaluation_keys(algorithm.experiment.evaluation, batch)
    acting = algorithm.parts.acting(state.parts)

    def play(key: Array) -> Trajectory:
        keys = Streams.split(key)
        return rollout(algorithm.env, algorithm.team, state.learner.policy, acting, keys, mode)

    return jax.vmap(play)(keys)


def evaluate(
    algorithm: Algorithm, state: LearnerState, batch: int | Integer[Array, ""] = 0
) -> dict[str, Float[Array, "..."]]:
    """One seed's current parameters, as means over the episodes of a batch (`evaluation_keys`).

    ``return_sampled`` and ``edge_rate`` (the share of edges open) are of sampled gates, ``return_greedy`` and
    ``edge_rate_greedy`` of greedy ones; ``pair_rate`` [N, N] is the share of steps in which i (row) received from j
    (column), sampled gates, zero on the diagonal. ``edges_per_step``, ``messages_per_step`` and ``bits_per_step``
    [``_greedy``] are what the talk costs (`cost_of_talk`). Where the task knows right edges, ``edge_precision`` and
    ``edge_recall`` [``_greedy``] say how well the gates meet them.
    """
    sampled = evaluation_episodes(algorithm, state, Mode.EVAL_SAMPLED, batch)
    greedy = evaluation_episodes(algorithm, state, Mode.EVAL_GREEDY, batch)

    def episodic_return(episodes: Trajectory) -> Float[Array, ""]:
        return jnp.mean(jnp.sum(episodes.reward, axis=-1))

    def quality(episodes: Trajectory) -> dict[str, Array]:
        return edge_quality(jax.vmap(partial(right_counts, algorithm.env))(episodes))

    def cost(episodes: Trajectory) -> dict[str, Array]:
        return cost_of_talk(episodes.open_edges, algorithm.team.interpreter)

    return {
        "return_sampled": episodic_return(sampled),
        "return_greedy": episodic_return(greedy),
        "edge_rate": jnp.mean(sampled.open_edges),
        "edge_rate_greedy": jnp.mean(greedy.open_edges),
        "pair_rate": fill_diagonal(jnp.mean(sampled.open_edges, axis=(0, 1))),
        **cost(sampled),
        **{f"{name}_greedy": value for name, value in cost(greedy).items()},
        **quality(sampled),
        **{f"{name}_greedy": value for name, value in quality(greedy).items()},
    }
