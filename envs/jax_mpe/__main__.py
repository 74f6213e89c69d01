"""`python -m jax_mpe TASK`: an episode of uniformly random actions, as a picture and an animation."""

from __future__ import annotations

import argparse
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

import jax_mpe
from jax_mpe.paths import expanded, show_any_name
from jax_mpe.scenario import Scenario
from jax_mpe.viewer import Recording, animate, draw, save_animation, save_picture

FAILURE, USAGE = 1, 2


def main(argv: list[str] | None = None) -> int:
    """Write the two files and print their paths; answers with an exit code."""
    show_any_name()
    parser = argparse.ArgumentParser(prog="python -m jax_mpe", description=__doc__)
    parser.add_argument("task", metavar="TASK", help=", ".join(jax_mpe.registered_tasks()))
    parser.add_argument("--out", default=".", metavar="DIR", help="default: here")
    parser.add_argument("--seed", type=int, default=0, help="another one, another episode")
    given = parser.parse_args(argv)
    try:
        if not 0 <= given.seed < 2**32:
            raise ValueError(f"--seed must be from 0 to 2**32 - 1, not {given.seed}")
        out = expanded(given.out)
        task = jax_mpe.make(given.task)
    except ValueError as error:
        print(f"jax_mpe: error: {error}", file=sys.stderr)
        return USAGE
    recording = random_episode(task, jax.random.key(given.seed))
    stem = out / task.name
    try:
        print(save_picture(draw(task, recording), f"{stem}.png"))
        print(save_animation(animate(task, recording), f"{stem}.gif"))
    except OSError as error:
        print(f"jax_mpe: error: cannot write {error.filename}: {error.strerror}", file=sys.stderr)
        return FAILURE
    return 0


def random_episode(task: Scenario[Any], key: PRNGKeyArray) -> Recording:
    """An episode in which every action is drawn uniformly from [-1, 1]."""
    reset_key, action_key = jax.random.split(key)
    shape = (task.horizon, task.num_agents, task.action_size)
    actions = jax.random.uniform(action_key, shape, minval=-1.0)
    start, _ = task.reset(reset_key)

    def step(state: Any, action: Array) -> tuple[Any, tuple[Any, Array]]:
        state, timestep = task.step(state, action)
        return state, (state, timestep.reward)

    _, (after, rewards) = jax.lax.scan(step, start, actions)
    states = jax.tree.map(lambda first, rest: jnp.concatenate([first[None], rest]), start, after)
    return Recording(states, actions=np.asarray(actions), rewards=np.asarray(rewards))


if __name__ == "__main__":
    sys.exit(main())
