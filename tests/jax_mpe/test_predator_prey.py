"""Predator and prey against an independent NumPy derivation, and against its definition by hand."""

import functools

import jax
import jax.numpy as jnp
import jax_mpe
import numpy as np
import pytest
from jax_mpe.prey import shipped_file
from mpe_cases import check_times, close, episodes, fields, is_uniform, rows

from tests.oracles import mpe_numpy
from tests.oracles.mpe_numpy import Hunt

TASKS = (
    "predator_prey_N3_l3",
    "predator_prey_N6_l1",
    "predator_prey_N6_l6",
    "predator_prey_N2_l1",
    "predator_prey_N10_l3",
    "predator_prey_N3_l1@scripted",
)
RARE = dict.fromkeys(("predator_prey_N6_l1", "predator_prey_N10_l3"), pytest.mark.slow)
FIELDS = ("agent_position", "agent_velocity", "prey_position", "prey_velocity", "landmark_position")
BEFORE, AFTER, ALL = slice(None, -1), slice(1, None), slice(None)


def oracles_prey(env, state):
    """What the prey do in these states, by the oracle's own reading of the rule or of the file."""
    file = shipped_file(env.sizes)
    if env.prey == "shipped" and env.num_agents in (3, 6):
        return mpe_numpy.trained_prey_action(file, mpe_numpy.prey_observation(state))
    return mpe_numpy.scripted_prey_action(state, env.half_width)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("name", [pytest.param(name, marks=RARE.get(name, ())) for name in TASKS])
def test_500_episodes_equal_the_oracle_step_by_step(name):
    env = jax_mpe.make(name)
    state, timestep, action = episodes(name)
    before = Hunt(*fields(state, FIELDS, BEFORE))
    moves = oracles_prey(env, before)
    after = mpe_numpy.hunt_step(before, rows(action), moves)
    for name, wanted in zip(FIELDS, after, strict=True):
        close(rows(getattr(state, name)[:, 1:]), wanted)
    check_times(timestep, state)

    # Reward and observation are of the state reached; its float32 values are given to the oracle,
    # since a distance within rounding of the contact threshold would otherwise count differently.
    reached = Hunt(*fields(state, FIELDS, AFTER))
    close(rows(timestep.reward[:, 1:]), mpe_numpy.hunt_reward(reached))
    every = Hunt(*fields(state, FIELDS, ALL))
    wanted = mpe_numpy.hunt_observation(every, env.num_visible)
    close(rows(timestep.observation.agents_view), wanted)
    each = jax.jit(jax.vmap(jax.vmap(env.observe_prey)))(state)
    close(rows(each), mpe_numpy.prey_observation(every))
    acts = jax.jit(jax.vmap(lambda seen: env.prey_policy.act(seen, jax.random.key(0))))
    close(acts(rows(each[:, :-1])), moves, 1e-4)

    contacts, captures = mpe_numpy.hunt_contacts(reached)
    assert contacts.sum() > 30, "without contacts the comparison means little"
    measured = jax.vmap(jax.vmap(env.measures))(state)
    np.testing.assert_array_equal(rows(measured["contacts"][:, 1:]), contacts)
    np.testing.assert_array_equal(rows(measured["captures"][:, 1:]), captures)
    if env.num_agents > 2:
        assert (captures < contacts).any()

    speed = np.hypot(*np.moveaxis(state.prey_velocity, -1, 0))
    assert speed.max() <= 1.3 * (1 + 1e-6)
    assert (np.abs(speed - 1.3) < 1e-5).sum() > 100  # the limit is met
    speed = np.hypot(*np.moveaxis(state.agent_velocity, -1, 0))
    assert speed.max() <= 1.0 + 1e-6
    assert (np.abs(speed - 1.0) < 1e-5).sum() > 100


def test_start_is_uniform_and_at_rest():
    for name, width in (("predator_prey_N3_l3", 1.0), ("predator_prey_N6_l6", 1.5)):
        env = jax_mpe.make(name)
        state, _, _ = episodes(name)
        assert (env.num_prey, env.num_landmarks) == {3: (1, 2), 6: (2, 3)}[env.num_agents]
        for axis in (0, 1):
            for field, w in (("agent", width), ("prey", width), ("landmark", width - 0.1)):
                place = getattr(state, f"{field}_position")[:, 0, :, axis]
                assert is_uniform(place, -w, w)
        for velocity in (state.agent_velocity, state.prey_velocity):
            np.testing.assert_array_equal(velocity[:, 0], 0)
        flat = [getattr(state, f"{f}_position")[:, 0] for f in ("agent", "prey", "landmark")]
        flat = np.concatenate([x.reshape(len(x), -1) for x in flat], axis=1)
        correlation = np.corrcoef(flat.T)
        assert np.abs(correlation - np.eye(len(correlation))).max() < 0.2


def make_state(env, agent, prey, landmark, agent_velocity=None, prey_velocity=None):
    def velocity(given, places):
        return jnp.zeros_like(places) if given is None else jnp.asarray(given, float)

    agent, prey = jnp.asarray(agent, float), jnp.asarray(prey, float)
    return jax_mpe.PredatorPreyState(
        key=jax.random.key(0),
        step_count=jnp.asarray(3, jnp.int32),
        agent_position=agent,
        agent_velocity=velocity(agent_velocity, agent),
        prey_position=prey,
        prey_velocity=velocity(prey_velocity, prey),
        landmark_position=jnp.asarray(landmark, float),
    )


def test_observations_by_hand():
    agent = [[0, 0], [1, 0], [0, 2]]
    speeds = [[0.5, -0.5], [0, 0], [0.25, 0]]
    env = jax_mpe.make("predator_prey_N3_l1")
    state = make_state(env, agent, [[3, 1]], [[0, 1], [0, -1]], speeds, [[1, 0.5]])
    np.testing.assert_allclose(
        env.observe(state),
        [
            # velocity, position, nearest landmark (0 before 1 at equal distance), prey, others
            [0.5, -0.5, 0, 0, 0, 1, 3, 1, 1, 0, 0, 2],
            [0, 0, 1, 0, -1, 1, 2, 1, -1, 0, -1, 2],
            [0.25, 0, 0, 2, 0, -1, 3, -1, 0, -2, 1, -2],
        ],
    )
    np.testing.assert_allclose(
        # velocity, position, landmarks, predators; there is no other prey
        env.observe_prey(state),
        [[1, 0.5, 3, 1, -3, 0, -3, -2, -3, -1, -2, -1, -3, 1]],
    )
    env = jax_mpe.make("predator_prey_N6_l1")
    state = make_state(
        env, np.zeros((6, 2)), [[1, 0], [0, 2]], np.ones((3, 2)), None, [[1, 2], [3, 4]]
    )
    seen = env.observe_prey(state)
    np.testing.assert_allclose(seen[0], [1, 2, 1, 0, *[0, 1] * 3, *[-1, 0] * 6, -1, 2, 3, 4])
    np.testing.assert_allclose(seen[1], [3, 4, 0, 2, *[1, -1] * 3, *[0, -2] * 6, 1, -2, 1, 2])


def test_views_are_clipped_to_what_there_is():
    wide, narrow = (jax_mpe.make(f"predator_prey_N6_l{v}") for v in (6, 3))
    assert wide.observation_size == 24
    state, _ = wide.reset(jax.random.key(0))
    np.testing.assert_array_equal(wide.observe(state), narrow.observe(state))


def test_reward_and_measures_by_hand():
    env = jax_mpe.make("predator_prey_N6_l1")
    far = [[9, 9]] * 3
    # Predators 0 and 1 touch prey 0, none touches prey 1; three are far away.
    agent = [[0.12, 0], [-0.12, 0], [2, 0], [0, 7], [0, 7], [0, 7]]
    state = make_state(env, agent, [[0, 0], [0, 2]], far)
    reward = env.reward(state, jnp.zeros((6, 2)), state)
    assert float(reward) == pytest.approx(20 - 0.1 * (0.12 + 0.12 + 2 + 5 + 5 + 5), abs=1e-5)
    measures = env.measures(state)
    assert (float(measures["contacts"]), float(measures["captures"])) == (2.0, 1.0)


def test_a_contact_is_nearer_than_the_sum_of_the_radii():
    env = jax_mpe.make("predator_prey_N2_l1")
    edge = 0.125  # which 0.075 + 0.05 is exactly, as a float too
    for place, contacts in ((edge, 0), (np.nextafter(np.float32(edge), np.float32(0)), 1)):
        state = make_state(env, [[place, 0], [9, 9]], [[0, 0]], [[7, 7]] * 2)
        assert float(env.measures(state)["contacts"]) == contacts


def test_how_many_prey_and_landmarks_there_are():
    sizes = {2: 1, 3: 1, 4: 1, 5: 1, 6: 2, 7: 2, 8: 2, 9: 3, 10: 3, 11: 3, 12: 4}
    for agents, prey in sizes.items():
        env = jax_mpe.PredatorPrey(agents, 1)
        assert (env.num_prey, env.num_landmarks) == (prey, prey + 1)


def test_bodies_collide_by_the_sum_of_their_radii():
    env = jax_mpe.make("predator_prey_N2_l1")
    radius = {"agent": 0.075, "prey": 0.05, "landmark": 0.2}

    def force(one, other, gap):
        """On `one`, along x, when the two are `gap` beyond touching."""
        places = {"agent": [[50, 0], [60, 0]], "prey": [[70, 0]], "landmark": [[80, 0], [90, 0]]}
        places[one][0] = [0, 0]
        places[other][-1] = [-(radius[one] + radius[other] + gap), 0]
        order = [*places["agent"], *places["prey"], *places["landmark"]]
        forces = jax_mpe.contact_forces(env.bodies, jnp.asarray(order, float))
        return float(forces[order.index([0, 0]), 0])

    for one, other in (("agent", "agent"), ("agent", "prey"), ("prey", "landmark")):
        assert force(one, other, -0.05) == pytest.approx(5.0, abs=1e-3)  # 100 times the overlap
        assert force(one, other, 0.0) == pytest.approx(0.1 * np.log(2), abs=1e-3)
        assert force(one, other, 0.02) == pytest.approx(0.0, abs=1e-6)


def test_one_step_by_hand():
    env = jax_mpe.make("predator_prey_N2_l1")
    state = make_state(env, [[0, 0], [9, 9]], [[5, 5]], [[-9, 9], [9, -9]], [[1, 0], [0, 0]])
    action = jnp.array([[0.4, -2.0], [3.0, 0.0]])
    after, timestep = env.step_teams(state, action, jnp.array([[3.0, -0.5]]))
    np.testing.assert_allclose(after.agent_velocity[0], [0.75 + 0.12, -0.3], rtol=1e-6)
    np.testing.assert_allclose(after.agent_velocity[1], [0.3, 0], rtol=1e-6)
    np.testing.assert_allclose(after.agent_position[0], [0.087, -0.03], rtol=1e-6)
    np.testing.assert_allclose(after.prey_velocity[0], [0.4, -0.2], rtol=1e-6)
    np.testing.assert_allclose(after.prey_position[0], [5.04, 4.98], rtol=1e-6)
    assert int(after.step_count) == int(timestep.observation.step_count) == 4
    np.testing.assert_array_equal(timestep.observation.agents_view, env.observe(after))
    fast = make_state(env, [[0, 0], [9, 9]], [[5, 5]], [[-9, 9], [9, -9]], [[3, 4], [0, 0]])
    after, _ = env.step_teams(fast, jnp.zeros((2, 2)), jnp.zeros((1, 2)))
    np.testing.assert_allclose(after.agent_velocity[0], [0.6, 0.8], rtol=1e-6)  # speed limit 1


def test_step_is_step_teams_with_the_preys_own_actions():
    for name in ("predator_prey_N6_l1", "predator_prey_N6_l1@scripted"):
        env = jax_mpe.make(name)
        state, _ = env.reset(jax.random.key(5))
        action = jax.random.uniform(jax.random.key(6), (6, 2), minval=-1.0)
        moves = env.prey_policy.act(env.observe_prey(state), state.key)
        one, two = env.step(state, action), env.step_teams(state, action, moves)
        for a, b in zip(
            jax.tree.leaves((one[0].replace(key=()), one[1])),
            jax.tree.leaves((two[0].replace(key=()), two[1])),
            strict=True,
        ):
            np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_actions_beyond_the_limit_are_those_at_it_for_both_teams(sign):
    env = jax_mpe.make("predator_prey_N3_l3")
    state = env.reset(jax.random.key(3))[0]
    limit = np.full((env.num_agents, 2), sign), np.full((env.num_prey, 2), sign)
    wanted = env.step_teams(state, *limit)[0].replace(key=())
    for team in (0, 1):
        beyond = tuple(7 * a if i == team else a for i, a in enumerate(limit))
        after = env.step_teams(state, *beyond)[0].replace(key=())
        jax.tree.map(np.testing.assert_array_equal, after, wanted)


def test_random_prey_draw_anew_at_each_step_from_the_state():
    env = jax_mpe.make("predator_prey_N6_l1", prey="random")
    state, _ = env.reset(jax.random.key(0))
    state = state.replace(  # nobody is near anybody
        agent_position=10.0 + jnp.arange(12.0).reshape(6, 2),
        prey_position=jnp.array([[0.0, 0.0], [5.0, 5.0]]),
        landmark_position=state.landmark_position - 20.0,
    )
    drawn, keys = [], []
    for _ in range(400):
        state, _ = env.step(state.replace(prey_velocity=jnp.zeros((2, 2))), jnp.zeros((6, 2)))
        drawn.append(np.asarray(state.prey_velocity) / 0.4)
        keys.append(bytes(np.asarray(jax.random.key_data(state.key))))
    assert len(set(keys)) == 400
    drawn = np.array(drawn)
    for prey in (0, 1):
        for axis in (0, 1):
            assert is_uniform(drawn[:, prey, axis], -1.0 - 1e-6, 1.0 + 1e-6)
    correlation = np.corrcoef(drawn.reshape(400, 4).T)
    assert np.abs(correlation - np.eye(4)).max() < 0.2
    # Vmapped environments draw apart, equal keys draw alike.
    many = jax.vmap(lambda key: env.step(env.reset(key)[0], jnp.zeros((6, 2)))[0].prey_velocity)
    one, other, again = many(jax.random.split(jax.random.key(1), 2)[jnp.array([0, 1, 0])])
    assert not np.array_equal(one, other)
    np.testing.assert_array_equal(one, again)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("name", ["predator_prey_N3_l3", "predator_prey_N4_l2"])
def test_gradients_are_finite_when_bodies_coincide(name):
    env = jax_mpe.make(name)
    state, _ = env.reset(jax.random.key(0))
    same = state.agent_position.at[1].set(state.agent_position[0])
    same = same.at[2].set(state.prey_position[0])
    state = state.replace(landmark_position=state.landmark_position.at[1].set(same[0]))
    actions = 0.5 * jax.random.uniform(jax.random.key(1), (5, env.num_agents, 2), minval=-1.0)

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
