"""Arrays of edges: with and without their diagonal, and the random numbers that decide on them."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key


def drop_diagonal(square: Float[Array, "*batch N N"]) -> Float[Array, "*batch N N-1"]:
    """The off-diagonal entries of each row, in ascending column order. Slices only: no gather."""
    *batch, n, _ = square.shape
    flat = square.reshape(*batch, n * n)[..., 1:]
    return flat.reshape(*batch, n - 1, n + 1)[..., :-1].reshape(*batch, n, n - 1)


def fill_diagonal(edges: Float[Array, "*batch N N-1"]) -> Float[Array, "*batch N N"]:
    """The inverse of `drop_diagonal`, with zeros on the diagonal."""
    *batch, n, _ = edges.shape
    padded = edges.reshape(*batch, n - 1, n)
    padded = jnp.concatenate([padded, jnp.zeros((*batch, n - 1, 1), edges.dtype)], axis=-1)
    flat = jnp.concatenate(
        [jnp.zeros((*batch, 1), edges.dtype), padded.reshape(*batch, n * n - 1)], axis=-1
    )
    return flat.reshape(*batch, n, n)


def columns(senders: Float[Array, "*batch N"]) -> Float[Array, "*batch N N-1"]:
    """Edges that are the same for every receiver of a sender."""
    square = jnp.broadcast_to(senders[..., None, :], (*senders.shape, senders.shape[-1]))
    return drop_diagonal(square)


def others(rows: Float[Array, "*batch N F"]) -> Float[Array, "N N-1 *batch F"]:
    """For each agent (first axis) the rows of all other agents, in ascending index (second axis).

    Agents lead, so that stacked networks read contiguous blocks.
    """
    first = jnp.moveaxis(rows, -2, 0)
    n = first.shape[0]
    return jnp.stack([jnp.concatenate([first[:i], first[i + 1 :]]) for i in range(n)])


def index_distance(observation: Float[Array, "*batch N O"]) -> Float[Array, "*batch N N"]:
    """Distances between agents where a task knows of none: those of their numbers."""
    *batch, agents, _ = observation.shape
    index = jnp.arange(agents, dtype=observation.dtype)
    distance = jnp.abs(index[:, None] - index)
    return jnp.broadcast_to(distance, (*batch, agents, agents))


def seen_distance(observation: Float[Array, "*batch N O"]) -> Float[Array, "*batch N N"]:
    """Distances between agents whose observations end with where all others are, relative, by their numbers."""
    *batch, agents, _ = observation.shape
    relative = observation[..., -2 * (agents - 1) :].reshape(*batch, agents, agents - 1, 2)
    return fill_diagonal(jnp.sqrt(jnp.sum(jnp.square(relative), axis=-1)))


def edge_entropy(probability: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    """Entropy of an edge that is open with this probability, in nats; 0 where it is certain."""
    return jax.scipy.special.entr(probability) + jax.scipy.special.entr(1 - probability)


def random_tape(key: Key[Array, ""], shape: tuple[int, ...]) -> Float[Array, "..."]:
    """Uniform numbers in [0, 1), drawn flat: thin trailing axes would keep a CPU from vectorising the draw."""
    return jax.random.uniform(key, (math.prod(shape),)).reshape(shape)
