"""`BatchAutoReset` gives what jumanji's wrapper gives, and is worth having."""

import importlib.util

import jax
import jax.numpy as jnp
import jax_mpe
import numpy as np
import pytest
from jumanji.wrappers import VmapAutoResetWrapper

ENVS, STEPS = 5, 60


def run(env, stagger):
    """Keys, observations, rewards, ends and counts of 60 steps of 5 environments."""
    keys = jax.random.split(jax.random.key(4), ENVS)
    state, _ = env.reset(keys)
    if stagger:  # episodes that end at different times
        state = state.replace(step_count=jnp.arange(ENVS, dtype=jnp.int32) * 6)
    shape = (STEPS, ENVS, env.num_agents, 2)
    actions = jax.random.uniform(jax.random.key(5), shape, minval=-1.0)

    def step(state, action):
        state, timestep = env.step(state, action)
        return state, (state, timestep)

    states, timesteps = jax.jit(lambda s, a: jax.lax.scan(step, s, a)[1])(state, actions)
    return jax.random.key_data(states.key), states.replace(key=()), timesteps


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(
    ("name", "stagger"),
    [
        ("navigation_N3_l2", False),
        ("navigation_N3_l2", True),
        ("predator_prey_N3_l2", True),
        ("predator_prey_N3_l2@random", True),
        ("push_N3", True),
        ("toy_follow_holder", True),
    ],
)
def test_equals_jumanjis_wrapper(name, stagger):
    env = jax_mpe.make(name)
    ours = run(jax_mpe.BatchAutoReset(env), stagger)
    theirs = run(VmapAutoResetWrapper(env, next_obs_in_extras=True), stagger)
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(ours[0], theirs[0])
    ends = np.asarray(ours[2].last())
    start = 6 * np.arange(ENVS) if stagger else np.zeros(ENVS, int)
    clock = start + 1 + np.arange(STEPS)[:, None]
    np.testing.assert_array_equal(ends, clock % 25 == 0)
    np.testing.assert_array_equal(ours[1].step_count, clock % 25)


def test_the_observation_in_which_an_episode_was_cut_off_is_kept():
    """A discount of 1 asks for the value of that observation, not of the next episode's first."""
    task = jax_mpe.make("navigation_N3_l2")
    env = jax_mpe.BatchAutoReset(task)
    keys, action = jax.random.split(jax.random.key(1), 2), jnp.full((2, 3, 2), 0.3)
    state, first = env.reset(keys)
    alone = jax.vmap(task.reset)(keys)[0]
    assert list(first.extras) == ["next_obs"]
    same(first.extras["next_obs"], first.observation)
    step = jax.jit(env.step)
    for t in range(25):
        state, timestep = step(state, action)
        alone, expected = jax.vmap(task.step)(alone, action)
        assert jax.tree.structure(timestep) == jax.tree.structure(first)
        same(timestep.extras["next_obs"], expected.observation)
        if t < 24:
            same(timestep.observation, expected.observation)
    assert timestep.last().all()
    np.testing.assert_array_equal(timestep.extras["next_obs"].step_count, [25, 25])
    np.testing.assert_array_equal(timestep.observation.step_count, [0, 0])
    gap = timestep.observation.agents_view - timestep.extras["next_obs"].agents_view
    assert np.abs(gap).max() > 0.1


def same(one, other):
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("task", ["navigation_N2_l1", "predator_prey_N3_l3", "push_N3"])
def test_the_benchmark_runs_and_counts(task):
    environments = pytest.importorskip("purejax_mgtopo.bench.environments")
    (row,) = environments.measure((2,), (task,), seconds=0.02, repeats=1)
    assert (row.task, row.num_envs) == (task, 2)
    assert row.ours > 0
    assert row.ours_jumanji > 0
    if importlib.util.find_spec("jaxmarl") is None:
        assert (row.jaxmarl, row.ratio, row.ratio_jumanji) == (None, None, None)
    else:
        assert row.ratio == row.ours / row.jaxmarl
