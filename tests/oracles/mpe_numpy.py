"""The particle world once more, in plain float64 NumPy: slow, explicit, derived from the equations
alone.

Leading axes are episodes. Bodies, pairs, landmarks and agents are Python loops on purpose, so that
nothing here shares its structure with the code under test.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np


class Body(NamedTuple):
    """One body of the world."""

    radius: float
    mass: float = 1.0
    max_speed: float | None = None
    movable: bool = True
    collides: bool = True


def softplus(x: np.ndarray) -> np.ndarray:
    """log(1 + exp(x)) in the form that is exact for large |x|."""
    small = np.log1p(np.exp(-np.abs(x)))
    return np.where(x > 0, x + small, small)


def contact(body_a: Body, body_b: Body, place_a: np.ndarray, place_b: np.ndarray) -> np.ndarray:
    """Force of b on a, [E, 2]; zero where the two coincide."""
    force = np.zeros_like(place_a)
    if not (body_a.collides and body_b.collides):
        return force
    dx = place_a[:, 0] - place_b[:, 0]
    dy = place_a[:, 1] - place_b[:, 1]
    distance = np.hypot(dx, dy)
    gap = distance - (body_a.radius + body_b.radius)
    strength = 100.0 * 0.001 * softplus(-gap / 0.001)
    apart = distance > 0
    force[apart, 0] = strength[apart] * dx[apart] / distance[apart]
    force[apart, 1] = strength[apart] * dy[apart] / distance[apart]
    return force


def step(
    bodies: list[Body], position: np.ndarray, velocity: np.ndarray, force: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """One time step of every body; arrays are [E, B, 2]."""
    new_position, new_velocity = position.copy(), velocity.copy()
    for b, body in enumerate(bodies):
        if not body.movable:
            new_velocity[:, b] = 0.0
            continue
        total = force[:, b].copy()
        for other, other_body in enumerate(bodies):
            if other != b:
                total += contact(body, other_body, position[:, b], position[:, other])
        moved = velocity[:, b] - 0.25 * velocity[:, b] + 0.1 * total / body.mass
        if body.max_speed is not None:
            for episode in range(len(moved)):
                speed = math.hypot(*moved[episode])
                if speed > body.max_speed:
                    moved[episode] = moved[episode] / speed * body.max_speed
        new_velocity[:, b] = moved
        new_position[:, b] = position[:, b] + 0.1 * moved
    return new_position, new_velocity


def navigation_step(
    position: np.ndarray, velocity: np.ndarray, action: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """One step of navigation's agents; arrays are [E, N, 2], the action not yet clipped."""
    bodies = [Body(radius=0.15) for _ in range(position.shape[1])]
    return step(bodies, position, velocity, 5.0 * np.minimum(np.maximum(action, -1.0), 1.0))


def navigation_observation(
    position: np.ndarray, velocity: np.ndarray, landmark: np.ndarray, visible: int
) -> np.ndarray:
    """[E, N, 4 + 2 visible + 2 (N - 1)]."""
    episodes, agents, _ = position.shape
    views = []
    for e in range(episodes):
        rows = []
        for i in range(agents):
            x, y = position[e, i]
            order = sorted(
                range(landmark.shape[1]),
                key=lambda k: (math.hypot(landmark[e, k, 0] - x, landmark[e, k, 1] - y), k),
            )
            row = [*velocity[e, i], x, y]
            for k in order[:visible]:
                row += [landmark[e, k, 0] - x, landmark[e, k, 1] - y]
            for j in range(agents):
                if j != i:
                    row += [position[e, j, 0] - x, position[e, j, 1] - y]
            rows.append(row)
        views.append(rows)
    return np.array(views)


def navigation_collisions(position: np.ndarray) -> np.ndarray:
    """Number of colliding ordered pairs, [E]."""
    count = np.zeros(len(position))
    agents = position.shape[1]
    for i in range(agents):
        for j in range(agents):
            if i != j:
                gap = position[:, i] - position[:, j]
                count += np.hypot(gap[:, 0], gap[:, 1]) < 0.15 + 0.15
    return count


def navigation_reward(position: np.ndarray, landmark: np.ndarray) -> np.ndarray:
    """Team reward of the state that a step led to, [E]."""
    reward = -navigation_collisions(position)
    for k in range(landmark.shape[1]):
        nearest = np.full(len(position), np.inf)
        for i in range(position.shape[1]):
            gap = position[:, i] - landmark[:, k]
            nearest = np.minimum(nearest, np.hypot(gap[:, 0], gap[:, 1]))
        reward -= nearest
    return reward
