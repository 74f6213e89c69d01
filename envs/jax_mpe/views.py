"""What observations are made of: relative positions, of all others or of the nearest few."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .physics import squared_norm


def relative_to_others(position: Float[Array, "N 2"]) -> Float[Array, "N N-1 2"]:
    """Row i: the positions of all but i, by ascending index, relative to that of i."""
    count = len(position)
    # Place s of row i is for agent s as long as s < i, and for agent s + 1 after that.
    before_own = np.arange(count - 1) < np.arange(count)[:, None]
    others = jnp.where(before_own[..., None], position[None, :-1], position[None, 1:])
    return others - position[:, None]


def nearest(relative: Float[Array, "N L 2"], count: int) -> Float[Array, "N {count} 2"]:
    """The `count` shortest vectors of each row, shortest first, ties by index.

    Each vector is put in the place that its rank names, found by comparing all pairs. L is small,
    and a sort is eight times slower than this in a batched program on a CPU.
    """
    length = squared_norm(relative)
    total = relative.shape[1]
    # The first vector starts in every place; the places of the others are then overwritten.
    placed = jnp.broadcast_to(relative[:, :1], (len(relative), count, 2))
    for k in range(1, total):
        nearer = [length[:, j] <= length[:, k] for j in range(k)]
        nearer += [length[:, j] < length[:, k] for j in range(k + 1, total)]
        rank = sum(
            (one.astype(jnp.int32) for one in nearer), jnp.zeros_like(length[:, 0], jnp.int32)
        )
        here = rank[:, None] == np.arange(count)
        placed = jnp.where(here[..., None], relative[:, k : k + 1], placed)
    return placed
