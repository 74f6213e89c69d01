"""Rules that learn from labels that the critic makes: Gated-ACML's senders, VBC's requests and replies."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from core_cases import (
    NOTHING,
    algorithm,
    context,
    jit,
    made_up_trajectory,
    make_rule,
    scattered,
    sight,
    small,
)
from oracles import learning

from purejax_mgtopo.algorithm.edges import columns, fill_diagonal
from purejax_mgtopo.algorithm.part import Moment
from purejax_mgtopo.algorithm.types import Mode

AGENTS, WIDTH, STEPS = 3, 4, 5
WAYS = np.array([[0, 0], [1, 0], [0, 1], [-1, 0], [0, -1]], float)


def rule_of(method, **changes):
    rule = make_rule(small(method, **changes), AGENTS, WIDTH)
    return rule, jit(rule.init)(jax.random.key(0))


def judged(tau, weight):
    """A context whose team acts by who hears whom, and whose critic has an opinion on it."""

    def act(seen, gates):
        heard = fill_diagonal(gates.decision) @ seen.observation[..., :2]
        return jnp.tanh(seen.observation[..., 1:3] + heard)

    def value(observation, action):
        return jnp.sum(weight * action**2, axis=(-2, -1)) + jnp.sum(observation, axis=(-2, -1))

    return replace(context(), act=act, value=value, seen=lambda tau: sight(tau.observation[:-1]))


def opinions(seed=9):
    return jnp.asarray(np.random.default_rng(seed).normal(size=(AGENTS, 2)), float)


def worth_by_hand(observation, mask, weight):
    heard = mask @ observation[:, :2]
    return float(np.sum(weight * np.tanh(observation[:, 1:3] + heard) ** 2) + observation.sum())


def talked(seed=3):
    tau = made_up_trajectory(seed, STEPS, AGENTS, WIDTH)
    talks = jnp.asarray(np.random.default_rng(seed).integers(0, 2, (STEPS, AGENTS)), float)
    return tau.replace(gates=tau.gates.replace(decision=columns(talks)))


def gains_by_hand(tau, weight):
    """By how much the value falls when one agent's message is held back, all others' edges as they are."""
    gains = np.zeros((STEPS, AGENTS))
    for t in range(STEPS):
        mask = np.array(fill_diagonal(tau.gates.decision[t]))
        for i in range(AGENTS):
            ends = []
            for opened in (1.0, 0.0):
                other = mask.copy()
                other[:, i] = opened
                other[i, i] = 0.0
                ends.append(worth_by_hand(np.asarray(tau.observation[t], float), other, weight))
            gains[t, i] = ends[0] - ends[1]
    return gains


@pytest.mark.parametrize("pruning", [0.5, 0.8])
def test_gated_acml_learns_whose_message_is_worth_enough(pruning):
    """Gains, threshold, labels and one RMSprop step, by loops and central differences in float64."""
    with jax.enable_x64(True):
        rule, state = rule_of(
            "gated_acml", member__gated_acml__pruning=pruning, gates__learning_rate=0.05
        )
        state = state.replace(gates=scattered(state.gates, 1), threshold=jnp.asarray(0.2))
        tau, weight = talked(), opinions()
        now = judged(tau, weight)
        gains = gains_by_hand(tau, np.asarray(weight))
        np.testing.assert_allclose(rule.gain(tau, now), gains, rtol=1e-6, atol=1e-9)
        first = rule.learn(state, tau, now)
        assert first.measures["threshold"] == pytest.approx(np.quantile(gains, pruning))
        later = replace(now, clock=now.clock.advanced(7), progress=jnp.asarray(0.3))
        new, measures, _ = rule.learn(state, tau, later)
        threshold = 0.2 + 0.05 * (np.quantile(gains, pruning) - 0.2)
        label = (gains > threshold).astype(float)
        assert 0 < label.mean() < 1
        assert measures["threshold"] == pytest.approx(threshold)
        assert measures["label_rate"] == pytest.approx(label.mean())
        assert measures["message_worth"] == pytest.approx(gains.mean())
        assert (float(first.state.forced), float(new.forced)) == (1.0, 0.0)
        host = jax.tree.map(np.array, state.gates)["params"]

        def loss():
            total = 0.0
            for t in range(STEPS):
                for i in range(AGENTS):
                    chance = learning.sigmoid(
                        learning.mlp(host, np.asarray(tau.observation[t, i]))[0]
                    )
                    total -= np.log(chance if label[t, i] else 1 - chance)
            return total / STEPS

        np.testing.assert_allclose(measures["label_loss"], loss(), rtol=1e-6)
        bias = host["Dense_0"]["bias"]
        slope = np.zeros_like(bias)
        for k in range(len(bias)):
            ends = []
            for step in (1e-6, -1e-6):
                bias[k] += step
                ends.append(loss())
                bias[k] -= step
            slope[k] = (ends[0] - ends[1]) / 2e-6
        expected = bias - 0.05 * slope / np.sqrt(0.1 * slope**2 + 1e-8)
        found = new.gates["params"]["Dense_0"]["bias"]
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("forced", [0.0, 1.0])
def test_gated_acml_sends_to_all_or_to_nobody_by_a_threshold(mode, forced):
    rule, state = rule_of("gated_acml")
    gates = scattered(state.gates, 2, 1.0)
    rows = jnp.asarray(np.random.default_rng(0).normal(size=(40, AGENTS, WIDTH)), jnp.float32)
    acting = {"gate": gates, "forced": jnp.asarray(forced)}
    told, _ = rule.gate(acting, sight(rows), Moment((), jnp.zeros((40, 0)), mode))
    host = jax.tree.map(np.asarray, gates)["params"]
    chance = learning.sigmoid(learning.mlp(host, np.asarray(rows, float))[..., 0])
    sends = np.ones_like(chance) if forced else (chance > 0.5).astype(float)
    assert forced or 0 < sends.mean() < 1
    square = (1 - np.eye(AGENTS)) * sends[:, None, :]
    np.testing.assert_array_equal(fill_diagonal(told.decision), square)


def test_a_message_that_the_coordinator_ignores_is_worth_nothing():
    made = algorithm("gated_acml", "toy_follow_holder")
    learner = jit(made.maddpg.init)(jax.random.key(0))
    policy = scattered(learner.policy, 1)
    deaf = jax.tree.map(jnp.zeros_like, policy.interpreter["answer"])
    deaf = policy.replace(interpreter=policy.interpreter | {"answer": deaf})
    tau = made_up_trajectory(4, 25, AGENTS, made.env.observation_size)
    tau = tau.replace(message=jnp.tanh(jax.random.normal(jax.random.key(3), (25, AGENTS, 64))))

    def gain(policy):
        now = replace(
            context(),
            seen=made.team.seen,
            act=partial(made.team.act, policy, NOTHING),
            value=partial(made.maddpg.value, scattered(learner.critic, 2)),
        )
        return made.team.rule.gain(tau, now)

    assert not np.any(gain(deaf))
    assert np.any(gain(policy))


def test_as_many_messages_are_pruned_as_were_to_be():
    """Gains are a function of what a sender sees: the gate learns to hold back the lower half, or more."""
    for pruning in (0.5, 0.8):
        rule, state = rule_of(
            "gated_acml",
            member__gated_acml__pruning=pruning,
            member__gated_acml__open_share=0.0,
            gates__learning_rate=0.01,
        )
        rule.gain = lambda tau, _: tau.observation[:-1, :, 0]

        def step(state, key, rule=rule):
            tau = made_up_trajectory(0, 25, AGENTS, WIDTH)
            tau = tau.replace(observation=jax.random.normal(key, tau.observation.shape))
            now = replace(context(), clock=context().clock.advanced(1))
            return rule.learn(state, tau, now).state, None

        state, _ = jit(partial(jax.lax.scan, step))(state, jax.random.split(jax.random.key(0), 400))
        rows = jax.random.normal(jax.random.key(1), (500, AGENTS, WIDTH))
        now = Moment((), jnp.zeros((500, 0)), Mode.EVAL_GREEDY)
        told, _ = rule.gate(rule.acting(state), sight(rows), now)
        assert 1 - np.mean(told.decision) == pytest.approx(pruning, abs=0.08)


def confident(seed=1, **changes):
    rule, state = rule_of("vbc", **changes)
    return rule, state.replace(values=scattered(state.values, seed))


@pytest.mark.parametrize("shared", [False, True])
def test_who_is_unsure_asks_and_whose_message_varies_answers(shared):
    """In execution alone; rows for columns, the largest gap, the deviation over agents."""
    rule, state = confident(learner__share_parameters=shared)
    rng = np.random.default_rng(4)
    rows = jnp.asarray(rng.normal(size=(30, AGENTS, WIDTH)), jnp.float32)
    message = jnp.asarray(rng.normal(size=(30, AGENTS, 6)), jnp.float32)
    seen = sight(rows).replace(delivered=message)
    host = jax.tree.map(np.asarray, state.values)
    best = np.stack(
        [
            np.sort(
                learning.mlp(
                    (host if shared else jax.tree.map(lambda x, i=i: x[i], host))["params"],
                    np.asarray(rows[:, i]),
                )
            )
            for i in range(AGENTS)
        ],
        axis=1,
    )
    assert best.shape == (30, AGENTS, 5)
    gap, spread = best[..., -1] - best[..., -2], np.asarray(message).std(-1)
    limits = np.median(gap), np.median(spread)
    acting = {"values": state.values, "unsure": limits[0], "telling": limits[1]}
    for mode in Mode:
        told, _ = rule.gate(acting, seen, Moment((), jnp.zeros((30, 0)), mode))
        square = np.asarray(fill_diagonal(told.decision))
        if mode in (Mode.EVAL_SAMPLED, Mode.EVAL_GREEDY):
            expected = (gap < limits[0])[:, :, None] * (spread > limits[1])[:, None, :]
        else:
            expected = np.ones((30, AGENTS, AGENTS))
        np.testing.assert_array_equal(square, expected * (1 - np.eye(AGENTS)))


@pytest.mark.parametrize(
    ("unsure", "telling", "rate"),
    [(-np.inf, -np.inf, 0.0), (np.inf, np.inf, 0.0), (np.inf, -np.inf, 1.0)],
)
def test_thresholds_at_their_ends_are_nobody_and_everybody(unsure, telling, rate):
    rule, state = confident()
    acting = {"values": state.values, "unsure": unsure, "telling": telling}
    rows = sight(jnp.ones((AGENTS, WIDTH)))
    told, _ = rule.gate(acting, rows, Moment((), jnp.zeros(0), Mode.EVAL_SAMPLED))
    assert np.all(told.decision == rate)


def test_local_values_learn_what_the_critic_says_of_each_way_to_go():
    with jax.enable_x64(True):
        rule, state = confident(learner__policy_learning_rate=0.01, learner__share_parameters=False)
        tau, weight = talked(), opinions()
        tau = tau.replace(
            gates=tau.gates.replace(aux=(tau.reward[:, None] * jnp.ones(AGENTS),) * 2)
        )
        tau = tau.replace(message=tau.observation[:-1])
        now = judged(tau, weight)
        aim = np.zeros((STEPS, AGENTS, 5))
        for t, i, b in np.ndindex(STEPS, AGENTS, 5):
            action = np.array(tau.action[t])
            action[i] = WAYS[b]
            aim[t, i, b] = np.sum(np.asarray(weight) * action**2) + float(tau.observation[t].sum())
        np.testing.assert_allclose(rule.aim(tau, now), aim, rtol=1e-6)
        host = jax.tree.map(np.asarray, state.values)
        each = [jax.tree.map(lambda x, i=i: x[i], host)["params"] for i in range(AGENTS)]
        found = np.stack(
            [learning.mlp(each[i], np.asarray(tau.observation[:-1, i])) for i in range(AGENTS)], 1
        )
        new, measures, _ = rule.learn(state, tau, now)
        expected = ((found - aim) ** 2).sum(1).mean()
        np.testing.assert_allclose(measures["confidence_loss"], expected, rtol=1e-6)
        ordered = np.sort(found)
        gap = ordered[..., -1] - ordered[..., -2]
        spread = np.asarray(tau.observation[:-1]).std(-1)
        assert float(new.unsure) == pytest.approx(np.median(gap))
        assert float(new.telling) == pytest.approx(np.median(spread))
        later = replace(now, clock=now.clock.advanced(3))
        old = state.replace(unsure=jnp.asarray(9.0), telling=jnp.asarray(7.0))
        moved = rule.learn(old, tau, later).state
        assert float(moved.unsure) == pytest.approx(9 + 0.05 * (np.median(gap) - 9))
        assert float(moved.telling) == pytest.approx(7 + 0.05 * (np.median(spread) - 7))
        # Adam's first step goes by its rate against the gradient of the squared error.
        slope = 2 * (found - aim).mean(0) / 5
        step = (
            np.asarray(new.values["params"]["Dense_2"]["bias"]) - host["params"]["Dense_2"]["bias"]
        )
        np.testing.assert_allclose(step, -0.01 * np.sign(slope), rtol=1e-4)
