"""What every task must keep where its hyper-parameters are not the usual ones, and with its keys."""

import dataclasses

import jax
import jax.numpy as jnp
import jax_mpe
import numpy as np
import pytest
from task_names import NAMED

TASKS = (*NAMED, "predator_prey_N3_l3@random")


# The riddle chooses between a key and itself, which the checker takes for two uses of it.
@pytest.mark.parametrize("name", [name for name in TASKS if name != "toy_switch_riddle"])
def test_no_task_draws_twice_from_a_key(name):
    """Neither within a step nor from the key that it leaves for the next."""
    env = jax_mpe.make(name)
    with jax.debug_key_reuse(True):
        state = env.initial_state(jax.random.key(0))
        for _ in range(2):
            state = env.advance(state, jnp.zeros((env.num_agents, 2)))


@pytest.mark.quick_cases(4)
@pytest.mark.parametrize("name", TASKS)
def test_an_episode_is_as_long_as_its_horizon(name):
    env = dataclasses.replace(jax_mpe.make(name), horizon=3)
    state, timestep = env.reset(jax.random.key(0))
    ends = []
    for _ in range(3):
        state, timestep = env.step(state, jnp.zeros((env.num_agents, 2)))
        ends.append(bool(timestep.last()))
    assert ends == [False, False, True]
    assert int(env.observation_spec.step_count.maximum) == 3
    env.observation_spec.validate(timestep.observation)


@pytest.mark.parametrize("name", TASKS)
def test_actions_are_stated_as_they_are_clipped(name):
    spec = jax_mpe.make(name).action_spec
    assert (np.min(spec.minimum), np.max(spec.minimum)) == (-1, -1)
    assert (np.min(spec.maximum), np.max(spec.maximum)) == (1, 1)
