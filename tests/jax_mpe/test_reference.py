"""The reference task against an independent NumPy derivation, and its derangements against all that
there are."""

import jax
import jax.numpy as jnp
import jax_mpe
import numpy as np
import pytest
from jax_mpe.reference import derangement
from jax_mpe.viewer import Recording, draw
from mpe_cases import EPISODES, check_times, close, episodes, is_uniform, rows

from tests.oracles import reference_numpy as oracle

TASKS = ("reference_N2", "reference_N3", "reference_N6")


def referring(state, steps):
    """The oracle's states of these steps, episodes and steps merged."""
    places = [state.agent_position, state.agent_velocity, state.landmark_position]
    return oracle.Referring(
        *(rows(x[:, steps]) for x in places),
        *(rows(x[:, steps]).astype(int) for x in (state.holder, state.target)),
    )


@pytest.mark.parametrize("name", TASKS)
def test_500_episodes_equal_the_oracle_step_by_step(name):
    env = jax_mpe.make(name)
    state, timestep, action = episodes(name)
    after = oracle.reference_step(referring(state, slice(0, -1)), rows(action))
    reached = referring(state, slice(1, None))
    close(reached.agent, after.agent)
    close(reached.agent_velocity, after.agent_velocity)
    for field in ("landmark_position", "holder", "target"):  # constant within an episode
        values = getattr(state, field)
        np.testing.assert_array_equal(values, np.repeat(values[:, :1], 26, axis=1))
    assert state.holder.dtype == state.target.dtype == np.int32
    assert state.holder.shape == state.target.shape == (EPISODES, 26, env.num_agents)
    check_times(timestep, state)
    close(rows(timestep.reward[:, 1:]), oracle.reference_reward(reached))
    wanted = oracle.reference_observation(referring(state, slice(None)))
    assert env.observation_size == 4 + 4 * env.num_agents
    close(rows(timestep.observation.agents_view), wanted)
    right = jax.vmap(jax.vmap(env.right_edges))(state)
    np.testing.assert_array_equal(rows(right), oracle.right_edges(rows(state.holder).astype(int)))
    measured = jax.vmap(jax.vmap(env.measures))(state)
    found = (oracle.reference_distance(reached) < 0.1).sum(1)
    np.testing.assert_allclose(rows(measured["targets_reached"][:, 1:]), found, atol=1)
    assert np.mean(rows(measured["targets_reached"][:, 1:]) == found) > 0.999


@pytest.mark.parametrize("name", TASKS)
def test_start_is_uniform_and_targets_are_independent(name):
    env = jax_mpe.make(name)
    n = env.num_agents
    state, _, _ = episodes(name)
    width = {2: (2 / 3) ** 0.5, 3: 1.0, 6: 1.5}[n]
    assert env.half_width == pytest.approx(width)
    np.testing.assert_array_equal(state.agent_velocity[:, 0], 0)
    for place in (state.agent_position[:, 0], state.landmark_position[:, 0]):
        assert is_uniform(place[..., 0], -width, width)
        assert is_uniform(place[..., 1], -width, width)
    target, holder = state.target[:, 0], state.holder[:, 0]
    flat = np.concatenate(
        [x[:, 0].reshape(EPISODES, -1) for x in (state.agent_position, state.landmark_position)]
        + [target],
        axis=1,
    )
    assert np.abs(np.corrcoef(flat.T) - np.eye(flat.shape[1])).max() < 0.2
    for i in range(n):
        share = np.bincount(target[:, i], minlength=n) / EPISODES
        np.testing.assert_allclose(share, 1 / n, atol=4 * (1 / n / EPISODES) ** 0.5)
        # independent of who knows it
        for k in range(n):
            told = target[holder[:, i] == k, i]
            if len(told):
                spread = np.bincount(told, minlength=n) / len(told)
                np.testing.assert_allclose(spread, 1 / n, atol=5 * (1 / n / len(told)) ** 0.5)


@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_derangements_are_uniform_over_all_that_there_are(count):
    draws = 200 * len(oracle.derangements(count))
    u = jax.random.uniform(jax.random.key(count), (draws, 2, count))
    found = np.asarray(jax.jit(jax.vmap(derangement))(u))
    assert found.dtype == np.int32
    known = oracle.derangements(count)
    index = {order: k for k, order in enumerate(known)}
    counts = np.zeros(len(known))
    for order in found.tolist():
        counts[index[tuple(order)]] += 1  # a KeyError is no derangement
    excess = ((counts - 200) ** 2 / 200).sum()  # chi squared
    free = len(known) - 1
    assert excess <= free + 4 * (2 * free) ** 0.5


@pytest.mark.parametrize("count", [6, 10, 30])
def test_nobody_holds_their_own_target(count):
    u = jax.random.uniform(jax.random.key(1), (2000, 2, count))
    found = np.asarray(jax.jit(jax.vmap(derangement))(u))
    np.testing.assert_array_equal(np.sort(found), np.tile(np.arange(count), (2000, 1)))
    assert (found != np.arange(count)).all()
    share = np.stack([(found == k).mean(0) for k in range(count)])  # [holder, agent]
    expected = (1 - np.eye(count)) / (count - 1)
    np.testing.assert_allclose(share, expected, atol=5 * (expected.max() / 2000) ** 0.5)
    # The extremes of the uniform numbers too.
    for u in (jnp.zeros((2, count)), jnp.full((2, count), np.float32(1) - 2**-24)):
        found = np.asarray(derangement(u))
        assert (np.sort(found) == np.arange(count)).all() and (found != np.arange(count)).all()


def test_agents_do_not_see_one_another_nor_collide():
    env = jax_mpe.make("reference_N3")
    state, _ = env.reset(jax.random.key(0))
    moved = state.replace(agent_position=state.agent_position.at[1].add(0.3))
    np.testing.assert_array_equal(env.observe(state)[::2], env.observe(moved)[::2])
    same = state.replace(agent_position=jnp.zeros((3, 2)) + jnp.array([[0.0], [0.01], [0.02]]))
    after, _ = env.step(same, jnp.zeros((3, 2)))
    np.testing.assert_array_equal(after.agent_position, same.agent_position)


def test_the_right_edges_of_other_tasks():
    toy = jax_mpe.make("toy_follow_holder")
    for seed in range(4):
        state, _ = toy.reset(jax.random.key(seed))
        wanted = np.zeros((3, 3))
        wanted[0, int(state.holder)] = 1
        np.testing.assert_array_equal(toy.right_edges(state), wanted)
    for name in ("navigation_N3_l3", "toy_public"):
        env = jax_mpe.make(name)
        assert env.right_edges(env.reset(jax.random.key(0))[0]) is None


def test_targets_are_drawn_in_their_agents_colours():
    env = jax_mpe.make("reference_N6")
    state, _ = env.reset(jax.random.key(3))
    seen = env.scene(jax.tree.map(lambda x: np.asarray(x)[None], state.replace(key=np.zeros(2))))
    agents, targets = seen.discs[:6], [disc for disc in seen.discs if disc.role == "target"]
    assert len({agent.colour for agent in agents}) == 6
    for i, (agent, target) in enumerate(zip(agents, targets, strict=True)):
        assert agent.colour == target.colour
        np.testing.assert_array_equal(agent.track[0], state.agent_position[i])
        np.testing.assert_array_equal(target.track[0], state.landmark_position[state.target[i]])
    figure = draw(env, Recording(state, env.right_edges(state)))
    arrows = {patch.get_gid() for patch in figure.axes[0].patches if patch.get_gid()}
    assert arrows == {f"edge {h}->{i}" for i, h in enumerate(np.asarray(state.holder))}
