"""Frozen policies that move the prey, chosen by name or file."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.typing import NDArray

from ..contract.shapes import expect_shape
from ..paths import expanded
from .files import LAYERS, PreySizes, read, shipped_file

SHIPPED, SCRIPTED, RANDOM = "shipped", "scripted", "random"


@runtime_checkable
class PreyPolicy(Protocol):
    """Moves all M prey of one environment.

    Attributes:
        random: whether `act` draws from its key.
    """

    random: ClassVar[bool]

    def act(self, observation: Float[Array, "M P"], key: Array) -> Float[Array, "M 2"]:
        """Actions in [-1, 1]; `key` must not be used unless `random` says so.

        Raises:
            ValueError: in one line, for what is not one row for each prey, or of another width.
        """
        ...


@dataclass(frozen=True)
class RandomPrey:
    """Draws every action uniformly: for comparisons."""

    sizes: PreySizes
    random: ClassVar[bool] = True

    def act(self, observation: Float[Array, "M P"], key: Array) -> Float[Array, "M 2"]:
        """Actions drawn uniformly from [-1, 1]."""
        _expect(observation, (self.sizes.prey, self.sizes.observation))
        return jax.random.uniform(key, (len(observation), 2), minval=-1.0)


@dataclass(frozen=True)
class ScriptedPrey:
    """Runs away from predators, by hand-made rule.

    Every predator at relative place d pushes with `-d / (|d|^2 + 0.01)`; beyond 60 % of the arena's
    half-width w a wall pushes back with `30 (|x| / w - 0.6)` on each axis. The sum is clipped. Hunted
    by predators that head straight for it, it is inside for 99 % of its steps.
    """

    sizes: PreySizes
    random: ClassVar[bool] = False

    def act(self, observation: Float[Array, "M P"], key: Array) -> Float[Array, "M 2"]:
        """Actions that lead away from predators and walls."""
        del key
        _expect(observation, (self.sizes.prey, self.sizes.observation))
        position = observation[:, 2:4] / self.sizes.half_width
        first = 4 + 2 * self.sizes.landmarks
        seen = observation[:, first : first + 2 * self.sizes.predators]
        x, y = seen[:, ::2], seen[:, 1::2]
        near = x * x + y * y + 0.01
        flight = -jnp.stack([jnp.sum(x / near, axis=1), jnp.sum(y / near, axis=1)], axis=-1)
        wall = 30 * jnp.sign(position) * jnp.maximum(jnp.abs(position) - 0.6, 0)
        return jnp.clip(flight - wall, -1.0, 1.0)


class TrainedPrey:
    """The networks of a prey file; `arrays` are checked by `read`.

    Those that are shipped were trained against predators of their own, and two choices of that
    training are nobody's but ours: the penalty near and beyond the arena's edge has weight 3, as
    with 1 prey spent a tenth of their time outside; and in a quarter of the episodes the predators
    head straight for the nearest prey, lest prey whose predators never learn to hunt never learn to
    flee. A file's header holds both, as `boundary_cost` and `hunters`.
    """

    random: ClassVar[bool] = False

    def __init__(self, arrays: Mapping[str, NDArray[np.float32]]) -> None:
        self.layers = [(arrays[f"kernel_{i}"], arrays[f"bias_{i}"]) for i in range(LAYERS)]

    def act(self, observation: Float[Array, "M P"], key: Array) -> Float[Array, "M 2"]:
        """Actions of the networks."""
        del key
        _expect(observation, self.layers[0][0].shape[:2])
        x = observation
        for i, (kernel, bias) in enumerate(self.layers):
            x = jnp.einsum("mi,mio->mo", x, jnp.asarray(kernel, x.dtype)) + bias
            x = jnp.tanh(x) if i == LAYERS - 1 else jax.nn.relu(x)
        return x


def _expect(observation: Array, wanted: tuple[int, ...]) -> None:
    """A single row would be given to all prey, and a wider one read in the wrong places."""
    expect_shape("what all prey observe", observation, wanted)


@functools.cache  # tasks are values: the policy behind one must not change within a process
def prey_policy(prey: str, sizes: PreySizes) -> PreyPolicy:
    """The policy of this name.

    Args:
        prey: `shipped`, the pretrained prey of this size where there is one and `scripted`
            otherwise; `scripted`; `random`; or the path of a prey file, read once in a process.
        sizes: what it must fit.

    Raises:
        ValueError: in one line, if there is no such policy or file, or it does not fit.
    """
    if prey == RANDOM:
        return RandomPrey(sizes)
    if prey not in (SHIPPED, SCRIPTED) and not prey.endswith(".npz"):
        raise ValueError(
            f"unknown prey {prey!r}: it is {SHIPPED!r}, {SCRIPTED!r}, {RANDOM!r}, or a file .npz"
        )
    path = shipped_file(sizes) if prey == SHIPPED else expanded(prey)
    if prey == SCRIPTED or (prey == SHIPPED and not path.exists()):
        return ScriptedPrey(sizes)
    _, arrays = read(path, sizes)
    return TrainedPrey(arrays)
