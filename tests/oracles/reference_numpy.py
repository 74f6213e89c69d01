"""The reference task once more, in plain float64 NumPy, agent by agent."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np

from .mpe_numpy import Body, clipped, distance, step


class Referring(NamedTuple):
    """States: agents and landmarks [E, N, 2], holder and target [E, N] int."""

    agent: np.ndarray
    agent_velocity: np.ndarray
    landmark: np.ndarray
    holder: np.ndarray
    target: np.ndarray


def reference_step(state: Referring, action: np.ndarray) -> Referring:
    """One step; action [E, N, 2], not yet clipped. Nobody collides."""
    bodies = [Body(radius=0.15, collides=False)] * state.agent.shape[1]
    moved = step(bodies, state.agent, state.agent_velocity, 5.0 * clipped(action))
    return state._replace(agent=moved[0], agent_velocity=moved[1])


def reference_observation(state: Referring) -> np.ndarray:
    """[E, N, 4 + 4 N]."""
    episodes, agents, _ = state.agent.shape
    views = np.zeros((episodes, agents, 4 + 4 * agents))
    for e in range(episodes):
        for i in range(agents):
            view = [*state.agent_velocity[e, i], *state.agent[e, i]]
            for k in range(agents):
                view += [*(state.landmark[e, k] - state.agent[e, i])]
            who, what = [0.0] * agents, [0.0] * agents
            who[state.holder[e, i]] = 1.0
            for other in range(agents):
                if state.holder[e, other] == i:
                    what[state.target[e, other]] = 1.0
            views[e, i] = view + who + what
    return views


def reference_distance(state: Referring) -> np.ndarray:
    """From each agent to its target, [E, N]."""
    rows = np.arange(len(state.agent))
    return np.stack(
        [
            distance(state.agent[:, i], state.landmark[rows, state.target[:, i]])
            for i in range(state.agent.shape[1])
        ],
        axis=1,
    )


def reference_reward(state: Referring) -> np.ndarray:
    """Team reward of the state that a step led to, [E]."""
    return -reference_distance(state).mean(axis=1)


def right_edges(holder: np.ndarray) -> np.ndarray:
    """Who should hear whom, [E, N, N]."""
    mask = np.zeros((*holder.shape, holder.shape[1]))
    for e, i in np.ndindex(holder.shape):
        mask[e, i, holder[e, i]] = 1.0
    return mask


def derangements(count: int) -> list[tuple[int, ...]]:
    """All orders in which nothing stays in its place."""
    return [
        order
        for order in itertools.permutations(range(count))
        if all(order[i] != i for i in range(count))
    ]
