"""How an exported team reads its messages: one class, and one line in `READERS`, for each interpreter.

Apart from the training code, as the files are meant to outlive it; `policy` tells their layout.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

Shapes = dict[str, tuple[int, ...]]
Dense = Callable[[str, Array], Array]
"""A layer by its name, applied to rows of agents."""


class Sizes(Protocol):
    """What a reader asks of a file's header."""

    @property
    def agents(self) -> int: ...

    @property
    def observation(self) -> int: ...

    @property
    def hidden(self) -> int: ...

    @property
    def latency(self) -> int: ...

    @property
    def rounds(self) -> int: ...

    @property
    def aggregate(self) -> str: ...

    @property
    def hears(self) -> bool: ...


class Reader(Protocol):
    """How one interpreter's messages are sent and read."""

    without_bias: ClassVar[tuple[str, ...]]
    """How the names of layers begin that have no bias."""

    def message(self, sizes: Sizes) -> int:
        """Width of a message."""

    def heard(self, sizes: Sizes) -> int:
        """Z, the width of what was heard."""

    def kernels(self, sizes: Sizes) -> Shapes:
        """Rows and columns of its layers' kernels."""

    def read(
        self, sizes: Sizes, dense: Dense, observation: Array, carry: Array, topology: Array
    ) -> tuple[Array, Array]:
        """What each agent heard [*batch, N, Z], and what it sent [*batch, N, M].

        `carry` is what was sent in the step before, `topology` [*batch, N, N] who receives from whom.
        """


class Lstm:
    """Observations are sent; a receiver runs its LSTM over those that reach it."""

    without_bias: ClassVar[tuple[str, ...]] = ()

    def message(self, sizes: Sizes) -> int:
        return sizes.observation

    def heard(self, sizes: Sizes) -> int:
        return sizes.hidden if sizes.hears else 0

    def kernels(self, sizes: Sizes) -> Shapes:
        rows, columns = sizes.observation + sizes.hidden, 4 * sizes.hidden
        return {"lstm": (rows, columns)} if sizes.hears else {}

    def read(
        self, sizes: Sizes, dense: Dense, observation: Array, carry: Array, topology: Array
    ) -> tuple[Array, Array]:
        if not sizes.hears:
            return observation[..., :0], observation
        delivered = carry if sizes.latency else observation
        hidden = cell = jnp.zeros((*observation.shape[:-1], sizes.hidden))
        everyone = np.arange(sizes.agents)
        for r in range(sizes.agents - 1):
            sender = r + (r >= everyone)  # of each agent, the r-th other one
            inputs = jnp.concatenate([delivered[..., sender, :], hidden], axis=-1)
            i, f, g, o = jnp.split(dense("lstm", inputs), 4, axis=-1)
            after = jax.nn.sigmoid(f) * cell + jax.nn.sigmoid(i) * jnp.tanh(g)
            reached = topology[..., everyone, sender][..., None] > 0
            hidden = jnp.where(reached, jax.nn.sigmoid(o) * jnp.tanh(after), hidden)
            cell = jnp.where(reached, after, cell)
        return hidden, observation


class CommNet:
    """Hidden states are sent; they are averaged, or summed, and mixed in rounds."""

    without_bias: ClassVar[tuple[str, ...]] = ("own/", "heard/")

    def message(self, sizes: Sizes) -> int:
        return sizes.hidden

    def heard(self, sizes: Sizes) -> int:
        return sizes.hidden

    def kernels(self, sizes: Sizes) -> Shapes:
        h, parts = sizes.hidden, ("own", "heard") if sizes.hears else ("own",)
        mixing = {f"{part}/{k}": (h, h) for part in parts for k in range(sizes.rounds)}
        return {"encoder": (sizes.observation, h), **mixing}

    def read(
        self, sizes: Sizes, dense: Dense, observation: Array, carry: Array, topology: Array
    ) -> tuple[Array, Array]:
        encoded = dense("encoder", observation)
        hidden = sent = jnp.tanh(encoded)
        if sizes.aggregate == "mean":
            topology = topology / jnp.maximum(1.0, jnp.sum(topology, axis=-1, keepdims=True))
        for k in range(sizes.rounds):
            mixed = encoded + dense(f"own/{k}", hidden)
            if sizes.hears:
                mixed = mixed + dense(f"heard/{k}", topology @ (carry if sizes.latency else hidden))
            hidden = jnp.tanh(mixed)
        return hidden, sent


READERS: Mapping[str, Reader] = {"lstm": Lstm(), "commnet": CommNet()}
