"""What is heard of another episode comes from there one way only: nothing of a team's own finds back to it."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from core_cases import algorithm, jit

from purejax_mgtopo.algorithm.types import Both, Mode

AGENTS, STEPS = 3, 4


@functools.cache
def played(messages: str, channel: str, mode: Mode, rows: int) -> Any:
    """Actions [T, rows, N, A] of rows of steps side by side, as a function of what is seen, [T, rows, N, O]."""
    made = algorithm(f"full+{messages}", "navigation_N3_l3", message__latency=1)
    team = made.team.over(channel)
    policy = jax.tree.map(lambda x: 2 * x, team.init(jax.random.key(1)))
    parts = made.parts.init(Both(jax.random.key(2), jax.random.key(3)))
    keys = Both(jax.random.key(5), jax.random.key(6))
    tape = team.parts.tape(keys, (STEPS, rows))

    @jit
    def play(observation: Any) -> Any:
        carry, actions = team.initial_carry((rows,)), []
        for t in range(STEPS):
            numbers = jax.tree.map(lambda x, t=t: x[t], tape)
            acting = made.parts.acting(parts)
            step, carry = team.step(policy, acting, observation[t], carry, numbers, mode)
            actions.append(step.action)
        return jnp.stack(actions)

    return play


def seen(rows: int) -> Any:
    return jax.random.normal(jax.random.key(4), (STEPS, rows, AGENTS, 14))


def rows_moved(play: Any, observation: Any, row: int) -> Any:
    """Whether agent 0's actions of each row depend on what agent 1 of `row` saw at first."""
    other = observation.at[0, row, 1].add(2.0)
    return np.any(np.asarray(play(observation) != play(other))[:, :, 0], axis=(0, 2))


@pytest.mark.parametrize("messages", ["relay", "dial", "rial"])
def test_a_team_hears_nothing_of_its_own_by_way_of_the_episode_beside_it(messages: str) -> None:
    play, observation = played(messages, "shuffled", Mode.EVAL_SAMPLED, 2), seen(2)
    beside = observation.at[:, 1].add(1.0)
    assert np.any(np.asarray(play(observation) != play(beside))[:, 0])  # it is heard
    np.testing.assert_array_equal(rows_moved(play, observation, 0), [False, False])
    clear = played(messages, "clear", Mode.EVAL_SAMPLED, 2)(observation)
    np.testing.assert_allclose(play(observation)[:, 1], clear[:, 1], rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("mode", [Mode.REPLAY, Mode.TARGET])
def test_in_what_is_learned_from_no_row_hears_its_own(mode: Mode) -> None:
    """In batches shorter than their windows neither; the last row hears zeros."""
    play, observation = played("relay", "shuffled", mode, 2), seen(2)
    np.testing.assert_array_equal(rows_moved(play, observation, 0), [False, False])
    np.testing.assert_array_equal(rows_moved(play, observation, 1), [True, False])
    zeros = played("relay", "constant", mode, 2)(observation)
    np.testing.assert_allclose(play(observation)[:, 1], zeros[:, 1], rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("mode", [Mode.EVAL_SAMPLED, Mode.REPLAY])
def test_where_there_is_one_alone_zeros_are_heard(mode: Mode) -> None:
    observation = seen(1)
    found = played("relay", "shuffled", mode, 1)(observation)
    zeros = played("relay", "constant", mode, 1)(observation)
    np.testing.assert_allclose(found, zeros, rtol=2e-5, atol=1e-6)
    clear = played("relay", "clear", mode, 1)(observation)
    assert np.any(np.asarray(found != clear))
