"""MAGIC's second round of messages over edges of its own."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from core_cases import (
    algorithm,
    assert_same,
    is_same,
    is_zero,
    jit,
    make_rule,
    play_keys,
    scattered,
    sight,
    small,
    tape,
)
from oracles import learning

from purejax_mgtopo.algorithm.edges import fill_diagonal
from purejax_mgtopo.algorithm.evaluate import cost_of_talk
from purejax_mgtopo.algorithm.part import Moment
from purejax_mgtopo.algorithm.rollout import rollout
from purejax_mgtopo.algorithm.types import Both, Mode
from purejax_mgtopo.errors import ConfigError

TASK, AGENTS, WIDTH = "toy_follow_holder", 3, 4
APART = {"member__magic__second_graph": True}


def rule_and_gates(**changes):
    rule = make_rule(small("magic", **changes), AGENTS, WIDTH)
    return rule, scattered(jit(rule.init)(jax.random.key(0)).gates, 1)


def features(seed, *batch):
    drawn = np.random.default_rng(seed).normal(size=(*batch, AGENTS, WIDTH))
    return jnp.asarray(drawn, jnp.float32)


def test_the_second_graph_is_the_first_ones_definition_with_another_network_and_other_coins():
    rule, gates = rule_and_gates(**APART)
    row, swapped = features(2, 40), {"params": dict(gates["params"])}
    swapped["params"] |= {"MLP_0": gates["params"]["MLP_1"], "MLP_1": gates["params"]["MLP_0"]}
    coins = jax.random.uniform(jax.random.key(5), (40, *rule.tape_shape))
    ours, theirs = np.split(np.asarray(coins), 2, axis=-2)
    answer, _ = rule.gate(gates, sight(row), Moment((), coins, Mode.ROLLOUT))
    for network, numbers, decision in (
        (gates, ours, answer.decision),
        (swapped, theirs, answer.later),
    ):
        single, _ = rule_and_gates()
        alone = {"params": {k: v for k, v in network["params"].items() if k != "MLP_1"}}
        expected, _ = single.gate(alone, sight(row), Moment((), jnp.asarray(numbers), Mode.ROLLOUT))
        np.testing.assert_array_equal(decision, expected.decision)
        assert 0.05 < np.mean(expected.decision) < 0.95
    assert not np.array_equal(answer.decision, answer.later)


def test_the_odds_of_the_second_graph_are_told_by_hand():
    rule, gates = rule_and_gates(**APART)
    row = np.asarray(features(2))
    net = jax.tree.map(np.asarray, gates)["params"]
    value = row @ net["Dense_0"]["kernel"]
    receiver, sender = (value @ net[f"Dense_{k}"]["kernel"][:, 0] for k in (1, 2))
    raw = receiver[:, None] + sender[None]
    weight = np.exp(np.where(raw > 0, raw, 0.2 * raw))
    mixed = (weight / weight.sum(1, keepdims=True)) @ value
    encoded = np.where(mixed > 0, mixed, np.expm1(mixed))
    greedy = Moment((), jnp.zeros(rule.tape_shape), Mode.EVAL_GREEDY)
    answer, _ = rule.gate(gates, sight(jnp.asarray(row)), greedy)
    for graph, decision in (("MLP_0", answer.decision), ("MLP_1", answer.later)):
        square = np.asarray(fill_diagonal(decision))
        for i, j in zip(*np.where(~np.eye(AGENTS, dtype=bool)), strict=True):
            two = learning.mlp(net[graph], np.concatenate([encoded[i], encoded[j]]))
            assert square[i, j] == (two[1] > two[0])


def test_renaming_the_agents_renames_both_graphs():
    rule, gates = rule_and_gates(**APART)
    row, order = features(7, 20), np.array([2, 0, 1])
    greedy = Moment((), jnp.zeros((20, *rule.tape_shape)), Mode.EVAL_GREEDY)
    straight, _ = rule.gate(gates, sight(row), greedy)
    renamed, _ = rule.gate(gates, sight(row[:, order]), greedy)
    for one, other in ((straight.decision, renamed.decision), (straight.later, renamed.later)):
        expected = np.asarray(fill_diagonal(one))[:, order][:, :, order]
        np.testing.assert_array_equal(fill_diagonal(other), expected)


def test_one_graph_serves_both_rounds_unless_asked():
    rule, gates = rule_and_gates()
    answer, _ = rule.gate(
        gates, sight(features(2)), Moment((), jnp.full(rule.tape_shape, 0.5), Mode.ROLLOUT)
    )
    assert answer.later == () and "MLP_1" not in gates["params"]
    assert answer.second is answer.decision and answer.opened is answer.decision


def team(method="magic", **changes):
    made = algorithm(method, TASK, learner__share_parameters=True, **changes)
    policy = scattered(jit(made.team.init)(jax.random.key(0)), 3)
    state = jit(made.team.rule.init)(jax.random.key(1))
    return made, policy, Both(scattered(made.team.rule.acting(state), 4), ())


def acted(made, policy, acting, rows):
    """What is done in each of some steps."""
    carry, actions = made.team.initial_carry((rows.shape[1],)), []
    for row in rows:
        numbers = tape(made, (rows.shape[1],), 0.5)
        step, carry = made.team.step(policy, acting, row, carry, numbers, Mode.ROLLOUT)
        actions.append(step.action)
    return jnp.stack(actions)


@pytest.mark.parametrize("latency", [0, 1])
def test_only_both_graphs_closed_are_silence(monkeypatch, latency):
    """A round that stays open is heard, and bits are counted of it; nothing arrives in a first step."""
    made, policy, acting = team(message__latency=latency, **APART)
    silent, *_ = team("none+gat", message__latency=latency)
    rows = jnp.asarray(
        np.random.default_rng(5).normal(size=(2, 6, AGENTS, made.env.observation_size)), jnp.float32
    )
    gate, done = type(made.team.rule).gate, {}
    for first, second in ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0)):

        def forced(*inputs, first=first, second=second):
            gates, carry = gate(made.team.rule, *inputs)
            edges = jnp.ones_like(gates.decision)
            return replace(gates, decision=first * edges, later=second * edges), carry

        monkeypatch.setattr(made.team.rule, "gate", forced)
        done[first, second] = jit(lambda r: acted(made, policy, acting, r))(rows)
    quiet = jit(lambda r: acted(silent, policy, Both((), ()), r))(rows)
    assert_same(done[0.0, 0.0], quiet)
    for opened in ((1.0, 0.0), (0.0, 1.0), (1.0, 1.0)):
        assert not is_same(done[opened][1], quiet[1])
        assert is_same(done[opened][0], quiet[0]) == bool(latency)
    assert not is_same(done[0.0, 1.0][1], done[1.0, 1.0][1])


def played(made, policy, acting, key=6):
    keys = play_keys(jax.random.key(key))
    return jit(lambda: rollout(made.env, made.team, policy, acting, keys, Mode.ROLLOUT, 0.1))()


@pytest.mark.parametrize("channel", ["cut", "open", "random"])
def test_a_channel_that_chooses_edges_chooses_them_for_both_rounds(channel):
    made, policy, acting = team(channel=channel, **APART)
    tau = played(made, policy, acting)
    edges = np.asarray(tau.open_edges)
    assert set(np.unique(edges)) <= {0.0, 1.0}
    if channel == "random":  # the share of both graphs
        assert abs(edges.mean() - np.asarray(tau.gates.opened).mean()) < 0.12
        return
    assert np.all(edges == (channel == "open"))
    other, *_ = team("none+gat" if channel == "cut" else "full+gat")
    expected = played(other, policy, Both((), ()))
    np.testing.assert_allclose(tau.action, expected.action, atol=2e-6)


@pytest.mark.parametrize("latency", [0, 1])
def test_bits_are_those_of_both_rounds(latency):
    """A message in each round, or one for both that arrives later and has to pass where either is open."""
    made, policy, acting = team(message__latency=latency, **APART)
    tau = played(made, policy, acting)
    both = np.stack([tau.gates.decision, tau.gates.later])
    both[:, :latency] = 0
    first, second = both
    assert not np.array_equal(first, second)
    costs = cost_of_talk(tau.open_edges[None], made.team.interpreter)
    passing = both.max(0) if latency else both.sum(0)
    numbers = made.team.interpreter.message_size
    assert costs["bits_per_step"] == pytest.approx(32 * numbers * passing.sum((1, 2)).mean())
    assert costs["edges_per_step"] == pytest.approx(both.mean(0).sum((1, 2)).mean())
    either = np.asarray(fill_diagonal(jnp.asarray(both.max(0))))
    assert costs["messages_per_step"] == pytest.approx(either.max(1).sum(1).mean())


def test_the_policy_loss_moves_both_graphs():
    made, policy, acting = team(**APART)
    rows = features(8, 6)[..., :1] * jnp.ones(made.env.observation_size)

    def loss(gates):
        carry = made.team.initial_carry((6,))
        numbers = tape(made, (6,), 0.4)
        step, _ = made.team.step(policy, Both(gates, ()), rows, carry, numbers, Mode.REPLAY)
        return jnp.sum(jnp.sin(step.action))

    slope = jit(jax.grad(loss))(acting.rule)["params"]
    assert not is_zero(slope["MLP_0"]) and not is_zero(slope["MLP_1"])


@pytest.mark.parametrize("messages", ["tarmac", "commnet", "lstm"])
def test_an_interpreter_without_a_second_graph_is_refused(messages):
    with pytest.raises(ConfigError, match=f"take gat, {messages} has none"):
        algorithm(f"magic+{messages}", TASK, **APART)
