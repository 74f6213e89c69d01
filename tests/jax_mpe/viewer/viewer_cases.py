"""Short random episodes of tasks, and what a figure of them holds."""

from __future__ import annotations

import re

import jax
import jax_mpe
import numpy as np
from jax_mpe.viewer import Recording
from matplotlib.patches import Circle, FancyArrowPatch


def make(name):
    """Scripted prey are there for every size."""
    scenario, _, prey = name.partition("@")
    task = jax_mpe.make(scenario)
    if not prey:
        return task
    return type(task)(task.num_agents, task.num_visible, prey=prey)


def record(task, moments=4, seed=0, edges=None) -> Recording:
    """A short random episode: `moments` states and one step less."""
    rng = np.random.default_rng(seed)
    n = task.num_agents
    state, _ = task.reset(jax.random.key(seed))
    states, rewards = [state], []
    actions = rng.uniform(-1, 1, (moments - 1, n, 2))
    for action in actions:
        state, timestep = task.step(state, action)
        states.append(state)
        rewards.append(timestep.reward)
    if edges is None:
        edges = rng.integers(0, 2, (moments - 1, n, n)) * (1 - np.eye(n))
    return Recording(states, edges, actions, np.array(rewards))


def circles(figure):
    return [patch for patch in figure.axes[0].patches if isinstance(patch, Circle)]


def arrows(figure):
    """By (sender, receiver) as they are named: the points of their paths."""
    patches = [patch for patch in figure.axes[0].patches if isinstance(patch, FancyArrowPatch)]
    named = {tuple(map(int, re.findall(r"\d+", patch.get_gid()))): patch for patch in patches}
    assert len(named) == len(patches)
    return {pair: patch._path_original.vertices for pair, patch in named.items()}


def texts(figure):
    return [text.get_text() for text in figure.texts]
