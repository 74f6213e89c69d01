"""I2C's labels: effects of one agent's action on another's, by loops over candidates, and what learns from them."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from core_cases import context, jit, made_up_trajectory, make_rule, scattered, sight, small
from oracles import learning

from purejax_mgtopo.algorithm.part import Moment
from purejax_mgtopo.algorithm.team import Step
from purejax_mgtopo.algorithm.topology.labelled.i2c import ROUNDS, STATES
from purejax_mgtopo.algorithm.types import Both, Gates, Mode, Window

AGENTS, WIDTH, CANDIDATES = 3, 4, 4


def rule_of(**changes):
    changes = {"member__i2c__candidates": CANDIDATES, **changes}
    rule = make_rule(small("i2c", **changes), AGENTS, WIDTH)
    return rule, jit(rule.init)(jax.random.key(0))


def drawn(states=5, seed=1):
    rng = np.random.default_rng(seed)
    observation = jnp.asarray(rng.normal(size=(states, AGENTS, WIDTH)), float)
    return observation, jnp.asarray(rng.uniform(-1, 1, (states, AGENTS, CANDIDATES, 2)), float)


def coupled(observation, action):
    """Agent 0 should do what agent 2 does; agent 1's value is its own affair."""
    together = -jnp.sum((action[..., 0, :] - action[..., 2, :]) ** 2, axis=-1)
    return together + jnp.sum(observation[..., 1, :2] * action[..., 1, :], axis=-1)


def mixed(observation, action):
    return jnp.sin(
        jnp.sum(action * observation[..., :2] * jnp.arange(1.0, 4.0)[:, None], axis=(-2, -1))
    )


def softmax(x):
    weight = np.exp(x - x.max())
    return weight / weight.sum()


def effect_by_hand(value, observation, candidates, i, j, order="published"):
    grid = np.zeros((CANDIDATES, CANDIDATES))
    for b, c in np.ndindex(CANDIDATES, CANDIDATES):
        action = np.array(candidates[:, 0])
        action[i], action[j] = candidates[i, b], candidates[j, c]
        grid[b, c] = float(value(observation, jnp.asarray(action)))
    score = 8 * (grid - grid.mean()) / (grid.std() + 1e-6)
    given = softmax(score[:, 0])
    whatever = softmax(score).sum(1)
    if order == "released":
        given, whatever = whatever, given
    return float(np.sum(given * np.log(given / whatever)))


@pytest.mark.parametrize("order", ["published", "released"])
def test_effects_are_those_of_the_definition(order):
    """Pairs for their mirror images, the marginal over the wrong agent, the KL the wrong way."""
    with jax.enable_x64(True):
        rule, _ = rule_of(member__i2c__order=order)
        observation, candidates = drawn()
        found = np.asarray(rule.effects(mixed, observation, candidates))
        for s in range(5):
            for i in range(AGENTS):
                for k, j in enumerate(x for x in range(AGENTS) if x != i):
                    hand = effect_by_hand(
                        mixed, observation[s], np.asarray(candidates[s]), i, j, order
                    )
                    assert found[s, i, k] == pytest.approx(hand, rel=1e-6, abs=1e-9)


def test_who_is_not_coupled_has_no_effect():
    rule, _ = rule_of()
    observation, candidates = drawn(200)

    def additive(observation, action):
        return jnp.sum(jnp.sin(3 * action) * observation[..., :2], axis=(-2, -1))

    assert np.abs(rule.effects(additive, observation, candidates)).max() < 1e-4
    found = np.asarray(rule.effects(coupled, observation, candidates)).mean(0)
    pairs = {
        (i, j): found[i, k] for i in range(3) for k, j in enumerate(x for x in range(3) if x != i)
    }
    linked = min(pairs[0, 2], pairs[2, 0])
    assert linked > 100 * max(v for pair, v in pairs.items() if 1 in pair)


def window(batch=70, seed=2):
    rng = np.random.default_rng(seed)
    return Window(
        observation=jnp.asarray(rng.normal(size=(batch, 2, AGENTS, WIDTH)), float),
        begins=jnp.zeros((batch, 2)),
        action=jnp.asarray(rng.uniform(-1, 1, (batch, AGENTS, 2)), float),
        reward=jnp.zeros(batch),
        discount=jnp.full(batch, 0.95),
    )


def test_labels_are_made_in_time_and_as_many_as_the_percentile_says():
    rule, state = rule_of(member__i2c__percentile=70.0, member__i2c__relabel_every=5)
    start = context()

    def at(state, episode, seed):
        clock = start.clock.advanced(episode)
        now = replace(
            start, clock=clock, key=jax.random.key(seed), value=mixed, window=window(seed=seed)
        )
        return jit(lambda s: rule.learn(s, made_up_trajectory(0, 5, AGENTS, WIDTH), now))(state)

    first = at(state, 0, 3).state
    np.testing.assert_array_equal(first.observation[0], window(seed=3).observation[:STATES, -2])
    assert not np.any(first.effect[1:])
    later = at(first, 4, 4).state  # not yet
    np.testing.assert_array_equal(later.effect, first.effect)
    assert later.threshold == first.threshold
    second = at(later, 5, 5)
    assert np.all(np.any(second.state.effect[:2] != 0, axis=(1, 2, 3)))
    known = np.asarray(second.state.effect[:2])
    assert np.mean(known > float(second.state.threshold)) == pytest.approx(0.3, abs=0.01)
    assert second.measures["label_rate"] == pytest.approx(0.3, abs=0.25)  # of a batch
    around = at(second.state, 5 * ROUNDS, 6).state
    assert not np.array_equal(around.effect[0], second.state.effect[0])
    np.testing.assert_array_equal(around.effect[1], second.state.effect[1])


@pytest.mark.parametrize("shared", [True, False])
def test_the_prior_is_told_what_an_agent_sees_and_who_is_asked(shared):
    rule, state = rule_of(learner__share_parameters=shared)
    gates = scattered(state.gates, 5, 1.0)
    observation = drawn(30)[0].astype(jnp.float32)
    tape = jnp.full((30, *rule.tape_shape), 0.75)
    host = jax.tree.map(np.asarray, gates)
    each = [host if shared else jax.tree.map(lambda x, i=i: x[i], host) for i in range(AGENTS)]
    odds = np.zeros((30, AGENTS, AGENTS - 1))
    for i in range(AGENTS):
        for k, j in enumerate(x for x in range(AGENTS) if x != i):
            name = np.broadcast_to(np.eye(AGENTS)[j], (30, AGENTS))
            known = np.concatenate([np.asarray(observation[:, i]), name], axis=1)
            odds[:, i, k] = learning.mlp(each[i]["params"], known)[:, 0]
    for mode in Mode:
        told, _ = rule.gate(gates, sight(observation), Moment((), tape, mode))
        np.testing.assert_allclose(told.probability, learning.sigmoid(odds), rtol=1e-4, atol=1e-6)
        np.testing.assert_array_equal(told.decision, odds > 0)
        assert np.all(told.aux == 0.5) and told.aux.shape == (30, AGENTS, CANDIDATES - 1, 2)
    assert 0 < np.mean(odds > 0) < 1


def test_both_labels_weigh_the_same():
    rule, state = rule_of()
    gates = scattered(state.gates, 5)
    observation = drawn(20)[0].astype(jnp.float32)
    label = np.zeros((20, AGENTS, AGENTS - 1))
    label[:2, 0, 1] = 1.0
    logits = np.asarray(rule.logits(gates, observation))
    chance = learning.sigmoid(logits)
    ones, zeros = -np.log(chance[label > 0]).mean(), -np.log(1 - chance[label == 0]).mean()
    found = rule.loss(gates, observation, jnp.asarray(label))
    np.testing.assert_allclose(found, (ones + zeros) / 2, rtol=1e-5)
    assert np.isfinite(rule.loss(gates, observation, jnp.zeros_like(jnp.asarray(label))))


def test_policies_are_pulled_to_what_the_critic_prefers():
    """By loops; and only the policies' actions move."""
    with jax.enable_x64(True):
        rule, _ = rule_of()
        observation, candidates = drawn(4)
        action, draws = candidates[:, :, 0], candidates[:, :, 1:]

        def pull(action):
            seen, gates = sight(observation), Gates(jnp.zeros(()), jnp.zeros(()), draws)
            return rule.penalty((), Step(action, action, seen, gates, Both()), mixed)

        total = 0.0
        for s in range(4):
            for i in range(AGENTS):
                values = []
                for b in range(CANDIDATES):
                    joint = np.array(action[s])
                    joint[i] = candidates[s, i, b]
                    values.append(float(mixed(observation[s], jnp.asarray(joint))))
                values = np.array(values)
                weight = softmax(8 * (values - values.mean()) / (values.std() + 1e-6))
                away = ((np.asarray(action[s, i]) - np.asarray(candidates[s, i])) ** 2).sum(-1)
                total += 0.01 * np.sum(weight * away) / (2 * 0.2**2) / 4
        np.testing.assert_allclose(pull(action), total, rtol=1e-6)
        slope = jax.grad(pull)(action)
        assert np.all(np.any(np.asarray(slope) != 0, axis=-1))
        rule, _ = rule_of(member__i2c__regulariser=0.0)
        step = Step(action, action, sight(observation), Gates(action, action, draws), Both())
        assert rule.penalty((), step, mixed) == 0.0
