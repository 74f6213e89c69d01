"""Replay: what is written where, what is drawn, and that observations come back."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from core_cases import (
    NOTHING,
    algorithm,
    assert_same,
    jit,
    made_up_trajectory,
    play_keys,
    sizes,
    small,
)
from scipy.stats import chisquare

from purejax_mgtopo.algorithm.kernels.target import traced_for
from purejax_mgtopo.algorithm.messages.lstm import ObservationLSTM
from purejax_mgtopo.algorithm.parts import Parts
from purejax_mgtopo.algorithm.replay import Replay, on_grid
from purejax_mgtopo.algorithm.rollout import rollout
from purejax_mgtopo.algorithm.topology.fixed import Nobody
from purejax_mgtopo.algorithm.types import Mode

HORIZON, CAPACITY, EPISODES = 25, 4, 3
CODE = HORIZON  # the reward of step t of episode e, CODE e + t, says where a transition comes from


@functools.cache
def episodes(task):
    """Three real episodes with large random actions, rewards replaced by their place."""
    made = algorithm("none", task)
    policy = jit(made.team.init)(jax.random.key(0))

    def play(key):
        return rollout(
            made.env, made.team, policy, NOTHING, play_keys(key), Mode.ROLLOUT, exploration=1.0
        )

    taus = jit(jax.vmap(play))(jax.random.split(jax.random.key(1), EPISODES))
    place = CODE * jnp.arange(EPISODES)[:, None] + jnp.arange(HORIZON)
    return made.env, taus.replace(reward=place.astype(float))


def replay_of(env, transitions, batch, memory=0, **learner):
    """A replay for parts that remember so many steps; unlike a run, it may draw more than it holds."""
    experiment = small(
        learner__batch_size=1,
        learner__replay_transitions=transitions,
        **{f"learner__{name}": value for name, value in learner.items()},
    )
    widths = sizes(env.num_agents, env.observation_size)
    interpreter = ObservationLSTM(experiment, widths)
    interpreter.memory = memory
    replay = Replay(env, experiment.learner, Parts(Nobody(experiment, widths), interpreter))
    assert (replay.memory, replay.batch_size) == (memory, 1)
    replay.batch_size = batch
    return replay


@functools.cache
def filled(task, memory, batch=1500, **learner):
    env, taus = episodes(task)
    replay = replay_of(env, CAPACITY * HORIZON, batch, memory, **learner)
    ring = replay.init()
    for e in range(EPISODES):
        ring = replay.add(ring, jnp.asarray(e), jax.tree.map(lambda x, e=e: x[e], taus))
    return replay, ring, taus


@pytest.mark.parametrize("memory", [0, 2])
@pytest.mark.parametrize(
    "task",
    [
        "navigation_N3_l2",
        "predator_prey_N3_l3",
        "push_N3",
        "toy_crossed_goals",
        "toy_follow_holder",
    ],
)
def test_windows_are_the_stored_observations(task, memory):
    """A wrong step count or landmark, an action beside another's, a window over an episode's edge.

    Of particles to rounding, as a program may keep a position unrounded while it observes: 1e-6, and 1e-5 for
    velocities, which are differences of positions over a tenth.
    """
    replay, ring, taus = filled(task, memory)
    window = jit(replay.sample)(ring, jnp.asarray(EPISODES), jax.random.key(2))
    assert window.observation.shape[1] == memory + 2
    episode, step = np.divmod(np.asarray(window.reward).astype(int), CODE)
    assert len(set(zip(episode, step, strict=True))) == EPISODES * HORIZON  # every transition
    taus = jax.tree.map(np.asarray, taus)
    np.testing.assert_array_equal(window.action, taus.action[episode, step])
    for h in range(memory + 2):
        when = step - memory + h
        np.testing.assert_array_equal(window.begins[:, h], when <= 0)
        seen = taus.observation[episode, np.maximum(when, 0)]
        if task.startswith("toy"):
            np.testing.assert_array_equal(window.observation[:, h], seen)
        else:  # o_i begins with i's velocity
            np.testing.assert_allclose(
                window.observation[:, h, :, 2:], seen[..., 2:], rtol=0, atol=1e-6
            )
            np.testing.assert_allclose(
                window.observation[:, h, :, :2], seen[..., :2], rtol=0, atol=1e-5
            )
            assert np.abs(seen[..., :2]).max() > 0.5


@pytest.mark.parametrize("memory", [0, 2])
@pytest.mark.parametrize("task", ["navigation_N3_l2", "toy_crossed_goals"])
def test_a_target_of_several_steps_adds_their_rewards_and_asks_where_they_end(task, memory):
    """A power too many, a reward from beyond the end, o' of the next step, velocities over the gap between."""
    steps, discount = 4, 0.5
    key = jax.random.key(2)
    plainly, ring, taus = filled(task, memory)
    several, _, _ = filled(task, memory, n_step=steps, discount=discount)
    one = jit(plainly.sample)(ring, jnp.asarray(EPISODES), key)
    window = jit(several.sample)(ring, jnp.asarray(EPISODES), key)
    episode, step = np.divmod(np.asarray(one.reward).astype(int), CODE)
    taus = jax.tree.map(np.asarray, taus)
    np.testing.assert_array_equal(window.action, taus.action[episode, step])
    expected, left = np.zeros(len(step)), np.zeros(len(step), int)
    for row, (e, t) in enumerate(zip(episode, step, strict=True)):
        for k in range(steps):
            if t + k < HORIZON:
                expected[row] += discount**k * taus.reward[e, t + k]
                left[row] += 1
    assert set(left) == {1, 2, 3, 4}
    np.testing.assert_allclose(window.reward, expected, rtol=1e-6)
    np.testing.assert_array_equal(window.discount, np.float32(discount) ** left)
    np.testing.assert_array_equal(one.discount, np.full(len(step), np.float32(0.95)))
    assert window.observation.shape[1] == 2 * (memory + 1)
    for part, ends in ((window.before, step), (window.after, step + left)):
        for h in range(memory + 1):
            when = ends - memory + h
            seen = taus.observation[episode, np.maximum(when, 0)]
            np.testing.assert_array_equal(window.begins[:, part][:, h], when <= 0)
            np.testing.assert_allclose(window.observation[:, part][:, h], seen, rtol=0, atol=1e-5)
    for each, ends in ((one, step + 1), (window, step + left)):
        for found, when in ((each.start, step), (each.end, ends)):
            seen = taus.observation[episode, when]
            np.testing.assert_allclose(found, seen, rtol=0, atol=1e-5)


def test_draws_are_uniform_over_what_was_written():
    """An empty slot drawn, the newest episode left out, the last step never drawn."""
    replay, ring, _ = filled("toy_crossed_goals", 0, batch=6000)
    ring = ring.replace(reward=ring.reward.at[EPISODES:].set(-1.0))  # not written yet
    sample = jit(replay.sample)
    place = np.asarray(sample(ring, jnp.asarray(EPISODES), jax.random.key(3)).reward).astype(int)
    assert place.min() >= 0
    assert chisquare(np.bincount(place, minlength=EPISODES * HORIZON)).pvalue > 1e-3
    place = np.asarray(sample(ring, jnp.asarray(1), jax.random.key(3)).reward).astype(int)
    assert place.max() < HORIZON


def test_the_oldest_episode_is_overwritten_and_all_are_drawn():
    replay, ring, taus = filled("toy_crossed_goals", 0)
    newest = jax.tree.map(lambda x: x[0], taus)
    for stored in range(EPISODES, CAPACITY + 2):  # slots 3, 0, 1
        ring = replay.add(
            ring, jnp.asarray(stored), newest.replace(reward=jnp.full(HORIZON, 1000.0 + stored))
        )
    np.testing.assert_array_equal(ring.reward[:, 0], [1004, 1005, 2 * CODE, 1003])
    window = jit(replay.sample)(ring, jnp.asarray(CAPACITY + 2), jax.random.key(4))
    drawn = np.unique(np.asarray(window.reward))
    assert set(drawn) == {1003, 1004, 1005, *(2 * CODE + np.arange(HORIZON))}


def test_the_ring_keeps_each_episode_whole():
    _, ring, taus = filled("navigation_N3_l2", 0)
    for name in ("fixed", "reward"):
        np.testing.assert_array_equal(getattr(ring, name)[:EPISODES], getattr(taus, name))
    np.testing.assert_array_equal(ring.moving[:EPISODES], taus.moving[..., :6])  # positions
    np.testing.assert_array_equal(ring.action[:EPISODES], np.round(taus.action * 32_767))


def test_training_acts_on_the_grid_that_the_replay_stores():
    _, taus = episodes("navigation_N3_l2")
    np.testing.assert_array_equal(on_grid(taus.action), taus.action)
    action = np.linspace(-1, 1, 1001, dtype=np.float32)
    np.testing.assert_allclose(on_grid(jnp.asarray(action)), action, rtol=0, atol=0.6 / 32_767)
    assert on_grid(jnp.asarray([-1.0, 0.0, 1.0])).tolist() == [-1, 0, 1]


def test_half_precision_blurs_no_more_than_it_says():
    env, taus = episodes("navigation_N3_l2")
    replay = replay_of(env, CAPACITY * HORIZON, 500, replay_precision="float16")
    ring = replay.init()
    for e in range(EPISODES):
        ring = replay.add(ring, jnp.asarray(e), jax.tree.map(lambda x, e=e: x[e], taus))
    assert ring.moving.dtype == jnp.float16
    window = jit(replay.sample)(ring, jnp.asarray(EPISODES), jax.random.key(2))
    episode, step = np.divmod(np.asarray(window.reward).astype(int), CODE)
    error = window.observation[:, 0] - np.asarray(taus.observation)[episode, step]
    inside = np.abs(np.asarray(taus.moving)[episode, step, :6]).max(axis=-1) < 2
    assert np.abs(error[inside][..., 2:]).max() < 2e-3
    assert 1e-3 < np.std(error[inside][..., :2]) < 8e-3


@pytest.mark.parametrize(("clock_axis", "slices"), [(None, True), (0, False)])
def test_a_batched_write_is_a_slice_as_long_as_seeds_share_the_clock(clock_axis, slices):
    """A scatter is a loop over seeds, or atomics; the second case shows it would be seen."""
    env, taus = episodes("toy_crossed_goals")
    replay = replay_of(env, CAPACITY * HORIZON, 4)
    rings = jax.tree.map(lambda x: jnp.stack([x] * EPISODES), replay.init())
    clock = jnp.zeros((EPISODES,) if clock_axis == 0 else (), jnp.int32)
    add = jit(jax.vmap(replay.add, in_axes=(0, clock_axis, 0)))
    program = add.lower(rings, clock, taus).compile().as_text()
    looped = " scatter(" in program or " while(" in program
    assert ("dynamic-update-slice(" in program and not looped) == slices


def test_a_ring_holds_whole_episodes():
    env, _ = episodes("toy_crossed_goals")
    assert replay_of(env, 100, 4).capacity == 4
    assert replay_of(env, 124, 4).capacity == 4
    assert replay_of(env, 7, 4).capacity == 1


def test_adding_is_pure():
    env, _ = episodes("toy_crossed_goals")
    replay = replay_of(env, 100, 4)
    ring = replay.init()
    tau = made_up_trajectory(0, HORIZON, 2, env.observation_size)
    tau = tau.replace(moving=jnp.ones((HORIZON + 1, 2)), fixed=jnp.zeros(0))
    replay.add(ring, jnp.asarray(0), tau)
    assert_same(ring, replay.init())


def test_a_ring_on_a_gpu_holds_the_same():
    env, taus = episodes("toy_crossed_goals")
    replay = replay_of(env, 100, 4)
    rings = []
    for device in ("cpu", "gpu"):
        ring = replay.init()
        with traced_for(device):
            for e in (0, 1, 2, 0, 1):  # past the ring's end
                ring = replay.add(ring, jnp.asarray(3 + e), jax.tree.map(lambda x, e=e: x[e], taus))
        rings.append(ring)
    assert_same(*rings)
