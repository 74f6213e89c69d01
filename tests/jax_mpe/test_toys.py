"""The toys' best returns, by scripted policies, and that each round is a fresh draw."""

import functools

import jax
import jax.numpy as jnp
import jax_mpe
import numpy as np
import pytest
from jax_mpe import CORNERS
from jax_mpe.experts import expert

TOYS = ("toy_crossed_goals", "toy_follow_holder", "toy_follow_two", "toy_public")
EPISODES = 800  # 20,000 rounds


@functools.cache
def play(name, policy):
    """States before each round and rewards, [E, 25, ..]; `policy(view [N, O]) -> [N, 2]`, or of the
    state."""
    env = jax_mpe.make(name)

    def one(key):
        def step(state, _):
            action = policy(env.observe(state), state)
            after, timestep = env.step(state, action)
            return after, (state, timestep)

        return jax.lax.scan(step, env.reset(key)[0], None, length=25)[1]

    states, timesteps = jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(5), EPISODES))
    return states, jax.tree.map(np.asarray, timesteps)


def stay(view, state):
    return jnp.zeros((view.shape[0], 2))


def decode(one_hot):
    return one_hot @ jnp.asarray(CORNERS)


def tell_partner(view, state):  # toy A with messages: act on what the partner sees
    return decode(view[::-1, :4])


def act_on_own_goal(view, state):  # toy C without messages
    return decode(view[:, :4])


def meet_half_way(
    view, state
):  # toy B without messages: who holds goes half-way to agent 0 at the centre
    holds = view[:, 4:6] * view[:, 7:9]  # only agents 1 and 2 have a one-hot there
    return decode(view[:, :4]) * jnp.where(holds.sum(-1) > 0, 0.5, 1.0)[:, None]


def go_home(view, state):  # toy B without messages, naively
    return decode(view[:, :4])


def one_edge(view, state):  # toy B: agent 0 hears the holder it sees, who sends its corner
    home = decode(view[:, :4])
    return home.at[0].set(view[0, 4] * home[1] + view[0, 5] * home[2])


@pytest.mark.parametrize(
    ("name", "policy", "optimum", "tolerance"),
    [
        ("toy_crossed_goals", stay, -1.28, 1e-4),
        ("toy_crossed_goals", tell_partner, 0.0, 1e-6),
        ("toy_public", act_on_own_goal, 0.0, 1e-6),
        ("toy_public", stay, -1.28, 1e-4),
        ("toy_follow_holder", meet_half_way, -0.64, 1e-4),
        ("toy_follow_holder", go_home, -1.28, 1e-4),
        ("toy_follow_holder", one_edge, 0.0, 1e-6),
    ],
)
def test_scripted_policies_reach_the_stated_returns(name, policy, optimum, tolerance):
    _, timesteps = play(name, policy)
    assert timesteps.reward.shape == (EPISODES, 25)
    assert timesteps.reward.dtype == np.float32
    assert timesteps.reward.mean() == pytest.approx(optimum, abs=tolerance)


def test_no_constant_without_messages_beats_minus_1_28_in_toy_a():
    # What agent i sees is independent of its own goal, so its best action is one constant: search
    # the square.
    state, _ = play("toy_crossed_goals", stay)
    goals = np.asarray(CORNERS)[np.asarray(state.goal)].reshape(-1, 2, 2)
    grid = np.linspace(-1, 1, 21)
    best = max(
        -np.mean(np.sum((goals[:, 0] - np.array([x, y])) ** 2, axis=-1)) for x in grid for y in grid
    )
    assert best == pytest.approx(-1.28, abs=0.02)


def test_half_way_is_the_best_compromise_in_toy_b():
    state, _ = play("toy_follow_holder", stay)
    env = jax_mpe.make("toy_follow_holder")
    rounds = jax.tree.map(
        lambda x: x.reshape(-1, *x.shape[2:]), state.replace(key=state.step_count)
    )

    def mean_return(share):
        def one(round_state):
            home = jax_mpe.corner(round_state.corner)
            held = round_state.holder - 1
            places = home.at[held].multiply(share)
            action = jnp.concatenate([jnp.zeros((1, 2)), places])
            return env.reward(round_state, action, round_state)

        return jnp.mean(jax.vmap(one)(rounds))

    shares = jnp.linspace(0, 1, 21)
    assert (
        float(shares[jnp.argmax(jax.jit(jax.lax.map, static_argnums=0)(mean_return, shares))])
        == 0.5
    )


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("agents", [4, 7])
def test_more_agents_are_more_decoys(agents):
    """Best without messages and with one edge are those of three agents; every draw may be the holder's."""
    name = f"toy_follow_holder_N{agents}"
    env = jax_mpe.make(name)
    assert env.name == name and env == jax_mpe.FollowHolder(agents)

    def half_way(view, state):
        return (decode(view[:, :4]).T * (1 - 0.5 * view[0, 3:-agents].at[0].set(0))).T

    def listen(view, state):
        own = decode(view[:, :4])
        return own.at[0].set(view[0, 4 : 3 + agents] @ own[1:])

    states, timesteps = play(name, half_way)
    assert timesteps.reward.mean() == pytest.approx(-0.64, abs=1e-4)
    assert play(name, listen)[1].reward.mean() == pytest.approx(0, abs=1e-6)
    holder = np.asarray(states.holder)
    shares = np.bincount(holder.ravel(), minlength=agents) / holder.size
    np.testing.assert_allclose(shares, [0, *[1 / (agents - 1)] * (agents - 1)], atol=0.02)
    one = jax.tree.map(lambda x: x[0, 0], states)
    right = env.right_edges(one)
    assert right.sum() == 1 and right[0, one.holder] == 1
    np.testing.assert_array_equal(env.right_edges_seen(env.observe(one)), right)
    corner = jax_mpe.corner(one.corner)
    action = expert(env)(one)
    np.testing.assert_allclose(action, np.concatenate([corner[one.holder - 1][None], corner]))
    assert len(env.scene(jax.tree.map(lambda x: x[0], states)).discs) == 2 * agents


def test_follow_holder_reward_is_about_the_holders_action():
    env = jax_mpe.make("toy_follow_holder")
    state = jax_mpe.HolderState(
        key=jax.random.key(0),
        step_count=jnp.asarray(0, jnp.int32),
        corner=jnp.array([0, 3], jnp.int32),
        holder=jnp.asarray(2, jnp.int32),
    )
    action = jnp.array([[0.5, 0.5], [-0.8, 0.2], [0.5, 0.3]])
    #          |a0 - a2|^2 = 0.04; agent 1 misses (-.8, -.8) by 1 in y; agent 2 misses (.8, .8) by
    # (.3, .5)
    wanted = -0.04 - 1.0 - (0.09 + 0.25)
    assert float(env.step(state, action)[1].reward) == pytest.approx(wanted, rel=1e-5)
    assert float(env.reward(state, action, state)) == pytest.approx(wanted, rel=1e-5)


def test_observations_by_hand():
    count = jnp.asarray(5, jnp.int32)
    goals = jax_mpe.GoalsState(
        key=jax.random.key(0), step_count=count, goal=jnp.array([1, 3], jnp.int32)
    )
    np.testing.assert_allclose(
        jax.jit(jax_mpe.make("toy_crossed_goals").observe)(goals),
        [[0, 0, 0, 1, 0.2, 1, 0], [0, 1, 0, 0, 0.2, 0, 1]],
        rtol=1e-6,
    )
    np.testing.assert_allclose(
        jax.jit(jax_mpe.make("toy_public").observe)(goals),
        [[0, 1, 0, 0, 0, 0, 0, 1, 0.2, 1, 0], [0, 0, 0, 1, 0, 1, 0, 0, 0.2, 0, 1]],
        rtol=1e-6,
    )
    short = jax_mpe.CrossedGoals(horizon=20)  # time is a share of it
    np.testing.assert_allclose(short.observe(goals)[:, 4], [0.25, 0.25])
    holder = jax_mpe.HolderState(
        key=jax.random.key(0),
        step_count=count,
        corner=jnp.array([2, 0], jnp.int32),
        holder=jnp.asarray(1, jnp.int32),
    )
    np.testing.assert_array_equal(
        jax.jit(jax_mpe.make("toy_follow_holder").observe)(holder),
        [
            [0, 0, 0, 0, 1, 0, 1, 0, 0],
            [0, 0, 1, 0, 1, 0, 0, 1, 0],
            [1, 0, 0, 0, 1, 0, 0, 0, 1],
        ],
    )
    np.testing.assert_allclose(
        jax_mpe.corner(jnp.arange(4)), [[-0.8, -0.8], [-0.8, 0.8], [0.8, -0.8], [0.8, 0.8]]
    )


@pytest.mark.parametrize(
    ("name", "fields"),
    [("toy_crossed_goals", {"goal": 4}), ("toy_follow_holder", {"corner": 4, "holder": 2})],
)
def test_rounds_are_independent_and_uniform(name, fields):
    state, _ = play(name, stay)
    draws = []
    for field, values in fields.items():
        draw = np.asarray(getattr(state, field)).reshape(EPISODES, 25, -1)
        low = 1 if field == "holder" else 0
        assert (draw.min(), draw.max()) == (low, low + values - 1)
        share = np.stack([(draw == low + v).mean((0, 1)) for v in range(values)])
        np.testing.assert_allclose(share, 1 / values, atol=0.02)
        draws.append(draw)
    flat = np.concatenate(draws, axis=-1).astype(float)
    # nothing is correlated with the round before, nor fields with each other
    pair = np.concatenate([flat[:, :-1], flat[:, 1:]], axis=-1).reshape(-1, 2 * flat.shape[-1])
    assert np.abs(np.corrcoef(pair.T) - np.eye(pair.shape[1])).max() < 0.04
    # no key is used twice
    keys = np.asarray(jax.random.key_data(state.key)).reshape(-1, 2)
    assert len(np.unique(keys, axis=0)) == len(keys)


@pytest.mark.parametrize("name", TOYS)
def test_actions_are_clipped(name):
    env = jax_mpe.make(name)
    state, _ = env.reset(jax.random.key(2))
    shape = (env.num_agents, 2)
    wild = env.step(state, jnp.full(shape, 7.0))[1].reward
    assert float(wild) == pytest.approx(float(env.step(state, jnp.ones(shape))[1].reward))


def test_late_goals_stay_for_two_steps_and_are_scored_in_the_second():
    states, timesteps = play("toy_late_goals", tell_partner)
    goal = np.asarray(states.goal)
    np.testing.assert_array_equal(goal[:, 0:24:2], goal[:, 1:25:2])
    assert np.any(goal[:, 1] != goal[:, 2])
    rounds = goal[:, :24:2]
    shares = np.bincount(rounds.ravel(), minlength=4) / rounds.size
    np.testing.assert_allclose(shares, 0.25, atol=0.02)
    for apart in range(1, 12):  # each a fresh draw: two rounds share a goal once in four times
        share = np.mean(rounds[:, apart:] == rounds[:, :-apart])
        assert share == pytest.approx(0.25, abs=0.05), apart
    keys = np.asarray(jax.random.key_data(states.key)).reshape(-1, 2)
    assert len(np.unique(keys, axis=0)) == len(keys)
    first, second = (np.asarray(timesteps.observation.agents_view)[:, t::2, :, 7] for t in (1, 0))
    assert not first.any() and second.all()  # the view after step t is that of step t + 1
    assert timesteps.reward == pytest.approx(0.0, abs=1e-6)
    _, silent = play("toy_late_goals", stay)
    expected = np.where(np.arange(25) % 2 == 1, -1.28, 0.0)
    np.testing.assert_allclose(silent.reward, np.broadcast_to(expected, (EPISODES, 25)), atol=1e-4)
