"""Random episodes of any task, as its oracle wants them."""

import functools

import jax
import jax.numpy as jnp
import jax_mpe
import numpy as np

EPISODES = 500


@functools.cache
def episodes(name):
    """500 episodes as float64 NumPy: states [E, 26, ..], time steps [E, 26, ..], actions [E, 25, N,
    2]. Actions are random, but half of the agents go for the prey or the ball, so that they touch.
    """
    env = jax_mpe.make(name)

    def one(key):
        reset_key, action_key = jax.random.split(key)
        # Beyond [-1, 1] now and then, so that clipping is covered too.
        actions = jax.random.uniform(action_key, (25, env.num_agents, 2), minval=-1.3, maxval=1.3)
        first = env.reset(reset_key)

        def step(state, action):
            goal = getattr(state, "prey_position", getattr(state, "ball_position", None))
            if goal is not None:
                aim = 5 * (goal.reshape(-1, 2)[0] - state.agent_position[::2])
                action = action.at[::2].set(aim)
            state, timestep = env.step(state, action)
            return state, (state, timestep, action)

        _, (*rest, actions) = jax.lax.scan(step, first[0], actions)
        rest = tuple(rest)
        joined = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), first, rest)
        return (*joined, actions)

    out = jax.jit(jax.vmap(one))(jax.random.split(jax.random.PRNGKey(7), EPISODES))
    return jax.tree.map(np.asarray, out)


def rows(array):
    """Episode and time merged, in float64."""
    return np.asarray(array, np.float64).reshape(-1, *array.shape[2:])


def fields(state, names, steps):
    """The named fields at these steps, episodes and steps merged."""
    return [rows(getattr(state, name)[:, steps]) for name in names]


def close(actual, wanted, tolerance=1e-5):
    np.testing.assert_allclose(actual, wanted, atol=tolerance, rtol=tolerance)


def check_times(timestep, state):
    """What all tasks share: counts, discounts, kinds of step, types."""
    count = len(state.step_count)
    np.testing.assert_array_equal(state.step_count, np.tile(np.arange(26), (count, 1)))
    np.testing.assert_array_equal(timestep.observation.step_count, state.step_count)
    np.testing.assert_array_equal(timestep.discount, 1.0)
    np.testing.assert_array_equal(timestep.reward[:, 0], 0)
    kinds = [0] + [1] * 24 + [2]  # first, then mid, then last
    np.testing.assert_array_equal(timestep.step_type, np.tile(kinds, (count, 1)))
    assert timestep.extras == {}
    assert timestep.reward.dtype == timestep.discount.dtype == np.float32
    assert timestep.observation.agents_view.dtype == np.float32


def is_uniform(sample, low, high):
    """Kolmogorov's test at p = 0.001."""
    sample = (np.sort(np.ravel(sample)) - low) / (high - low)
    gap = np.abs(sample - np.linspace(0, 1, len(sample))).max()
    return 0 <= sample[0] and sample[-1] <= 1 and gap < 1.95 / len(sample) ** 0.5
