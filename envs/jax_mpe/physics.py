"""One step of the particle world: contact forces, damping, speed limits, motion.

The world is the one of Lowe et al. 2017 (OpenAI's multi-agent particle environments), in the order
of its first release: velocity first, then position. Every property of a body is a Python number, so
a body that cannot move or cannot collide costs nothing in the compiled program.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

TIME_STEP = 0.1  # seconds
DAMPING = 0.25  # share of the velocity that is lost in one step
CONTACT_FORCE = 100.0
CONTACT_MARGIN = 1e-3  # length over which a contact softens


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
        ValueError: if the tuples differ in length, or a radius or a mass is not positive.
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
        if min(self.radius) <= 0 or min(self.mass) <= 0:
            raise ValueError("every radius and mass of Bodies must be positive")

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
    """
    x, y = vector[..., 0], vector[..., 1]
    return x * x + y * y


def norm(vector: Float[Array, "*batch 2"]) -> Float[Array, "*batch"]:
    """Euclidean length whose gradient at the zero vector is zero rather than NaN."""
    return safe_sqrt(squared_norm(vector))


def safe_sqrt(squared: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    """Square root whose gradient at 0 is zero rather than NaN."""
    # The inner select keeps sqrt away from 0, where its derivative is infinite: an outer select
    # alone would still turn inf * 0 into NaN in the backward pass.
    positive = squared > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, squared, 1.0)), 0.0)


def contact_forces(bodies: Bodies, position: Float[Array, "B 2"]) -> Float[Array, "B 2"]:
    """Sum of the contact forces on each body.

    Body a is pushed away from b by `100 * (d / |d|) * k * log(1 + exp(-(|d| - (r_a + r_b)) / k))`,
    where d is the position of a relative to b and k the contact margin. Two bodies at exactly the
    same place have no direction to be pushed in: their force is zero, and so is its gradient.

    Args:
        bodies: static properties of the B bodies.
        position: places of the bodies, in units of length.

    Returns:
        Force on each body, on those that cannot move as well.
    """
    radius = np.array(bodies.radius)
    force = jnp.zeros_like(position)
    # A loop over partners, each acting on all bodies at once, computes every pair twice; in a
    # batched program on a CPU it is still faster than to gather the pairs and to scatter their
    # forces. A body is its own partner too, at distance 0 and hence without effect.
    for partner in range(len(bodies)):
        if bodies.collides[partner]:
            apart = position - position[partner]
            distance = norm(apart)
            depth = jnp.asarray(radius + radius[partner], position.dtype) - distance
            softened = CONTACT_MARGIN * jax.nn.softplus(depth / CONTACT_MARGIN)
            strength = CONTACT_FORCE * softened / jnp.where(distance > 0, distance, 1.0)
            force = force + strength[:, None] * apart
    if not all(bodies.collides):
        force = jnp.where(np.array(bodies.collides)[:, None], force, 0.0)
    return force


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
    """
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
    return position + TIME_STEP * moved, moved
