"""Navigation against an independent NumPy derivation, and against its own definition by hand."""

import functools

import jax
import jax.numpy as jnp
import jax_mpe
import numpy as np
import pytest
from jax_mpe.views import nearest
from mpe_cases import EPISODES, check_times, close, episodes, is_uniform, rows

from tests.oracles import mpe_numpy

TASKS = ("navigation_N2_l1", "navigation_N3_l3", "navigation_N6_l1", "navigation_N6_l6")


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("name", TASKS)
def test_500_episodes_equal_the_oracle_step_by_step(name):
    env = jax_mpe.make(name)
    state, timestep, action = episodes(name)
    before = [rows(x[:, :-1]) for x in (state.agent_position, state.agent_velocity)]
    position, velocity = mpe_numpy.navigation_step(*before, rows(action))
    close(rows(state.agent_position[:, 1:]), position)
    close(rows(state.agent_velocity[:, 1:]), velocity)
    np.testing.assert_array_equal(
        state.landmark_position, np.repeat(state.landmark_position[:, :1], 26, axis=1)
    )
    check_times(timestep, state)

    # Reward and observation are of the state reached; its float32 values are given to the oracle,
    # since a distance within rounding of the contact threshold would otherwise count differently.
    reached = rows(state.agent_position[:, 1:]), rows(state.landmark_position[:, 1:])
    close(rows(timestep.reward[:, 1:]), mpe_numpy.navigation_reward(*reached))
    wanted = mpe_numpy.navigation_observation(
        rows(state.agent_position),
        rows(state.agent_velocity),
        rows(state.landmark_position),
        env.num_visible,
    )
    close(rows(timestep.observation.agents_view), wanted)

    contacts = mpe_numpy.navigation_collisions(reached[0])
    assert contacts.sum() > 100, (
        "the episodes must contain contacts for the comparison to mean anything"
    )
    measured = jax.vmap(jax.vmap(env.measures))(state)
    np.testing.assert_array_equal(rows(measured["collisions"][:, 1:]), contacts)


@pytest.mark.parametrize("name", ["navigation_N3_l3", "navigation_N6_l6"])
def test_free_running_oracle_stays_close_for_ten_steps(name):
    state, _, action = episodes(name)
    position, velocity = (
        np.asarray(x[:, 0], np.float64) for x in (state.agent_position, state.agent_velocity)
    )
    for t in range(10):
        position, velocity = mpe_numpy.navigation_step(position, velocity, action[:, t])
        close(state.agent_position[:, t + 1], position, 1e-4)


@pytest.mark.parametrize("name", TASKS)
def test_start_is_uniform_in_the_arena_and_at_rest(name):
    env = jax_mpe.make(name)
    state, _, _ = episodes(name)
    width = {2: (2 / 3) ** 0.5, 3: 1.0, 6: 1.5}[env.num_agents]
    assert env.half_width == pytest.approx(width)
    np.testing.assert_array_equal(state.agent_velocity[:, 0], 0)
    for place in (state.agent_position[:, 0], state.landmark_position[:, 0]):
        assert np.abs(place).max() <= width
        assert np.abs(place).max() > 0.99 * width
        assert is_uniform(place[..., 0], -width, width)
        assert is_uniform(place[..., 1], -width, width)
    # agents, landmarks and the two axes are drawn independently
    flat = np.concatenate([state.agent_position[:, 0], state.landmark_position[:, 0]], axis=1)
    correlation = np.corrcoef(flat.reshape(EPISODES, -1).T)
    assert np.abs(correlation - np.eye(len(correlation))).max() < 0.2


def make_state(env, position, landmark, velocity=None):
    position = jnp.asarray(position, float)
    return jax_mpe.NavigationState(
        key=jax.random.key(0),
        step_count=jnp.asarray(3, jnp.int32),
        agent_position=position,
        agent_velocity=jnp.zeros_like(position)
        if velocity is None
        else jnp.asarray(velocity, float),
        landmark_position=jnp.asarray(landmark, float),
    )


def test_observation_by_hand_with_a_tie():
    env = jax_mpe.make("navigation_N3_l2")
    state = make_state(
        env,
        position=[[0, 0], [1, 0], [0, 2]],
        landmark=[[3, 0], [0, 1], [0, -1]],
        velocity=[[0.5, -0.5], [0, 0], [0.25, 0]],
    )
    np.testing.assert_allclose(
        jax.jit(env.observe)(state),
        [
            # velocity, position, landmarks by distance (1 before 2 at equal distance), others by
            # index
            [0.5, -0.5, 0, 0, 0, 1, 0, -1, 1, 0, 0, 2],
            [0, 0, 1, 0, -1, 1, -1, -1, -1, 0, -1, 2],
            [0.25, 0, 0, 2, 0, -1, 0, -3, 0, -2, 1, -2],
        ],
    )


def test_nearest_equals_a_stable_sort():
    rng = np.random.default_rng(0)
    # Few distinct values, so that ties are common, and sometimes three at once.
    vectors = rng.integers(-1, 2, (200, 6, 2)).astype(np.float32)
    order = np.argsort((vectors**2).sum(-1), axis=-1, kind="stable")
    wanted = np.take_along_axis(vectors, order[..., None], axis=1)
    for count in (1, 2, 6):
        np.testing.assert_array_equal(
            jax.jit(nearest, static_argnums=1)(vectors, count), wanted[:, :count]
        )


def test_reward_and_measures_by_hand():
    env = jax_mpe.make("navigation_N3_l1")
    # At rest and, with the pair 0.29 apart, in contact; the landmarks are far away from agents 0
    # and 1.
    state = make_state(env, [[0, 0], [0.29, 0], [5, 5]], [[5, 5.0625], [5, 5.5], [0, 0]])
    reward = jax.jit(env.reward)(state, jnp.zeros((3, 2)), state)
    assert float(reward) == pytest.approx(-(0.0625 + 0.5 + 0.0) - 2.0, abs=1e-6)
    measures = jax.jit(env.measures)(state)
    assert float(measures["landmarks_covered"]) == 2.0
    assert float(measures["collisions"]) == 2.0


def test_action_moves_an_agent_as_the_equation_says():
    env = jax_mpe.make("navigation_N2_l2")
    state = make_state(env, [[0, 0], [9, 9]], [[0, 0], [0, 0]], [[1, 0], [0, 0]])
    after, _ = env.step(state, jnp.array([[0.4, -2.0], [0.0, 0.0]]))
    np.testing.assert_allclose(after.agent_velocity[0], [0.75 + 0.2, -0.5], rtol=1e-6)
    np.testing.assert_allclose(after.agent_position[0], [0.095, -0.05], rtol=1e-6)
    np.testing.assert_allclose(after.agent_position[1], [9, 9], rtol=1e-6)
    assert int(after.step_count) == 4


@pytest.mark.parametrize(("agents", "width"), [(2, 0.81649658), (3, 1.0), (6, 1.5), (12, 2.0)])
def test_arena_half_width(agents, width):
    assert jax_mpe.arena_half_width(agents) == pytest.approx(width)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(
    "name",
    [
        "navigation_N2_l1",
        "navigation_N3_l3",
        pytest.param("navigation_N10_l4", marks=pytest.mark.slow),
    ],
)
def test_gradients_are_finite_when_agents_coincide(name):
    env = jax_mpe.make(name)
    state, _ = env.reset(jax.random.key(0))
    same = state.agent_position.at[1].set(state.agent_position[0])
    same = same.at[-1].set(state.landmark_position[0])  # and one sits exactly on a landmark
    actions = 0.5 * jax.random.uniform(jax.random.key(1), (5, env.num_agents, 2), minval=-1.0)
    actions = actions.at[:, 1].set(actions[:, 0])  # the two stay together throughout

    @jax.jit
    @functools.partial(jax.value_and_grad, argnums=(0, 1))
    def total(actions, position):
        def step(state, action):
            state, timestep = env.step(state, action)
            return state, timestep.reward + 1e-3 * jnp.sum(timestep.observation.agents_view)

        last, reward = jax.lax.scan(step, state.replace(agent_position=position), actions)
        return jnp.sum(reward) + jnp.sum(last.agent_velocity)

    value, gradients = total(actions, same)
    assert np.isfinite(value)
    for gradient in gradients:
        assert np.isfinite(gradient).all()
        assert np.abs(gradient).sum() > 0
