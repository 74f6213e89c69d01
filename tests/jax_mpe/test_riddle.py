"""The switch riddle against all ways in which its days can go."""

import itertools

import jax
import jax.numpy as jnp
import jax_mpe
import numpy as np
import pytest

DAYS, EPISODES = 6, 800
WAYS = np.array(list(itertools.product(range(3), repeat=DAYS)))  # who is in the room, by day


def knowing() -> float:
    """Tells on the first day on which all have been there."""
    return np.mean([len(set(way)) == 3 for way in WAYS])


def silent() -> float:
    """The best of all rules by which prisoners, all alike, tell by the day and whether they were there before."""
    before = np.array([[way[d] in way[:d] for d in range(DAYS)] for way in WAYS]).astype(int)
    all_there = np.array([[len(set(way[: d + 1])) == 3 for d in range(DAYS)] for way in WAYS])
    best = -1.0
    for choice in itertools.product((0, 1), repeat=2 * DAYS):
        tells = np.array(choice).reshape(DAYS, 2)[np.arange(DAYS), before]
        first = np.argmax(tells, axis=1)
        told = tells.any(axis=1)
        right = all_there[np.arange(len(WAYS)), first]
        best = max(best, float(np.mean(told * np.where(right, 1.0, -1.0))))
    return best


def test_what_the_page_says_is_best():
    assert knowing() == pytest.approx(1 - 3 * (2 / 3) ** 6 + 3 * (1 / 3) ** 6)
    assert knowing() == pytest.approx(0.741, abs=1e-3)
    assert silent() == pytest.approx(0.481, abs=1e-3)


def played(policy):
    """Four riddles an episode; `policy(view [3, 13], switch) -> (action [3, 2], switch)`."""
    env = jax_mpe.make("toy_switch_riddle")

    def one(key):
        def step(carry, _):
            state, switch = carry
            action, switch = policy(env.observe(state), switch)
            after, timestep = env.step(state, action)
            return (after, switch), (state, timestep.reward)

        start = (env.reset(key)[0], jnp.zeros(()))
        return jax.lax.scan(step, start, None, length=25)[1]

    return jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(5), EPISODES))


def with_the_switch(view, switch):
    """One bit: whether two have been there."""
    room, been, first_day = view[:, 0], jnp.sum(view[:, 0] * view[:, 2]), view[0, 3]
    switch = switch * (1 - first_day)
    tells = room * switch * (1 - been)
    new = jnp.maximum(switch, (1 - been) * (1 - first_day))
    return jnp.stack([2 * tells - 1, jnp.zeros(3)], axis=-1), new


def test_one_bit_is_enough():
    states, reward = played(with_the_switch)
    assert reward.shape == (EPISODES, 25)
    riddles = np.asarray(reward[:, :24]).reshape(-1, DAYS)
    # Every riddle in which all were there is won, on that very day; no other is lost.
    rooms = np.asarray(states.room[:, :24]).reshape(-1, DAYS)
    there = np.array([[len(set(row[: d + 1])) == 3 for d in range(DAYS)] for row in rooms])
    first = there & (np.cumsum(there, axis=1) == 1)
    np.testing.assert_array_equal(riddles, first.astype(float))
    assert riddles.sum(1).mean() == pytest.approx(knowing(), abs=0.03)
    assert not np.any(reward[:, 24])


def test_days_rooms_and_what_a_prisoner_knows():
    states, _ = played(with_the_switch)
    np.testing.assert_array_equal(states.day, np.tile(np.arange(25) % DAYS, (EPISODES, 1)))
    shares = np.bincount(np.asarray(states.room).ravel(), minlength=3) / states.room.size
    np.testing.assert_allclose(shares, 1 / 3, atol=0.02)
    env = jax_mpe.make("toy_switch_riddle")
    one = jax.tree.map(lambda x: x[0], states)
    views = np.asarray(jax.vmap(env.observe)(one))
    edges = np.asarray(jax.vmap(env.right_edges)(one))
    rooms = np.asarray(one.room)
    for t in range(25):
        start = t - t % DAYS
        for i in range(3):
            expected = [rooms[t] == i, t > start and rooms[t - 1] == i, i in rooms[start:t]]
            np.testing.assert_array_equal(views[t, i, :3], np.array(expected, float))
            assert views[t, i, 3 + t % DAYS] == 1 and views[t, i, 3:9].sum() == 1
            for j in range(3):
                told = t > start and i != j and rooms[t] == i and rooms[t - 1] == j
                assert edges[t, i, j] == told


def test_telling_by_half_is_worth_half():
    def halved(view, switch):
        action, switch = with_the_switch(view, switch)
        return (action - 1) / 2, switch  # where it tells, with one half

    states, reward = played(halved)
    waiting = np.asarray(states.waiting[:, :24]).reshape(-1, DAYS)
    assert set(np.unique(waiting)) <= {0.5**k for k in range(DAYS)}
    assert np.all(waiting[:, 0] == 1)
    # The first time it tells by half; whoever has been there before never tells again.
    assert set(np.unique(np.asarray(reward))) == {0.0, 0.5}


@pytest.mark.parametrize("task", ["toy_follow_holder", "toy_switch_riddle", "reference_N3"])
def test_right_edges_are_told_alike_by_states_and_by_what_is_seen(task):
    env = jax_mpe.make(task)

    def both(key):
        state, _ = env.reset(key)
        state, _ = env.step(state, jnp.zeros((3, 2)))
        return env.right_edges(state), env.right_edges_seen(env.observe(state))

    by_state, by_view = jax.jit(jax.vmap(both))(jax.random.split(jax.random.key(1), 50))
    np.testing.assert_array_equal(by_state, by_view)
    assert np.any(by_state)
