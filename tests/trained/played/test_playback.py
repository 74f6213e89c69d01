"""An episode played again: what is told of it fits the environment's own rules."""

from __future__ import annotations

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from core_cases import algorithm, jit, scattered

from purejax_mgtopo.algorithm.types import Both, Mode
from purejax_mgtopo.trained.play import Episode, play_episode

TASK = "navigation_N3_l2"


def networks(method: str = "reinforce", task: str = TASK, seed: int = 0) -> SimpleNamespace:
    """As much of trained networks as playing reads, with noise so that gates are not all alike."""
    made = algorithm(method, task)
    key = jax.random.key(0)
    policy = scattered(jit(made.team.init)(key), seed)
    parts = jit(made.parts.init)(Both(key, key))
    gates = scattered(parts.rule.gates, seed, scale=1.0)
    return SimpleNamespace(
        learner=SimpleNamespace(policy=policy),
        parts=parts.replace(rule=parts.rule.replace(gates=gates)),
    )


def play(episode_seed: int = 0, mode: Mode = Mode.EVAL_SAMPLED, task: str = TASK) -> Episode:
    return play_episode(
        algorithm("reinforce", task), networks(task=task), episode_seed=episode_seed, mode=mode
    )


def test_the_environment_steps_from_state_to_state():
    """Replayed from the first state by the actions told: the same states and rewards."""
    env, episode = algorithm("reinforce", TASK).env, play()
    state, _ = env.reset(jax.random.key(7))
    state = state.replace(
        agent_position=jnp.asarray(episode.states.agent_position[0]),
        landmark_position=jnp.asarray(episode.states.landmark_position[0]),
    )
    for t in range(env.horizon):
        state, timestep = env.step(state, episode.actions[t])
        for name in ("step_count", "agent_position", "agent_velocity", "landmark_position"):
            np.testing.assert_allclose(
                getattr(episode.states, name)[t + 1], getattr(state, name), rtol=1e-4, atol=1e-5
            )
        np.testing.assert_allclose(episode.rewards[t], timestep.reward, rtol=1e-4, atol=1e-4)
    assert timestep.last()


def test_masks_are_the_decisions_of_the_networks():
    """Greedy gates, asked again one state at a time; row i is who agent i receives from."""
    made, trained = algorithm("reinforce", TASK), networks()
    acting = made.parts.acting(trained.parts)
    tape = made.parts.each(lambda part: jnp.zeros(part.tape_shape))
    episode = play(mode=Mode.EVAL_GREEDY)
    assert episode.masks.shape == (25, 3, 3)
    assert 0 < episode.masks.mean() < 2 / 3  # open and closed edges both occur
    carry = made.team.initial_carry()
    for t in (0, 11, 24):
        state = jax.tree.map(lambda leaf, t=t: jnp.asarray(leaf[t]), episode.states)
        seen = made.env.observe(state)
        step, _ = made.team.step(
            trained.learner.policy, acting, seen, carry, tape, Mode.EVAL_GREEDY
        )
        np.testing.assert_allclose(episode.actions[t], step.action, rtol=1e-4, atol=1e-5)
        for i in range(3):
            others = [j for j in range(3) if j != i]
            np.testing.assert_array_equal(episode.masks[t, i, others], step.gates.decision[i])
            assert episode.masks[t, i, i] == 0


def test_the_same_seed_plays_the_same_episode_and_another_does_not():
    first, again, other = play(3), play(3), play(4)
    for a, b in zip(jax.tree.leaves(vars(first)), jax.tree.leaves(vars(again)), strict=True):
        assert type(a) is np.ndarray
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(first.states.agent_position, other.states.agent_position)
    assert not np.array_equal(first.masks, other.masks)


def test_both_modes_start_alike():
    sampled, greedy = play(3), play(3, Mode.EVAL_GREEDY)
    np.testing.assert_array_equal(sampled.states.landmark_position, greedy.states.landmark_position)
    assert not np.array_equal(sampled.masks, greedy.masks)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(
    "task", ["toy_crossed_goals", "toy_follow_holder", "toy_follow_two", "toy_public"]
)
def test_toys_tell_the_round_that_an_action_answers(task):
    episode = play(task=task)
    env = algorithm("reinforce", task).env
    for t in (0, 24):
        state = jax.tree.map(lambda leaf, t=t: jnp.asarray(leaf[t]), episode.states)
        reward = env.reward(state, jnp.asarray(episode.actions[t]), state)
        np.testing.assert_allclose(episode.rewards[t], reward, rtol=1e-5)
    assert episode.states.step_count.tolist() == list(range(26))
