"""Attention over those whose messages arrive."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from purejax_mgtopo.algorithm.part import Context
from purejax_mgtopo.algorithm.types import Measures, Trajectory

ATTENTION = "attention"
"""Under this name interpreters show their weights."""
ATTENTION_MEASURES = {
    "attention_to_others": "share of the attention that others get rather than the agent itself, mean over agents",
}
"""What interpreters that attend tell; see `attention_measures`."""
LARGEST = 30.0
"""How far a closed edge's score may exceed the open ones' before its derivative is cut off: e^30 is finite."""


def attention(
    score: Float[Array, "*batch N"], openness: Float[Array, "*batch N"]
) -> Float[Array, "*batch N"]:
    """``G_ij exp(s_ij) / sum_k G_ik exp(s_ik)``: a softmax over open edges, differentiable in the decisions.

    Weights of closed edges are exactly 0; rows without an open edge are zeros.
    """
    opened = openness > 0
    best = jnp.max(jnp.where(opened, score, -jnp.inf), axis=-1, keepdims=True)
    best = jax.lax.stop_gradient(jnp.where(jnp.isfinite(best), best, 0.0))
    weight = openness * jnp.exp(jnp.minimum(score - best, LARGEST))
    total = jnp.sum(weight, axis=-1, keepdims=True)
    anybody = jnp.any(opened, axis=-1, keepdims=True)
    return weight / jnp.where(anybody, total, 1.0)


def attention_among_all(
    score: Float[Array, "*batch N"], openness: Float[Array, "*batch N"]
) -> Float[Array, "*batch N"]:
    """``G_ij exp(s_ij G_ij) / sum_k exp(s_ik G_ik)``: closed edges have no weight, and make the others lighter."""
    return openness * jax.nn.softmax(score * openness, axis=-1)


def attention_measures(trajectory: Trajectory, context: Context) -> Measures:
    """How much of the attention in an episode goes to others, on average; nothing where nobody is ever heard."""
    weight = context.shown(trajectory).pairs.get(ATTENTION)
    if weight is None:
        return {"attention_to_others": jnp.zeros(())}
    own = jnp.mean(jnp.diagonal(weight, axis1=-2, axis2=-1))
    return {"attention_to_others": 1 - own}
