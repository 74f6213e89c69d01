"""Edge gates: what is sampled, how often, and what straight-through differentiates."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from core_cases import (
    LEARNED,
    is_zero,
    jit,
    made_up_trajectory,
    make_rule,
    scattered,
    sight,
    size,
    small,
)
from oracles import learning
from scipy.stats import binomtest

from purejax_mgtopo.algorithm.edges import fill_diagonal
from purejax_mgtopo.algorithm.part import Moment
from purejax_mgtopo.algorithm.topology.gates import entropy, log_probability
from purejax_mgtopo.algorithm.types import Mode

AGENTS, WIDTH, DRAWS = 3, 4, 20_000


def gated(method, mode, draws=DRAWS, **changes):
    """A rule, its parameters, and its gates for one observation under `draws` random tapes."""
    rule = make_rule(small(method, **changes), AGENTS, WIDTH)
    gates = scattered(jit(rule.init)(jax.random.key(0)).gates, 1)
    observation = jnp.asarray(np.random.default_rng(2).normal(size=(AGENTS, WIDTH)), jnp.float32)
    tape = jax.random.uniform(jax.random.key(3), (draws, *rule.tape_shape))
    everywhere = jnp.broadcast_to(observation, (draws, AGENTS, WIDTH))

    def decide(gates, tape):
        return rule.gate(gates, sight(everywhere), Moment((), tape, mode))[0]

    return decide, gates, observation, tape


def chances(gates, observation):
    """sigma(l) of each edge, by a loop over agents."""
    rows = [jax.tree.map(lambda x, i=i: x[i], gates)["params"] for i in range(AGENTS)]
    return np.stack(
        [learning.sigmoid(learning.mlp(row, observation[i])) for i, row in enumerate(rows)]
    )


@pytest.mark.parametrize("method", LEARNED)
@pytest.mark.parametrize("mode", [Mode.ROLLOUT, Mode.REPLAY, Mode.TARGET, Mode.EVAL_SAMPLED])
def test_edges_open_as_often_as_their_probability_says(method, mode):
    """Wrong sign of the noise, a threshold for a sample, one random number for several edges."""
    decide, gates, observation, tape = gated(method, mode)
    answer = jit(decide)(gates, tape)
    expected = chances(gates, np.asarray(observation))
    np.testing.assert_allclose(answer.probability[0], expected, rtol=1e-5)
    decision = np.asarray(answer.decision)
    assert set(np.unique(decision)) == {0.0, 1.0}
    for edge in np.ndindex(expected.shape):
        opened = int(decision[:, *edge].sum())
        assert binomtest(opened, DRAWS, float(expected[edge])).pvalue > 1e-3
    flat = decision.reshape(DRAWS, -1)
    assert np.abs(np.corrcoef(flat.T) - np.eye(flat.shape[1])).max() < 0.04


@pytest.mark.parametrize("method", LEARNED)
def test_greedy_gates_open_above_one_half(method):
    decide, gates, observation, tape = gated(method, Mode.EVAL_GREEDY, draws=5)
    answer = jit(decide)(gates, tape)
    expected = chances(gates, np.asarray(observation)) > 0.5
    assert 0 < expected.mean() < 1
    np.testing.assert_array_equal(answer.decision, np.broadcast_to(expected, (5, *expected.shape)))


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_straight_through_has_the_soft_samples_derivative(temperature):
    """Backward through the hard sample or the probability, or at the wrong temperature."""
    decide, gates, observation, tape = gated(
        "stgs", Mode.REPLAY, draws=50, gates__temperature=temperature
    )
    weight = jnp.asarray(np.random.default_rng(5).normal(size=tape.shape), jnp.float32)

    def hard(gates):
        return jnp.sum(weight * decide(gates, tape).decision)

    def soft(gates):
        total = 0.0
        for i in range(AGENTS):
            params = jax.tree.map(lambda x, i=i: x[i], gates)["params"]
            noise = jnp.log(tape[:, i]) - jnp.log(1 - tape[:, i])
            logits = learning.mlp(params, observation[i], jnp) + noise
            sample = learning.sigmoid(logits / temperature, jnp)
            total = total + jnp.sum(weight[:, i] * sample)
        return total

    actual, expected = jit(jax.grad(hard))(gates), jit(jax.grad(soft))(gates)
    assert size(actual) > 1
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("edge", [0.0, np.float32(1) - np.finfo(np.float32).epsneg])
def test_extreme_random_numbers_give_finite_gates(edge):
    """log(0) in the straight-through noise."""
    decide, gates, _, tape = gated("stgs", Mode.REPLAY, draws=2)
    tape = jnp.full_like(tape, edge)
    opened = jit(jax.value_and_grad(lambda g, tape: jnp.sum(decide(g, tape).decision)))
    value, gradient = opened(gates, tape)
    assert float(value) in (0.0, float(tape.size))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


@pytest.mark.parametrize("method", ["reinforce", "meta"])
def test_score_function_gates_are_data(method):
    """A sample that carries a derivative would let the policy loss train the gates."""
    decide, gates, _, tape = gated(method, Mode.REPLAY, draws=5)

    def both(gates):
        answer = decide(gates, tape)
        return jnp.sum(answer.decision) + jnp.sum(answer.probability)

    assert is_zero(jit(jax.grad(both))(gates))


def test_log_probability_and_entropy_at_hand_values():
    """Also where the probability rounds to 0 or 1."""
    logits = jnp.asarray([0.0, np.log(3.0), 200.0, -200.0])
    np.testing.assert_allclose(
        log_probability(logits, jnp.ones(4)), [np.log(0.5), np.log(0.75), 0, -200], atol=1e-6
    )
    np.testing.assert_allclose(
        log_probability(logits, jnp.zeros(4)), [np.log(0.5), np.log(0.25), -200, 0], atol=1e-6
    )
    h = -0.75 * np.log(0.75) - 0.25 * np.log(0.25)
    np.testing.assert_allclose(entropy(logits), [np.log(2), h, 0, 0], atol=1e-6)
    assert np.isfinite(jax.vmap(jax.grad(entropy))(logits)).all()


def test_output_k_of_a_shared_gate_is_each_receivers_kth_other_agent():
    """Receivers that observe the same ask by place among the others, not by the sender's number."""
    rule = make_rule(small("meta_commnet"), 3, 5)
    gates = rule.init(jax.random.key(0)).gates
    alike = jnp.broadcast_to(jax.random.normal(jax.random.key(1), (5,)), (3, 5))
    logits = np.asarray(rule.logits(gates, alike))
    np.testing.assert_allclose(logits, np.broadcast_to(logits[0], logits.shape), rtol=1e-6)
    asked = np.asarray(fill_diagonal(jnp.asarray(logits)))
    first, second = logits[0]
    assert abs(first - second) > 1e-3
    expected = [[0, first, second], [first, 0, second], [first, second, 0]]
    np.testing.assert_allclose(asked, expected, rtol=1e-6)


def test_shared_gates_are_one_network():
    rule = make_rule(small("stgs", learner__share_parameters=True), AGENTS, WIDTH)
    gates = jit(rule.init)(jax.random.key(0)).gates
    logits = jit(rule.logits)(gates, jnp.ones((AGENTS, WIDTH)))
    np.testing.assert_array_equal(logits, jnp.broadcast_to(logits[0], logits.shape))


@pytest.mark.parametrize("method", LEARNED)
def test_the_price_of_open_edges_is_taken_off_the_reward(method):
    """Off the reward from which gates learn, an edge and step at a time."""
    rule = make_rule(small(method, gates__edge_cost=0.25), AGENTS, WIDTH)
    tau = made_up_trajectory(5, agents=AGENTS, width=WIDTH)
    opened = np.asarray(tau.gates.decision, float).sum(axis=(1, 2))
    assert len(set(opened)) > 1
    expected = np.asarray(tau.reward, float) - 0.25 * opened
    np.testing.assert_allclose(rule.priced_reward(tau), expected, rtol=1e-6)
