"""One step of the particle world: contact forces, damping, speed limits, motion.

The world is the one of Lowe et al. 2017 (OpenAI's multi-agent particle environments), in the order
of its first release: velocity first, then position. Every property of a body is a Python number, so
a body that cannot move or cannot collide costs nothing in the compiled program.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .contract.shapes import expect_ending, expect_shape

TIME_STEP = 0.1  # seconds
DAMPING = 0.25  # share of the velocity that is lost in one step
CONTACT_FORCE = 100.0
CONTACT_MARGIN = 1e-3  # length over which a contact softens

Values = TypeVar("Values")


@dataclass(frozen=True)
class Bodies:
    """Static properties of the B bodies of a world, one tuple entry for each body.

    Attributes:
        radius: contact radius, in units of length.
        mass: inertia; a force moves a body by force / mass.
        max_speed: largest speed after a step, or None for no limit.
        movable: whether forces and velocity move the body at all.
        collides: whether the body takes part in contacts.

    Raises:
        ValueError: in one line, if the tuples differ in length or are empty, if a radius or a mass is not a
            positive number, or a largest speed is a negative one or none at all.
    """

    radius: tuple[float, ...]
    mass: tuple[float, ...]
    max_speed: tuple[float | None, ...]
    movable: tuple[bool, ...]
    collides: tuple[bool, ...]

    def __post_init__(self) -> None:
        columns = (self.radius, self.mass, self.max_speed, self.movable, self.collides)
        if len({len(column) for column in columns}) != 1:
            raise ValueError("every property of Bodies needs one entry for each body")
        if not self.radius:
            raise ValueError("there are no Bodies; a world needs at least one")
        for what, values in (("radius", self.radius), ("mass", self.mass)):
            for value in values:
                if not 0 < value < math.inf:
                    raise ValueError(
                        f"every {what} of Bodies must be positive and finite, not {value}"
                    )
        for limit in self.max_speed:
            if limit is not None and not limit >= 0:  # NaN is refused as well
                raise ValueError(
                    f"every max_speed of Bodies must be 0 or more, or None for no limit, not {limit}"
                )

    def __len__(self) -> int:
        return len(self.radius)

    def __add__(self, other: Bodies) -> Bodies:
        """The bodies of both worlds, those of `other` last."""
        return Bodies(
            self.radius + other.radius,
            self.mass + other.mass,
            self.max_speed + other.max_speed,
            self.movable + other.movable,
            self.collides + other.collides,
        )

    @classmethod
    def alike(
        cls,
        count: int,
        *,
        radius: float,
        mass: float = 1.0,
        max_speed: float | None = None,
        movable: bool = True,
        collides: bool = True,
    ) -> Bodies:
        """`count` bodies that share all their properties."""
        return cls(
            (radius,) * count,
            (mass,) * count,
            (max_speed,) * count,
            (movable,) * count,
            (collides,) * count,
        )


def squared_norm(vector: Float[Array, "*batch 2"]) -> Float[Array, "*batch"]:
    """Square of the Euclidean length.

    Written out, because a sum over an axis of size 2 keeps XLA from fusing it on a CPU.

    Raises:
        ValueError: in one line, for vectors that have not two numbers.
    """
    expect_ending("the vector", vector, (2,))
    x, y = vector[..., 0], vector[..., 1]
    return x * x + y * y


def norm(vector: Float[Array, "*batch 2"]) -> Float[Array, "*batch"]:
    """Euclidean length whose gradient at the zero vector is zero rather than NaN.

    Raises:
        ValueError: in one line, for vectors that have not two numbers.
    """
    return safe_sqrt(squared_norm(vector))


def safe_sqrt(squared: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    """Square root whose gradient at 0 is zero rather than NaN. NaN stays NaN, or nobody would hear of it."""
    # The inner select keeps sqrt away from 0, where its derivative is infinite: an outer select
    # alone would still turn inf * 0 into NaN in the backward pass.
    zero = squared == 0
    return jnp.where(zero, 0.0, jnp.sqrt(jnp.where(zero, 1.0, squared)))


def contact_forces(bodies: Bodies, position: Float[Array, "B 2"]) -> Float[Array, "B 2"]:
    """Sum of the contact forces on each body.

    Body a is pushed away from b by `100 * (d / |d|) * k * log(1 + exp(-(|d| - (r_a + r_b)) / k))`,
    where d is the position of a relative to b and k the contact margin. Two bodies at exactly the
    same place have no direction to be pushed in: their force is zero, and so is its gradient.

    Args:
        bodies: static properties of the B bodies.
        position: places of the bodies, in units of length.

    Returns:
        Force on each body; zero on those that cannot move.

    Raises:
        ValueError: in one line, for another number of places than of bodies: indices beyond them would be clamped.
    """
    expect_shape(f"position of {len(bodies)} bodies", position, (len(bodies), 2))
    moved = [body for body in range(len(bodies)) if bodies.movable[body] and bodies.collides[body]]
    if not moved:
        return jnp.zeros_like(position)
    last = moved[-1] + 1  # those that come after it need no force
    # Three habits of XLA on a CPU shape what follows; minding them makes the forces of 11 bodies 13
    # times as fast to compute, those of 51 bodies 2.6 times. Bodies that were just joined from
    # several arrays are joined again for each use, unless a barrier stops that. A loop whose length
    # is no multiple of the vector's does the rest one by one, exponentials included. And what is
    # too long a chain is not vectorised at all.
    filler = -last % 8 if last > 8 else 0
    x, y = _computed_once((position[:, 0], position[:, 1]))
    own_x, own_y = (jnp.pad(z[:last], (0, filler)) for z in (x, y))
    radius = np.array(bodies.radius)
    own_radius = np.pad(radius[:last], (0, filler))
    force_x, force_y = jnp.zeros_like(own_x), jnp.zeros_like(own_y)
    # A loop over partners, each acting on all bodies at once, computes most pairs twice; in a
    # batched program on a CPU it is still faster than to gather the pairs and to scatter their
    # forces. A body is its own partner too, at distance 0 and hence without effect.
    partners = [body for body in range(len(bodies)) if bodies.collides[body]]
    for count, partner in enumerate(partners, start=1):
        dx, dy = own_x - x[partner], own_y - y[partner]
        distance = safe_sqrt(dx * dx + dy * dy)
        reach = jnp.asarray(own_radius + radius[partner], position.dtype)
        softened = CONTACT_MARGIN * _softplus((reach - distance) / CONTACT_MARGIN)
        strength = CONTACT_FORCE * softened / jnp.where(distance > 0, distance, 1.0)
        force_x, force_y = force_x + strength * dx, force_y + strength * dy
        if count % 8 == 0:
            force_x, force_y = _computed_once((force_x, force_y))
    force = jnp.stack([force_x[:last], force_y[:last]], axis=-1)
    if len(moved) < last:
        feels = np.isin(np.arange(last), moved)
        force = jnp.where(feels[:, None], force, 0.0)
    return jnp.pad(force, ((0, len(bodies) - last), (0, 0)))


def _computed_once(values: Values) -> Values:
    """The same values, which XLA on a CPU then computes for all their readers at once.

    On a GPU such a barrier costs a kernel, and computing again what takes a few numbers costs none:
    compiled for an H200, a step of `navigation_N3_l3` takes three kernels less without, one of
    `predator_prey_N6_l6` two.
    """
    return jax.lax.platform_dependent(
        values, cpu=jax.lax.optimization_barrier, default=lambda same: same
    )


def _softplus(x: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    """log(1 + exp(x)), three times as fast as `jax.nn.softplus` on a CPU.

    Without log1p, results below 1e-7 round to 0: a force of 1e-8.
    """
    return jnp.maximum(x, 0) + jnp.log(1 + jnp.exp(-jnp.abs(x)))


def world_step(
    bodies: Bodies,
    position: Float[Array, "B 2"],
    velocity: Float[Array, "B 2"],
    force: Float[Array, "B 2"],
) -> tuple[Float[Array, "B 2"], Float[Array, "B 2"]]:
    """Advance the world by one time step of 0.1.

    `v <- (1 - 0.25) v + (force + contact) / m * 0.1`, then the speed limit, then `p <- p + 0.1 v`.

    Args:
        bodies: static properties of the B bodies.
        position: places, in units of length.
        velocity: velocities, in length per unit of time.
        force: what each body exerts on itself, contacts not included.

    Returns:
        The new position and velocity.

    Raises:
        ValueError: in one line, where one of the three has not one row for each body.
    """
    for what, values in (("position", position), ("velocity", velocity), ("force", force)):
        expect_shape(f"{what} of {len(bodies)} bodies", values, (len(bodies), 2))
    dtype = position.dtype
    mass = jnp.asarray(bodies.mass, dtype)[:, None]
    pushed = force + contact_forces(bodies, position)
    moved = (1 - DAMPING) * velocity + pushed / mass * TIME_STEP
    if any(limit is not None for limit in bodies.max_speed):
        limit = jnp.asarray(
            [np.inf if limit is None else limit for limit in bodies.max_speed], dtype
        )
        speed = norm(moved)
        too_fast = speed > limit
        scale = jnp.where(too_fast, limit / jnp.where(too_fast, speed, 1.0), 1.0)
        moved = moved * scale[:, None]
    if not all(bodies.movable):
        moved = jnp.where(np.array(bodies.movable)[:, None], moved, 0.0)
    # The barrier keeps XLA from computing the step again for each of its readers.
    return _computed_once((position + TIME_STEP * moved, moved))
