"""Two holders: what is best with which edges, by least squares over all policies; draws, rewards and edges by NumPy."""

import functools
import itertools

import jax
import jax.numpy as jnp
import jax_mpe
import numpy as np
import pytest
from jax_mpe.experts import expert

CORNERS = np.array([(-0.8, -0.8), (-0.8, 0.8), (0.8, -0.8), (0.8, 0.8)])
SQUARE = 1.28  # of a corner's distance from the centre
ALL = np.array(list(itertools.product(range(4), repeat=3)))  # corners of agents 1 to 3
PAIRS = [(1, 2), (1, 3), (2, 3)]


def best(pair, edges):
    """The best mean reward of four agents, and the actions that reach it, [64, 4, 2].

    A policy is a table: an action for each content of the corners that the agent knows, its own and
    those of whom it hears. The reward is minus a sum of squares of what is linear in all tables
    together, so that least squares finds the best of all policies (a random one is a mixture of
    these, and no better).

    Args:
        pair: the holders, whom everybody knows.
        edges: pairs of receiver and sender.
    """
    chosen, start = [], 0  # which entry of all tables each agent uses, by corners
    for agent in range(4):
        known = sorted({j for i, j in edges if i == agent} | {agent} - {0})
        content = ALL[:, [j - 1 for j in known]] @ (4 ** np.arange(len(known)))
        chosen.append(start + content)
        start += 4 ** len(known)
    acts = np.eye(start)[np.array(chosen)]  # [4, 64, entries]
    h, k = pair
    rows = np.concatenate([acts[0] - (acts[h] + acts[k]) / 2, *acts[1:]])
    wanted = np.concatenate([np.zeros((64, 2)), *np.swapaxes(CORNERS[ALL], 0, 1)])
    tables = np.linalg.lstsq(rows, wanted, rcond=None)[0]
    reward = -np.sum((rows @ tables - wanted) ** 2) / 64
    return reward, np.swapaxes(acts @ tables, 0, 1)


def states(corners, holders):
    """As many rounds in one state as there are rows, [M, N - 1] and [M, 2]."""
    many = len(corners)
    return jax_mpe.HolderState(
        key=jax.random.split(jax.random.key(0), many),
        step_count=jnp.zeros(many, jnp.int32),
        corner=jnp.asarray(corners, jnp.int32),
        holder=jnp.asarray(np.broadcast_to(holders, (many, 2)), jnp.int32),
    )


@functools.cache
def rewarded(env):
    return jax.jit(jax.vmap(lambda state, action: env.reward(state, action, state)))


EDGES = {  # h and k are the holders, d the decoy; the value is a share of SQUARE
    "": 2 / 5,
    "0h": 1 / 5,
    "0k": 1 / 5,
    "0h 0k": 0.0,
    "0d hd kd": 2 / 5,
    "0h 0d": 1 / 5,
    "hk": 11 / 30,
    "hk kh": 1 / 3,
}


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("edges", EDGES)
def test_what_the_page_says_is_best(pair, edges):
    """A silent holder at x of its way costs x^2 / 4 + (1 - x)^2 of the square: 1/5 at best, at x = 4/5."""
    (decoy,) = {1, 2, 3} - set(pair)
    number = {"0": 0, "h": pair[0], "k": pair[1], "d": decoy}
    told = [(number[i], number[j]) for i, j in edges.split()]
    reward, actions = best(pair, told)
    assert reward == pytest.approx(-EDGES[edges] * SQUARE, abs=1e-12)
    assert np.abs(actions).max() <= 1  # so that nothing is clipped
    stated = f"{reward:.3f}" if EDGES[edges] else "with both 0"
    assert stated in jax_mpe.FollowTwo.__doc__
    found = rewarded(jax_mpe.make("toy_follow_two"))(states(ALL, pair), jnp.asarray(actions))
    assert np.mean(found) == pytest.approx(reward, abs=1e-6)
    if not told:
        np.testing.assert_allclose(actions[:, 0], 0, atol=1e-12)
        for holder in pair:
            np.testing.assert_allclose(actions[:, holder], 0.8 * CORNERS[ALL[:, holder - 1]])


def decode(one_hot):
    return one_hot @ jnp.asarray(CORNERS)


def silent(view):  # holders move in, by what they see alone
    n = view.shape[0]
    holds = jnp.sum(view[:, 4 : 3 + n] * view[:, 4 + n :], axis=-1)  # agent 0 is no column of both
    return decode(view[:, :4]) * (1 - 0.2 * holds)[:, None]


def go_home(view):
    return decode(view[:, :4])


def listen(view):  # agent 0 hears both of whom it sees that they hold
    n, home = view.shape[0], decode(view[:, :4])
    return home.at[0].set(view[0, 4 : 3 + n] @ home[1:] / 2)


@pytest.mark.parametrize(
    ("policy", "reward"), [(silent, -0.512), (go_home, -SQUARE / 2), (listen, 0.0)]
)
def test_scripted_policies_reach_it_by_what_they_observe(policy, reward):
    """In the mean over all rounds that there are, all alike to come."""
    env = jax_mpe.make("toy_follow_two")
    rounds = [states(ALL, pair) for pair in PAIRS]
    actions = [jax.vmap(lambda state: policy(env.observe(state)))(state) for state in rounds]
    found = [rewarded(env)(*one) for one in zip(rounds, actions, strict=True)]
    assert np.mean(found) == pytest.approx(reward, abs=1e-6)


@functools.cache
def played(agents):
    """States before and after each of 25 steps of 400 episodes, what was done, and time steps."""
    env = jax_mpe.FollowTwo(agents)

    def one(key):
        def step(state, action):
            after, timestep = env.step(state, action)
            return after, (state, after, action, timestep)

        start, move = jax.random.split(key)
        actions = jax.random.uniform(move, (25, agents, 2), minval=-1.0)
        return jax.lax.scan(step, env.reset(start)[0], actions)[1]

    return env, *jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(8), 400))


@pytest.mark.parametrize("agents", [4, 6])
def test_rewards_and_views_are_a_function_of_every_field_as_stated(agents):
    _, before, after, actions, timesteps = played(agents)
    action, corner, holder = (np.asarray(x) for x in (actions, before.corner, before.holder))
    row, column = np.indices(holder.shape[:2])
    h, k = (action[row, column, holder[..., i]] for i in (0, 1))
    apart = np.sum((action[..., 0, :] - (h + k) / 2) ** 2, axis=-1)
    missed = np.sum((action[..., 1:, :] - CORNERS[corner]) ** 2, axis=(-1, -2))
    np.testing.assert_allclose(timesteps.reward, -apart - missed, rtol=1e-5)

    view = np.zeros((400, 25, agents, 4 + agents - 1 + agents))
    view[..., 1:, :4] = np.eye(4)[np.asarray(after.corner)]
    for i in (0, 1):
        view[..., 4 : 3 + agents] += np.eye(agents)[np.asarray(after.holder)[..., i], None, 1:]
    view[..., 3 + agents :] = np.eye(agents)
    np.testing.assert_array_equal(timesteps.observation.agents_view, view)


@pytest.mark.parametrize("agents", [4, 6])
def test_every_pair_is_drawn_equally_often_and_anew(agents):
    _, before, *_ = played(agents)
    holder, corner = np.asarray(before.holder), np.asarray(before.corner)
    assert holder.shape == (400, 25, 2) and holder.dtype == np.int32
    assert (holder[..., 0] < holder[..., 1]).all()  # two, in ascending order
    pairs = list(itertools.combinations(range(1, agents), 2))
    which = np.argmax((holder[..., None, :] == np.array(pairs)).all(-1), axis=-1)
    shares = np.bincount(which.ravel(), minlength=len(pairs)) / which.size
    np.testing.assert_allclose(shares, 1 / len(pairs), atol=0.02)
    assert {tuple(pair) for pair in holder.reshape(-1, 2)} == set(pairs)
    same = np.mean(which[:, 1:] == which[:, :-1])  # as the round before
    assert same == pytest.approx(1 / len(pairs), abs=0.02)
    share = [(corner == c).mean((0, 1)) for c in range(4)]
    np.testing.assert_allclose(share, 1 / 4, atol=0.02)
    for pair in range(len(pairs)):  # corners tell nothing of the holders
        told = [(corner[which == pair] == c).mean(0) for c in range(4)]
        np.testing.assert_allclose(told, 1 / 4, atol=0.08)
    keys = np.asarray(jax.random.key_data(before.key)).reshape(-1, 2)
    assert len(np.unique(keys, axis=0)) == len(keys)


@pytest.mark.parametrize("agents", [4, 6])
def test_right_edges_are_those_from_both_holders_and_are_seen(agents):
    env, _, after, _, timesteps = played(agents)
    some = jax.tree.map(lambda x: x[:2, :20], after)
    edges = jax.vmap(jax.vmap(env.right_edges))(some)
    wanted = np.zeros((2, 20, agents, agents))
    for place in np.ndindex(2, 20):
        for holder in np.asarray(some.holder)[place]:
            wanted[(*place, 0, holder)] = 1
    np.testing.assert_array_equal(edges, wanted)
    seen = env.right_edges_seen(timesteps.observation.agents_view[:2, :20])
    np.testing.assert_array_equal(seen, wanted)


@pytest.mark.parametrize("agents", [4, 6])
def test_the_expert_names_all_corners_and_the_middle_of_two(agents):
    env, before, *_ = played(agents)
    one = jax.tree.map(lambda x: x[0], before)
    home = CORNERS[np.asarray(one.corner)]
    held = np.asarray(one.holder) - 1
    middle = [(home[t, h] + home[t, k]) / 2 for t, (h, k) in enumerate(held)]
    wanted = np.concatenate([np.array(middle)[:, None], home], axis=1)
    action = jax.vmap(expert(env))(one)
    np.testing.assert_allclose(action, wanted, atol=1e-6)
    np.testing.assert_allclose(rewarded(env)(one, action), 0, atol=1e-6)


def test_sizes_have_names_and_keep_the_contract():
    for agents in (4, 5, 12):
        name = "toy_follow_two" + (f"_N{agents}" if agents > 4 else "")
        env = jax_mpe.make(name)
        assert env == jax_mpe.FollowTwo(agents) and env.name == name
        assert env != jax_mpe.FollowHolder(agents)
        assert env.state_shapes == {"step_count": (), "corner": (agents - 1,), "holder": (2,)}
    assert jax_mpe.check_task(jax_mpe.FollowTwo(5)) == []


def test_the_sibling_with_one_holder_draws_what_it_has_always_drawn():
    """Records of its runs are of these very rounds."""
    for agents in (3, 5):
        state = jax_mpe.FollowHolder(agents).initial_state(jax.random.key(4))
        key, corner_key, holder_key = jax.random.split(jax.random.key(4), 3)
        corner = jax.random.randint(corner_key, (agents - 1,), 0, 4, jnp.int32)
        np.testing.assert_array_equal(state.corner, corner)
        assert state.holder == jax.random.randint(holder_key, (), 1, agents, jnp.int32)
        assert jnp.shape(state.holder) == ()
        np.testing.assert_array_equal(*map(jax.random.key_data, (state.key, key)))
