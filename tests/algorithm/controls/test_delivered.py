"""What is delivered over a controlled channel is what interpreters read, learn from and show; nothing comes back."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from core_cases import algorithm, jit

from purejax_mgtopo.algorithm.rollout import rollout
from purejax_mgtopo.algorithm.types import Both, Mode, Streams

STEPS = 4


def networks(made: Any) -> tuple[Any, Any]:
    policy = jax.tree.map(lambda x: 2 * x + 0.05, made.team.init(jax.random.key(1)))
    return policy, made.parts.acting(made.parts.init(Both(jax.random.key(2), jax.random.key(3))))


def played(made: Any, policy: Any, acting: Any, observation: Any) -> np.ndarray:
    """Actions of given observations, [T, rows, N, A], as while episodes are played."""
    team, rows = made.team, observation.shape[1:2]
    tape = team.parts.tape(Both(*jax.random.split(jax.random.key(5))), (STEPS, *rows))

    @jit
    def act(observation: Any) -> Any:
        carry, found = team.initial_carry(rows), []
        for t in range(STEPS):
            now = jax.tree.map(lambda x, t=t: x[t], tape)
            step, carry = team.step(policy, acting, observation[t], carry, now, Mode.ROLLOUT)
            found.append(step.action)
        return jnp.stack(found)

    return np.asarray(act(observation))


@pytest.mark.parametrize(
    ("messages", "latency"), [("relay", 0), ("relay", 1), ("dial", 1), ("rial", 1)]
)
def test_nothing_of_a_team_comes_back_to_it_through_the_other_episode(
    messages: str, latency: int
) -> None:
    """Where what is sent depends on what was heard: the other episode's team hears itself, undisturbed."""
    changes: dict[str, Any] = {"task": "navigation_N3_l3", "message__latency": latency}
    mixed = algorithm(f"full+{messages}", channel="shuffled", **changes)
    clear = algorithm(f"full+{messages}", **changes)
    policy, acting = networks(mixed)
    seen = jax.random.normal(jax.random.key(4), (STEPS, 2, 3, mixed.env.observation_size))
    usual = played(mixed, policy, acting, seen)
    moved = played(
        mixed, policy, acting, seen.at[0, 0, 1].add(1.0)
    )  # agent 1, of the first episode
    np.testing.assert_array_equal(moved[:, 0, [0, 2]], usual[:, 0, [0, 2]])
    np.testing.assert_array_equal(moved[:, 1], usual[:, 1])
    alone = played(clear, policy, acting, seen)
    np.testing.assert_allclose(usual[:, 1], alone[:, 1], rtol=2e-5, atol=1e-6)
    if messages != "rial":  # symbols of an untrained network are all alike
        assert np.any(usual[:, 0] != alone[:, 0])
        other = played(mixed, policy, acting, seen.at[0, 1, 1].add(1.0))
        assert np.any(other[:, 0] != usual[:, 0])  # of the other episode it hears


def test_a_single_row_hears_zeros() -> None:
    """It would else be the other episode of its own."""
    mixed, constant = (
        algorithm("full+commnet", "navigation_N3_l3", channel=c) for c in ("shuffled", "constant")
    )
    policy, acting = networks(mixed)
    seen = jax.random.normal(jax.random.key(4), (STEPS, 1, 3, mixed.env.observation_size))
    np.testing.assert_array_equal(
        played(mixed, policy, acting, seen), played(constant, policy, acting, seen)
    )


def trajectory(
    method: str, channel: str, task: str = "navigation_N3_l3", **changes: Any
) -> tuple[Any, ...]:
    made = algorithm(method, task, channel=channel, **changes)
    policy, acting = networks(made)
    keys = Streams.split(jax.random.key(5))
    run = jit(lambda keys: rollout(made.env, made.team, policy, acting, keys, Mode.ROLLOUT, 0.2))
    return made, policy, acting, run(keys)


@pytest.mark.parametrize("method", ["full+tarmac", "full+gat", "full+relay"])
def test_what_was_not_delivered_has_no_attention(method: str) -> None:
    shares = {}
    for channel in ("clear", "cut"):
        made, policy, _, tau = trajectory(method, channel)
        interpreter = made.team.interpreter
        (weight,) = interpreter.shown(policy.interpreter, tau, made.team.seen(tau)).pairs.values()
        off = ~np.eye(3, dtype=bool)
        shares[channel] = np.asarray(weight)[..., off]
    assert np.all(shares["cut"] == 0) and np.any(shares["clear"] > 0.1)


def test_what_was_not_delivered_costs_no_penalty_and_teaches_no_symbol() -> None:
    for channel, expected in (("clear", True), ("cut", False)):
        made, policy, acting, _ = trajectory("full+vbc", channel)
        observation = jax.random.normal(jax.random.key(4), (6, 3, made.env.observation_size))
        tape = made.team.parts.tape(Both(*jax.random.split(jax.random.key(5))), (6,))
        carry = made.team.initial_carry((6,))
        step, _ = made.team.step(policy, acting, observation, carry, tape, Mode.REPLAY)
        paid = float(made.parts.penalty(acting, step, lambda *_: jnp.zeros(6)))
        assert (paid > 0) == expected
        made, _, _, tau = trajectory("full+rial", channel, message__latency=1)
        rial = made.team.interpreter
        known = rial.known(tau, made.team.seen(tau))
        sees, slots = made.env.observation_size, 3 * rial.symbols
        assert np.any(np.asarray(known[1:, :, sees : sees + slots]) != 0) == expected


@pytest.mark.parametrize("channel", ["open", "random", "cut"])
def test_groups_are_not_in_the_way_of_edges_that_a_channel_opens(channel: str) -> None:
    """Whom each agent hears, by derivatives, is what is recorded."""
    made, policy, acting, tau = trajectory("atoc", channel, "navigation_N6_l1")
    team, agents = made.team, 6
    observation = tau.observation[0]
    tape = jax.tree.map(
        lambda x: x[0], team.parts.tape(Streams.split(jax.random.key(5)).playing, (25,))
    )

    def act(observation: Any) -> Any:
        step, _ = team.step(policy, acting, observation, team.initial_carry(()), tape, Mode.ROLLOUT)
        return step.unsquashed, step.open_edges

    moved = np.abs(np.asarray(jax.jacobian(lambda x: act(x)[0])(observation))).max(axis=(1, 3)) > 0
    edges = np.asarray(act(observation)[1])
    off = ~np.eye(agents, dtype=bool)
    recorded = np.zeros((agents, agents), bool)
    recorded[off] = edges.reshape(-1) > 0
    np.testing.assert_array_equal(moved & off, recorded & off)
    assert (edges.mean() == 1) == (channel == "open") and (edges.mean() == 0) == (channel == "cut")
