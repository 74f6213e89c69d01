"""A scale for each task: 0 is what uniformly random actions return, 1 what the expert returns.

The numbers of `jax_mpe.registered_tasks()` are stored beside this module, in `scales.json`, as
`python -m jax_mpe.experts` wrote them; those of any other task are measured when they are asked for.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from .. import make
from ..scenario import Scenario
from .lookahead import Controller
from .table import expert

FORMAT = "jax_mpe scales 1"
EPISODES = 4000
FILE = Path(__file__).with_name("scales.json")
_SEED = 20260101
_SIDE_BY_SIDE = 200  # episodes; more do not fit a CPU's cache


class Scale(NamedTuple):
    """Mean returns of whole episodes.

    Attributes:
        random: of uniformly random actions.
        random_error: standard error of that mean.
        expert: of the expert.
        expert_error: standard error of that mean.
        episodes: how many the means are of; both ends saw the same ones.
    """

    random: float
    random_error: float
    expert: float
    expert_error: float
    episodes: int


def scale(task_name: str) -> Scale:
    """The scale of a task, by any name that `jax_mpe.make` takes.

    Raises:
        ValueError: in one line, for a name of no task, or a task without expert.
    """
    name = make(task_name).name  # two names of one task have one scale
    return stored().get(name) or _measured(name)


def normalised_score(task_name: str, episodic_return: Any) -> Any:
    """Where returns of a task's episodes, one or an array of them, stand between random and expert."""
    ends = scale(task_name)
    return (episodic_return - ends.random) / (ends.expert - ends.random)


def measure(task: Scenario[Any], episodes: int = EPISODES) -> Scale:
    """Play `episodes` episodes, the same for everybody and at every call, with either end."""
    # A bare key, whose children are those that a program which splits key(20260101) for its streams has as well; one
    # that nothing else is made from would play other episodes than those that `scales.json` was measured by.
    keys = jax.random.split(jax.random.key(_SEED), episodes)
    returns = [np.asarray(play(task, policy, keys), float) for policy in (None, expert(task))]
    means = [(float(r.mean()), float(r.std(ddof=1) / len(r) ** 0.5)) for r in returns]
    return Scale(*means[0], *means[1], episodes)


def play(
    task: Scenario[Any], policy: Controller | None, keys: PRNGKeyArray | Array
) -> Float[Array, " E"]:
    """Returns of whole episodes, one for each key; actions are uniformly random without a policy."""

    def one(key: Array) -> Float[Array, ""]:
        reset_key, action_key = jax.random.split(key)
        shape = (task.horizon, task.num_agents, task.action_size)
        actions = jax.random.uniform(action_key, shape, float, minval=-1.0)

        def step(state: Any, action: Array) -> tuple[Any, Array]:
            state, timestep = task.step(state, action if policy is None else policy(state))
            return state, timestep.reward

        return jnp.sum(jax.lax.scan(step, task.reset(reset_key)[0], actions)[1])

    return jax.jit(lambda keys: jax.lax.map(one, keys, batch_size=_SIDE_BY_SIDE))(keys)


@functools.cache
def stored() -> Mapping[str, Scale]:
    """The scales that the file holds, by task."""
    if not FILE.exists():
        return {}
    contents = json.loads(FILE.read_text())
    if contents.get("format") != FORMAT:
        raise ValueError(f"{FILE} has format {contents.get('format')!r}, not {FORMAT!r}")
    return {name: Scale(**values) for name, values in contents["tasks"].items()}


def store(scales: Mapping[str, Scale]) -> None:
    """Write the file; what `scale` tells in this process does not change."""
    rounded = {
        name: {key: round(value, 4) for key, value in one._asdict().items()}
        for name, one in scales.items()
    }
    FILE.write_text(json.dumps({"format": FORMAT, "tasks": rounded}, indent=1) + "\n")


@functools.cache
def _measured(name: str) -> Scale:
    return measure(make(name), EPISODES)
