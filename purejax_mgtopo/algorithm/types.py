"""What flows through the program, each axis stated once.

    S  seeds          B  batch of transitions      T  steps of an episode     K  updates of an iteration
    N  agents         O  width of an observation   A  width of an action      M  width of a message
    H  hidden units   F  width of a feature        D  moving part of a state  E  fixed part of a state

A topology is a mask ``[..., N, N]`` in {0, 1}: ``edges[i, j] = 1`` means that agent i *receives from* j. Diagonals
are zero, and stay out of every log-probability, entropy and rate. Per-edge quantities without the diagonal are
``[..., N, N-1]`` with senders in ascending index.
"""

from __future__ import annotations

import enum
import math
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

PyTree = Any


class Mode(enum.Enum):
    """Why gates are asked for; a rule may treat each differently. Static: it never enters the program."""

    ROLLOUT = "sampled gates and the training channel, to collect a trajectory"
    REPLAY = "fresh samples from the current parameters, for the policy loss"
    TARGET = "fresh samples from the target parameters, for the TD target"
    EVAL_SAMPLED = "sampled gates and the execution channel"
    EVAL_GREEDY = "an edge is open where its probability exceeds one half"


@flax.struct.dataclass
class Gates:
    """A rule's answer at one step."""

    probability: Float[Array, "*batch N N-1"]
    """That i receives from its j-th other agent."""
    decision: Float[Array, "*batch N N-1"]
    """0 or 1 in value; may carry a derivative (straight-through)."""


@flax.struct.dataclass
class Carry:
    """What an agent team remembers from one step of an episode to the next; zeros at its start."""

    message: Float[Array, "*batch N M"]
    """Messages in flight: sent in the previous step."""
    topology: PyTree
    """Whatever the topology rule keeps (groups, timers); ``()`` for memoryless rules."""


@flax.struct.dataclass
class Trajectory:
    """One episode, as gate learning reads it."""

    observation: Float[Array, "T+1 N O"]
    feature: Float[Array, "T N F"]
    action: Float[Array, "T N A"]
    reward: Float[Array, " T"]
    gates: Gates
    """[T, N, N-1] each."""
    moving: Float[Array, "T+1 D"]
    """Physical states, as the replay stores them."""
    fixed: Float[Array, " E"]


@flax.struct.dataclass
class Window:
    """Consecutive observations drawn from the replay, oldest first, ending with a transition o -> o'.

    With a memory of h steps there are h + 2 observations; ``begins`` marks those that start an episode, before
    which nothing was sent.
    """

    observation: Float[Array, "B h+2 N O"]
    begins: Float[Array, "B h+2"]
    action: Float[Array, "B N A"]
    reward: Float[Array, " B"]


@flax.struct.dataclass
class Clock:
    """The counters that all seeds share; outside the seed axis, so that a buffer write stays a slice."""

    episode: Int[Array, ""]
    """Training episodes (updates) done, without the warm-up."""
    stored: Int[Array, ""]
    """Episodes ever added to the replay."""

    def advanced(self, episodes: int = 1) -> Clock:
        return Clock(episode=self.episode + episodes, stored=self.stored + episodes)


@flax.struct.dataclass
class Streams:
    """One random stream for each purpose, so that another topology rule leaves the environment's alone."""

    initial: Key[Array, ""]
    reset: Key[Array, ""]
    exploration: Key[Array, ""]
    gate: Key[Array, ""]
    replay: Key[Array, ""]
    replay_gate: Key[Array, ""]
    target_gate: Key[Array, ""]
    first_trajectory: Key[Array, ""]

    @classmethod
    def split(cls, key: Key[Array, ""]) -> Streams:
        names = cls.__dataclass_fields__
        return cls(**dict(zip(names, jax.random.split(key, len(names)), strict=True)))

    def at(self, moment: Int[Array, ""]) -> Streams:
        """The streams' keys for one moment of the clock; each moment is asked for once."""
        return jax.tree.map(lambda key: jax.random.fold_in(key, moment), self)


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


def others(rows: Float[Array, "*batch N F"]) -> Float[Array, "N N-1 *batch F"]:
    """For each agent (first axis) the rows of all other agents, in ascending index (second axis).

    Agents lead, so that stacked networks read contiguous blocks.
    """
    first = jnp.moveaxis(rows, -2, 0)
    n = first.shape[0]
    return jnp.stack([jnp.concatenate([first[:i], first[i + 1 :]]) for i in range(n)])


def random_tape(key: Key[Array, ""], shape: tuple[int, ...]) -> Float[Array, "..."]:
    """Uniform numbers in [0, 1), drawn flat: thin trailing axes would keep a CPU from vectorising the draw."""
    return jax.random.uniform(key, (math.prod(shape),)).reshape(shape)
