"""Evaluation: always the same episodes, no noise, the gates that were asked for."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from core_cases import algorithm, assert_same, is_same, jit, scattered, tape

from purejax_mgtopo.algorithm.algorithm import LearnerState
from purejax_mgtopo.algorithm.evaluate import (
    cost_of_talk,
    evaluate,
    evaluation_episodes,
    evaluation_shapes,
)
from purejax_mgtopo.algorithm.maddpg import ActorCritic
from purejax_mgtopo.algorithm.topology.reinforce import ReinforceState
from purejax_mgtopo.algorithm.types import Both, Mode

TASK, EPISODES, AGENTS = "toy_follow_holder", 3, 3
MODES = (Mode.EVAL_SAMPLED, Mode.EVAL_GREEDY)


@functools.cache
def evaluated(seed):
    """The episodes of both modes, the numbers made of them, and actions recomputed without noise."""
    made = algorithm("reinforce", TASK)

    @jit
    def run(policy, gates):
        # As much of a state as an evaluation reads.
        learner = ActorCritic(policy, *[None] * 3)
        rule = ReinforceState(gates, *[None] * 2)
        state = LearnerState(None, learner, Both(rule), *[None] * 3)
        episodes = [evaluation_episodes(made, state, mode) for mode in MODES]
        observation = episodes[1].observation[:, :-1]
        carry = made.team.initial_carry(observation.shape[:2])
        numbers = tape(made, observation.shape[:2])  # greedy gates do not read them
        again, _ = made.team.step(
            policy, Both(gates), observation, carry, numbers, Mode.EVAL_GREEDY
        )
        return episodes, evaluate(made, state), again.action

    policy = scattered(jit(made.team.init)(jax.random.key(0)), seed)
    gates = scattered(jit(made.team.rule.init)(jax.random.key(0)).gates, seed)
    return run(policy, gates), lambda: run(policy, gates)


def test_an_evaluation_has_the_shapes_that_it_tells_beforehand():
    """Glossary and dashboard ask for the names where no program is at hand."""
    told, shapes = evaluated(0)[0][1], evaluation_shapes(AGENTS, right=True)
    assert set(told) == set(shapes)
    for name, shape in shapes.items():
        assert (told[name].shape, told[name].dtype) == (shape, np.float32)


def test_evaluation_is_the_same_at_every_call():
    first, again = evaluated(0)
    assert_same(first, again())


@pytest.mark.parametrize("mode", [0, 1])
def test_every_seed_plays_the_same_episodes(mode):
    one, other = (evaluated(seed)[0][0][mode] for seed in (0, 1))
    np.testing.assert_array_equal(one.moving, other.moving)  # a toy: actions move nothing
    assert one.reward.shape == (EPISODES, 25)
    assert not is_same(one.action, other.action)
    assert len(np.unique(one.moving.reshape(EPISODES, -1), axis=0)) == EPISODES


def test_both_modes_play_the_same_episodes():
    (sampled, greedy), _, _ = evaluated(0)[0]
    np.testing.assert_array_equal(sampled.moving, greedy.moving)


def test_actions_carry_no_noise():
    (_, greedy), _, again = evaluated(0)[0]
    np.testing.assert_allclose(greedy.action, again, rtol=1e-5, atol=1e-6)


def test_gates_are_sampled_or_greedy():
    (sampled, greedy), _, _ = evaluated(0)[0]
    np.testing.assert_array_equal(greedy.gates.decision, greedy.gates.probability > 0.5)
    np.testing.assert_allclose(greedy.gates.probability, sampled.gates.probability, rtol=1e-6)
    assert np.any(sampled.gates.decision != greedy.gates.decision)
    assert 0 < np.mean(greedy.gates.decision) < 1


def test_the_numbers_are_means_over_episodes():
    (sampled, greedy), numbers, _ = evaluated(0)[0]
    for episodes, mean in (
        (sampled, numbers["return_sampled"]),
        (greedy, numbers["return_greedy"]),
    ):
        np.testing.assert_allclose(mean, np.asarray(episodes.reward).sum(1).mean(), rtol=1e-5)
    np.testing.assert_allclose(numbers["edge_rate"], np.mean(sampled.gates.decision), rtol=1e-6)
    np.testing.assert_allclose(
        numbers["edge_rate_greedy"], np.mean(greedy.gates.decision), rtol=1e-6
    )
    bits = 32 * algorithm("reinforce", TASK).env.observation_size  # the LSTM's messages
    for episodes, end in ((sampled, ""), (greedy, "_greedy")):
        edges = messages = 0
        for step in np.asarray(episodes.gates.decision).reshape(-1, AGENTS, AGENTS - 1):
            heard = {[j for j in range(AGENTS) if j != i][k] for i, k in np.argwhere(step > 0)}
            edges, messages = edges + step.sum(), messages + len(heard)
        steps = EPISODES * 25
        np.testing.assert_allclose(numbers[f"edges_per_step{end}"], edges / steps, rtol=1e-5)
        np.testing.assert_allclose(numbers[f"messages_per_step{end}"], messages / steps, rtol=1e-5)
        np.testing.assert_allclose(numbers[f"bits_per_step{end}"], edges * bits / steps, rtol=1e-5)
    pairs, opened = np.asarray(numbers["pair_rate"]), np.asarray(sampled.gates.decision)
    for i in range(AGENTS):
        senders = [j for j in range(AGENTS) if j != i]
        np.testing.assert_allclose(pairs[i, senders], opened[:, :, i].mean((0, 1)), rtol=1e-6)
        assert pairs[i, i] == 0


@pytest.mark.parametrize(
    ("method", "bits"),
    [
        (("dial", 1), 8),
        (("rial", 1), 2),
        (("tarmac", 0), 2 * 48 * 32),
        (("tarmac", 1), 48 * 32),
        (("commnet", 0), 2 * 8 * 32),
        (("commnet", 1), 8 * 32),
        (("full+gat", 0), 2 * 8 * 32),
        (("full+gat", 1), 8 * 32),
    ],
    ids=str,
)
def test_what_an_open_edge_costs_in_bits(method, bits):
    """What arrives in the next step arrives once, whatever is read of it; and in the first step nothing does."""
    name, latency = method
    net = algorithm(name, TASK, message__latency=latency).team.interpreter
    assert net.edge_bits == bits
    opened = np.zeros((2, 25, AGENTS, AGENTS - 1), np.float32)
    opened[0, 0] = opened[1, 10, 2] = opened[1, 11, 0] = 1
    costs = cost_of_talk(jnp.asarray(opened), net)
    first = 0 if latency else AGENTS
    edges = (first * (AGENTS - 1) + 4) / 50
    np.testing.assert_allclose(costs["edges_per_step"], edges, rtol=1e-6)
    np.testing.assert_allclose(costs["messages_per_step"], (first + 4) / 50, rtol=1e-6)
    np.testing.assert_allclose(costs["bits_per_step"], edges * bits, rtol=1e-6)
