"""What every task must keep where its hyper-parameters are not the usual ones, with its keys, and at thresholds."""

import dataclasses

import jax
import jax.numpy as jnp
import jax_mpe
import numpy as np
import pytest
from jax_mpe.push import APART, BALL_RADIUS, _first_apart
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


def just_below(x):
    return np.nextafter(np.float32(x), np.float32(0))


def measured(env, **places):
    """All measures of a state in which everything else is far from everything."""
    state, _ = env.reset(jax.random.key(0))
    fields = {name: np.array(getattr(state, name)) for name in env.state_shapes}
    for at, name in enumerate(sorted(name for name in fields if name.endswith("_position"))):
        count = fields[name][..., 0].size
        far = 50.0 * (at + 1) + 10 * np.arange(2 * count).reshape(fields[name].shape)
        fields[name] = far.astype(np.float32)
    for name, place in places.items():
        fields[name].reshape(-1, 2)[: len(place)] = place
    return env.measures(state.replace(**jax.tree.map(jnp.asarray, fields)))


def test_a_threshold_is_reached_below_it_and_not_at_it():
    """Distances along an axis are exact, and so is their root."""
    for distance, near in ((0.1, 0), (just_below(0.1), 1)):
        env = jax_mpe.make("navigation_N3_l1")
        told = measured(env, agent_position=[[distance, 0]], landmark_position=[[0, 0]])
        assert float(told["landmarks_covered"]) == near
    for distance, near in ((0.3, 0), (just_below(0.3), 2)):
        told = measured(env, agent_position=[[distance, 0], [0, 0]])
        assert float(told["collisions"]) == near
    env = jax_mpe.make("reference_N3")
    target = int(env.reset(jax.random.key(0))[0].target[0])
    for distance, near in ((0.1, 0), (just_below(0.1), 1)):
        marks = [[900.0, 900.0]] * 3
        marks[target] = [0, 0]
        told = measured(env, agent_position=[[distance, 0]], landmark_position=marks)
        assert float(told["targets_reached"]) == near
    env = jax_mpe.make("push_N3")
    touch = env.agent_radius + BALL_RADIUS
    for distance, near in ((touch, 0), (just_below(touch), 1)):
        told = measured(env, agent_position=[[distance, 0]], ball_position=[[0, 0]])
        assert float(told["touches"]) == near


def test_a_target_may_stand_as_near_to_the_ball_as_it_is_allowed_to():
    candidates = jnp.array([[just_below(APART), 0], [APART, 0], [5.0, 0]])
    chosen = _first_apart(jnp.zeros(2), candidates)
    np.testing.assert_array_equal(chosen, candidates[1])
