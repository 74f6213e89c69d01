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


def clipped(action: np.ndarray) -> np.ndarray:
    """Actions as a task takes them."""
    return np.minimum(np.maximum(action, -1.0), 1.0)


def distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Along the last axis."""
    return np.hypot(a[..., 0] - b[..., 0], a[..., 1] - b[..., 1])


def nearest_first(own: np.ndarray, places: np.ndarray) -> list[int]:
    """Indices of `places`, nearest to `own` first, ties by index."""
    return sorted(range(len(places)), key=lambda k: (math.hypot(*(places[k] - own)), k))


class Hunt(NamedTuple):
    """States of predator and prey, each [E, B, 2]."""

    predator: np.ndarray
    predator_velocity: np.ndarray
    prey: np.ndarray
    prey_velocity: np.ndarray
    landmark: np.ndarray


def hunt_step(state: Hunt, action: np.ndarray, prey_action: np.ndarray) -> Hunt:
    """One step of predators and prey; actions [E, N, 2] and [E, M, 2], not yet clipped."""
    counts = [x.shape[1] for x in (state.predator, state.prey, state.landmark)]
    bodies = [Body(radius=0.075, max_speed=1.0)] * counts[0]
    bodies += [Body(radius=0.05, max_speed=1.3)] * counts[1]
    bodies += [Body(radius=0.2, movable=False)] * counts[2]
    still = np.zeros_like(state.landmark)
    position, velocity = step(
        bodies,
        np.concatenate([state.predator, state.prey, state.landmark], axis=1),
        np.concatenate([state.predator_velocity, state.prey_velocity, still], axis=1),
        np.concatenate([3.0 * clipped(action), 4.0 * clipped(prey_action), still], axis=1),
    )
    n, m = counts[0], counts[0] + counts[1]
    assert (position[:, m:] == state.landmark).all()
    return Hunt(
        position[:, :n], velocity[:, :n], position[:, n:m], velocity[:, n:m], state.landmark
    )


def hunt_observation(state: Hunt, visible: int) -> np.ndarray:
    """What predators see, [E, N, O]."""
    views = []
    for predator, velocity, prey, _, landmark in zip(*state, strict=True):
        rows = []
        for i, own in enumerate(predator):
            row = [*velocity[i], *own]
            for places in (landmark, prey):
                for k in nearest_first(own, places)[:visible]:
                    row += [*(places[k] - own)]
            for j, other in enumerate(predator):
                if j != i:
                    row += [*(other - own)]
            rows.append(row)
        views.append(rows)
    return np.array(views)


def prey_observation(state: Hunt) -> np.ndarray:
    """What prey see, [E, M, P]."""
    views = []
    for predator, _, prey, velocity, landmark in zip(*state, strict=True):
        rows = []
        for i, own in enumerate(prey):
            row = [*velocity[i], *own]
            for body in (*landmark, *predator):
                row += [*(body - own)]
            for j, other in enumerate(prey):
                if j != i:
                    row += [*(other - own)]
            for j, other_velocity in enumerate(velocity):
                if j != i:
                    row += [*other_velocity]
            rows.append(row)
        views.append(rows)
    return np.array(views)


def hunt_contacts(state: Hunt) -> tuple[np.ndarray, np.ndarray]:
    """Pairs in contact, and prey in contact with any predator; [E] each."""
    contacts, captures = np.zeros(len(state.prey)), np.zeros(len(state.prey))
    for j in range(state.prey.shape[1]):
        caught = np.zeros(len(state.prey), bool)
        for i in range(state.predator.shape[1]):
            touching = distance(state.predator[:, i], state.prey[:, j]) < 0.075 + 0.05
            contacts += touching
            caught |= touching
        captures += caught
    return contacts, captures


def hunt_reward(state: Hunt) -> np.ndarray:
    """Team reward of the state that a step led to, [E]."""
    reward = 10.0 * hunt_contacts(state)[0]
    for i in range(state.predator.shape[1]):
        apart = [
            distance(state.predator[:, i], state.prey[:, j]) for j in range(state.prey.shape[1])
        ]
        reward -= 0.1 * np.min(apart, axis=0)
    return reward


def trained_prey_action(file: str, observation: np.ndarray) -> np.ndarray:
    """The networks of a prey file, one prey and one layer at a time; [E, M, P] -> [E, M, 2]."""
    actions = []
    with np.load(file, allow_pickle=False) as weights:
        for j in range(observation.shape[1]):
            x = observation[:, j]
            for layer in range(3):
                kernel = weights[f"kernel_{layer}"][j].astype(np.float64)
                x = x @ kernel + weights[f"bias_{layer}"][j].astype(np.float64)
                x = np.tanh(x) if layer == 2 else np.where(x > 0, x, 0.0)
            actions.append(x)
    return np.stack(actions, axis=1)


def scripted_prey_action(state: Hunt, half_width: float) -> np.ndarray:
    """Away from predators and walls, [E, M, 2]."""
    action = np.zeros_like(state.prey)
    for j in range(state.prey.shape[1]):
        own = state.prey[:, j]
        for i in range(state.predator.shape[1]):
            squared = distance(state.predator[:, i], own) ** 2 + 0.01
            action[:, j] += (own - state.predator[:, i]) / squared[:, None]
        beyond = np.abs(own) / half_width - 0.6
        action[:, j] -= np.where(beyond > 0, 30 * beyond * np.sign(own), 0.0)
    return clipped(action)


class Pushing(NamedTuple):
    """States of push: agents [E, N, 2], ball and target [E, 2]."""

    agent: np.ndarray
    agent_velocity: np.ndarray
    ball: np.ndarray
    ball_velocity: np.ndarray
    target: np.ndarray


PUSH_SIZES = {
    2: (0.06, 4 / 3),
    3: (0.06, 2.0),
    4: (0.06, 8 / 3),
    6: (0.04, 4.0),
    10: (0.06, 20 / 3),
}


def push_step(state: Pushing, action: np.ndarray) -> Pushing:
    """One step; action [E, N, 2], not yet clipped."""
    agents = state.agent.shape[1]
    radius, mass = PUSH_SIZES[agents]
    bodies = [Body(radius=radius)] * agents + [Body(radius=0.1, mass=mass)]
    push = np.concatenate([5.0 * clipped(action), np.zeros_like(state.ball[:, None])], axis=1)
    position, velocity = step(
        bodies,
        np.concatenate([state.agent, state.ball[:, None]], axis=1),
        np.concatenate([state.agent_velocity, state.ball_velocity[:, None]], axis=1),
        push,
    )
    parts = position[:, :-1], velocity[:, :-1], position[:, -1], velocity[:, -1]
    return Pushing(*parts, state.target)


def push_observation(state: Pushing) -> np.ndarray:
    """[E, N, 8 + 2 (N - 1)]."""
    views = []
    for agent, velocity, ball, _, target in zip(*state, strict=True):
        rows = []
        for i, own in enumerate(agent):
            row = [*velocity[i], *own, *(ball - own), *(target - own)]
            for j, other in enumerate(agent):
                if j != i:
                    row += [*(other - own)]
            rows.append(row)
        views.append(rows)
    return np.array(views)


def push_touches(state: Pushing) -> np.ndarray:
    """Agents that touch the ball, [E]."""
    agents = state.agent.shape[1]
    reach = PUSH_SIZES[agents][0] + 0.1
    return sum(
        (distance(state.agent[:, i], state.ball) < reach).astype(float) for i in range(agents)
    )


def push_reward(state: Pushing) -> np.ndarray:
    """Team reward of the state that a step led to, [E]."""
    apart = [distance(state.agent[:, i], state.ball) for i in range(state.agent.shape[1])]
    reward = -2.0 * distance(state.ball, state.target) - 0.1 * np.min(apart, axis=0)
    return reward + 0.1 * push_touches(state)
