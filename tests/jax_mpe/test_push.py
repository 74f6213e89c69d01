"""Push against an independent NumPy derivation, and against its definition by hand."""

import jax
import jax.numpy as jnp
import jax_mpe
import numpy as np
import pytest
from jax_mpe.push import APART, _first_apart
from mpe_cases import check_times, close, episodes, fields, is_uniform, rows

from tests.oracles import mpe_numpy
from tests.oracles.mpe_numpy import Pushing

TASKS = ("push_N3", "push_N6", "push_N2", "push_N10")
FIELDS = ("agent_position", "agent_velocity", "ball_position", "ball_velocity", "target_position")
BEFORE, AFTER, ALL = slice(None, -1), slice(1, None), slice(None)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("name", TASKS)
def test_500_episodes_equal_the_oracle_step_by_step(name):
    env = jax_mpe.make(name)
    state, timestep, action = episodes(name)
    before = Pushing(*fields(state, FIELDS, BEFORE))
    after = mpe_numpy.push_step(before, rows(action))
    for field, wanted in zip(FIELDS, after, strict=True):
        close(rows(getattr(state, field)[:, 1:]), wanted)
    check_times(timestep, state)
    reached = Pushing(*fields(state, FIELDS, AFTER))
    close(rows(timestep.reward[:, 1:]), mpe_numpy.push_reward(reached))
    every = Pushing(*fields(state, FIELDS, ALL))
    close(rows(timestep.observation.agents_view), mpe_numpy.push_observation(every))

    touches = mpe_numpy.push_touches(reached)
    assert touches.sum() > 100, "without touches the comparison means little"
    assert np.abs(state.ball_velocity).max() > 0.1
    measured = jax.vmap(jax.vmap(env.measures))(state)
    np.testing.assert_array_equal(rows(measured["touches"][:, 1:]), touches)
    apart = mpe_numpy.distance(reached.ball, reached.target)
    close(rows(measured["ball_distance"][:, 1:]), apart)


@pytest.mark.parametrize(("name", "width"), [("push_N3", 1.0), ("push_N6", 1.0), ("push_N2", 1.0)])
def test_start(name, width):
    env = jax_mpe.make(name)
    keys = jax.random.split(jax.random.key(0), 4000)
    state = jax.jit(jax.vmap(env.initial_state))(keys)
    for axis in (0, 1):
        assert is_uniform(state.agent_position[..., axis], -width, width)
        assert is_uniform(state.ball_position[:, axis], -width + 0.2, width - 0.2)
    assert np.abs(state.target_position).max() <= width - 0.2
    apart = mpe_numpy.distance(np.asarray(state.ball_position), np.asarray(state.target_position))
    assert apart.min() >= APART - 1e-6
    assert np.percentile(apart, 5) < 0.85  # up to the border, and not only there
    assert apart.max() > 1.6
    for velocity in (state.agent_velocity, state.ball_velocity):
        np.testing.assert_array_equal(velocity, 0)
    # The target is uniform where it may be: for balls in a corner, that is nearly everywhere.
    corner = np.asarray(state.ball_position).min(axis=1) > 0.6 * (width - 0.2)
    target = np.asarray(state.target_position)[corner]
    opposite = target[(target < 0).all(axis=1)]
    assert is_uniform(opposite[:, 0], -width + 0.2, 0)


def test_the_first_candidate_that_is_far_enough_wins():
    ball = jnp.array([0.1, 0.0])
    candidates = jnp.array([[0.2, 0.3], [0.9, 0.0], [-0.8, 0.8], [0.8, 0.8]])
    np.testing.assert_array_equal(_first_apart(ball, candidates), candidates[2])
    for x in (-0.8, -0.1, 0.0, 0.1, 0.8):
        ball = jnp.array([x, 0.3])
        target = np.asarray(_first_apart(ball, jnp.tile(ball, (4, 1))))
        assert np.abs(target).max() <= 0.8 + 1e-6
        assert mpe_numpy.distance(np.asarray(ball), target) == pytest.approx(APART)


def make_state(agent, ball, target, agent_velocity=None, ball_velocity=(0, 0)):
    agent = jnp.asarray(agent, float)
    return jax_mpe.PushState(
        key=jax.random.key(0),
        step_count=jnp.asarray(3, jnp.int32),
        agent_position=agent,
        agent_velocity=jnp.zeros_like(agent)
        if agent_velocity is None
        else jnp.asarray(agent_velocity, float),
        ball_position=jnp.asarray(ball, float),
        ball_velocity=jnp.asarray(ball_velocity, float),
        target_position=jnp.asarray(target, float),
    )


def test_observation_reward_and_measures_by_hand():
    env = jax_mpe.make("push_N3")
    state = make_state(
        [[0, 0], [1, 0], [0, 0.155]], [0, 0.3], [3, 4.3], [[0.5, -0.5], [0, 0], [1, 0]]
    )
    np.testing.assert_allclose(
        env.observe(state),
        [
            # velocity, position, ball, target, others
            [0.5, -0.5, 0, 0, 0, 0.3, 3, 4.3, 1, 0, 0, 0.155],
            [0, 0, 1, 0, -1, 0.3, 2, 4.3, -1, 0, -1, 0.155],
            [1, 0, 0, 0.155, 0, 0.145, 3, 4.145, 0, -0.155, 1, -0.155],
        ],
        atol=1e-6,
    )
    reward = env.reward(state, jnp.zeros((3, 2)), state)
    assert float(reward) == pytest.approx(-2 * 5 - 0.1 * 0.145 + 0.1, abs=1e-5)
    measures = env.measures(state)
    assert float(measures["ball_distance"]) == pytest.approx(5.0)
    assert float(measures["touches"]) == 1.0


@pytest.mark.parametrize(("name", "radius", "mass"), [("push_N3", 0.06, 2), ("push_N6", 0.04, 4)])
def test_a_touch_moves_ball_and_agent_by_their_masses(name, radius, mass):
    env = jax_mpe.make(name)
    away = [[20.0 + i, 20] for i in range(env.num_agents - 1)]
    reach = radius + 0.1
    state = make_state([[reach - 0.05, 0], *away], [0, 0], [9, 9])
    after, _ = env.step(state, jnp.zeros((env.num_agents, 2)))
    # 5 units of force for an overlap of 0.05, for a tenth of a second
    np.testing.assert_allclose(after.agent_velocity[0], [0.5, 0], atol=1e-3)
    np.testing.assert_allclose(after.ball_velocity, [-0.5 / mass, 0], atol=1e-3)
    np.testing.assert_allclose(after.ball_position, [-0.05 / mass, 0], atol=1e-4)
    np.testing.assert_array_equal(after.target_position, [9, 9])
    # No speed limit, and the target is no obstacle.
    state = make_state([[0, 0], *away], [5, 5], [0, 0], [[40, 0], *[[0, 0]] * len(away)])
    after, _ = env.step(state, jnp.ones((env.num_agents, 2)))
    np.testing.assert_allclose(after.agent_velocity[0], [30.5, 0.5], rtol=1e-6)


@pytest.mark.parametrize(
    ("agents", "width", "radius", "mass"),
    [
        (2, 1.0, 0.06, 4 / 3),
        (3, 1.0, 0.06, 2),
        (4, (4 / 3) ** 0.5, 0.06, 8 / 3),
        (6, 1.0, 0.04, 4),
        (12, 2.0, 0.06, 8),
    ],
)
def test_sizes(agents, width, radius, mass):
    env = jax_mpe.Push(agents)
    assert env.half_width == pytest.approx(width)
    assert env.agent_radius == radius
    assert env.ball_mass == pytest.approx(mass)


def test_gradients_are_finite_when_bodies_coincide():
    env = jax_mpe.make("push_N3")
    same = jnp.array([[0.1, 0.1], [0.1, 0.1], [0.3, 0.3]])
    state = make_state(same, [0.3, 0.3], [0.3, 0.3])

    @jax.jit
    @jax.value_and_grad
    def total(position):
        def step(state, action):
            state, timestep = env.step(state, action)
            return state, timestep.reward + 1e-3 * jnp.sum(timestep.observation.agents_view)

        start = state.replace(agent_position=position)
        last, reward = jax.lax.scan(step, start, jnp.zeros((5, 3, 2)))
        return jnp.sum(reward) + jnp.sum(last.agent_velocity)

    value, gradient = total(same)
    assert np.isfinite(value) and np.isfinite(gradient).all()
    assert np.abs(gradient).sum() > 0
