"""Precision and recall of edges against a count by loops in NumPy."""

import functools
import math

import jax
import jax.numpy as jnp
import jax_mpe
import numpy as np
import pytest
from core_cases import algorithm, jit, scattered

from purejax_mgtopo.algorithm.algorithm import LearnerState
from purejax_mgtopo.algorithm.evaluate import (
    edge_quality,
    evaluate,
    evaluation_episodes,
    evaluation_shapes,
    knows_right_edges,
    with_nan,
)
from purejax_mgtopo.algorithm.maddpg import ActorCritic
from purejax_mgtopo.algorithm.topology.reinforce import ReinforceState
from purejax_mgtopo.algorithm.types import Both, Mode

MODES = {"": Mode.EVAL_SAMPLED, "_greedy": Mode.EVAL_GREEDY}


@functools.cache
def evaluated():
    """Episodes of both modes, and what is told of them."""
    made = algorithm("reinforce", "toy_follow_holder")

    @jit
    def run(policy, gates):
        rule = ReinforceState(gates, *[None] * 2)
        state = LearnerState(None, ActorCritic(policy, *[None] * 3), Both(rule), *[None] * 3)
        episodes = {end: evaluation_episodes(made, state, mode) for end, mode in MODES.items()}
        return episodes, evaluate(made, state)

    policy = scattered(jit(made.team.init)(jax.random.key(0)), 0)
    gates = scattered(jit(made.team.rule.init)(jax.random.key(0)).gates, 0)
    return made.env, *run(policy, gates)


@pytest.mark.parametrize("end", MODES)
def test_evaluations_tell_what_a_count_by_hand_finds(end) -> None:
    env, episodes, told = evaluated()
    played = episodes[end]
    opened = right = both = 0
    for episode, decisions in enumerate(np.asarray(played.gates.decision)):
        for step, receivers in enumerate(decisions):
            snapshot = jax_mpe.Snapshot(played.moving[episode, step], played.fixed[episode])
            holder = int(env.restore(snapshot, step).holder)
            for i, row in enumerate(receivers):
                senders = [j for j in range(3) if j != i]
                for sender, is_open in zip(senders, row, strict=True):
                    should = i == 0 and sender == holder  # agent 0 follows the holder
                    opened += is_open
                    right += should
                    both += is_open * should
    assert 0 < both < opened and both < right
    np.testing.assert_allclose(told[f"edge_precision{end}"], both / opened, rtol=1e-5)
    np.testing.assert_allclose(told[f"edge_recall{end}"], both / right, rtol=1e-5)


def test_shapes_are_told_beforehand() -> None:
    env, _, told = evaluated()
    shapes = evaluation_shapes(3, knows_right_edges(env))
    assert {name: value.shape for name, value in told.items()} == shapes


@pytest.mark.parametrize(
    ("task", "knows"),
    [
        ("navigation_N3_l3", False),
        ("toy_crossed_goals", False),
        ("toy_follow_holder", True),
        ("toy_follow_two", True),
        ("reference_N2", True),
    ],
)
def test_which_tasks_know(task, knows) -> None:
    assert knows_right_edges(jax_mpe.make(task)) is knows


@pytest.mark.parametrize("there", ["right", "open"])
def test_what_is_undefined_is_not_a_number_once_it_is_read(there: str) -> None:
    """On a device it is a number: JAX_DEBUG_NANS stops at none of a team that is silent."""
    counts = {"open": jnp.zeros(4), "right": jnp.zeros(4), "both": jnp.zeros(4)}
    with jax.debug_nans(True):
        told = jit(edge_quality)(counts | {there: jnp.full(4, 2.0)})
    told = with_nan({**told, "edge_recall_greedy": np.float32(-1), "return_sampled": -1.0})
    ours, other = ("edge_recall", "edge_precision")[:: 1 if there == "right" else -1]
    assert told[ours] == 0 and math.isnan(told[other]) and told[other].dtype == np.float32
    assert math.isnan(told["edge_recall_greedy"]) and told["return_sampled"] == -1
    assert edge_quality({}) == {} == with_nan({})
