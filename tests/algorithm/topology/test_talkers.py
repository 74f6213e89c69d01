"""Broadcast gates (IC3Net) and pairwise gates (MAGIC)."""

from functools import partial

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest
from core_cases import (
    algorithm,
    assert_close,
    both,
    is_zero,
    jit,
    learn,
    made_up_trajectory,
    make_rule,
    scattered,
    sight,
    small,
)
from oracles import learning
from scipy.stats import binomtest

from purejax_mgtopo.algorithm.edges import drop_diagonal, fill_diagonal
from purejax_mgtopo.algorithm.networks import apply
from purejax_mgtopo.algorithm.part import Moment
from purejax_mgtopo.algorithm.topology.ic3net import Talk
from purejax_mgtopo.algorithm.types import Both, Mode

AGENTS, WIDTH, DRAWS = 3, 4, 20_000


def made(method, shared=False, seed=1, **changes):
    rule = make_rule(small(method, learner__share_parameters=shared, **changes), AGENTS, WIDTH)
    state = jit(rule.init)(jax.random.key(0))
    return rule, state.replace(gates=scattered(state.gates, seed))


def feature(seed=2, batch=()):
    return jnp.asarray(
        np.random.default_rng(seed).normal(size=(*batch, AGENTS, WIDTH)), jnp.float32
    )


def odds(gates, row, shared):
    """Log-odds to talk, agent by agent."""
    layers = [gates if shared else jax.tree.map(lambda x, i=i: x[i], gates) for i in range(AGENTS)]
    return np.array([learning.dense(layer["params"], row[i])[0] for i, layer in enumerate(layers)])


@pytest.mark.parametrize("shared", [False, True])
def test_an_agent_talks_to_all_or_to_nobody_as_often_as_it_should(shared):
    """Rows for columns, one coin for all agents."""
    rule, state = made("ic3net", shared)
    row = feature()
    tape = jax.random.uniform(jax.random.key(3), (DRAWS, *rule.tape_shape))
    everywhere = sight(jnp.broadcast_to(row, (DRAWS, AGENTS, WIDTH)))
    gates, _ = rule.gate(state.gates, everywhere, Moment((), tape, Mode.ROLLOUT))
    square = np.asarray(fill_diagonal(gates.decision))
    talks = np.asarray(gates.aux.talks)
    for j in range(AGENTS):
        for i in range(AGENTS):
            if i != j:
                np.testing.assert_array_equal(square[:, i, j], talks[:, j])
    expected = learning.sigmoid(
        odds(jax.tree.map(np.asarray, state.gates), np.asarray(row), shared)
    )
    for j in range(AGENTS):
        assert binomtest(int(talks[:, j].sum()), DRAWS, float(expected[j])).pvalue > 1e-3
    assert np.abs(np.corrcoef(talks.T) - np.eye(AGENTS)).max() < 0.04
    greedy, _ = rule.gate(state.gates, everywhere, Moment((), tape, Mode.EVAL_GREEDY))
    np.testing.assert_array_equal(greedy.aux.talks[0], expected > 0.5)
    chance = np.asarray(fill_diagonal(gates.probability))[0]
    np.testing.assert_allclose(chance, (1 - np.eye(AGENTS)) * expected, rtol=1e-5)


def talked(seed=3, steps=5):
    """An episode in which columns are constant."""
    tau = made_up_trajectory(seed, steps, AGENTS, WIDTH)
    rng = np.random.default_rng(seed)
    talks = jnp.asarray(rng.integers(0, 2, (steps, AGENTS)), float)
    columns = drop_diagonal(jnp.broadcast_to(talks[:, None, :], (steps, AGENTS, AGENTS)))
    gates = tau.gates.replace(decision=columns, aux=Talk(talks, ()))
    features = jnp.asarray(rng.normal(size=(steps, AGENTS, WIDTH)), float)
    return tau.replace(gates=gates, feature=features)


def test_broadcast_gates_learn_by_the_score_function():
    """One score for each talker, not for each edge; the price is that of edges. Central differences in float64."""
    with jax.enable_x64(True):
        rule, state = made("ic3net", gates__edge_cost=0.1, gates__learning_rate=0.05)
        tau = talked()
        new, measures, _ = learn(rule, state, tau)
        priced = np.asarray(tau.reward) - 0.1 * np.asarray(tau.gates.decision).sum((1, 2))
        advantage, _ = rule.baseline.advantage(state.baseline, tau, jnp.asarray(priced))

        def score(gates):
            total = 0.0
            for t in range(5):
                chance = learning.sigmoid(odds(gates, np.asarray(tau.feature[t]), False))
                taken = np.asarray(tau.gates.aux.talks[t])
                log = np.log(np.where(taken > 0, chance, 1 - chance))
                total += log.sum() * float(advantage[t])
            return total / 5

        host = jax.tree.map(np.asarray, state.gates)
        flat, rebuild = jax.flatten_util.ravel_pytree(host)
        slope = np.zeros(len(flat))
        for i in range(len(flat)):
            step = np.zeros(len(flat))
            step[i] = 1e-6
            ends = [score(jax.tree.map(np.asarray, rebuild(flat + s))) for s in (step, -step)]
            slope[i] = (ends[0] - ends[1]) / 2e-6
        expected = flat + 0.05 * slope / np.sqrt(0.1 * slope**2 + 1e-8)
        assert_close(jax.flatten_util.ravel_pytree(new.gates)[0], expected, rtol=1e-5, atol=1e-7)
        assert measures["gate_gradient_norm"] == pytest.approx(np.linalg.norm(slope), rel=1e-6)


def test_no_gradient_passes_from_a_broadcast_gate_into_features_or_back():
    rule, state = made("ic3net")
    tape = jnp.full(rule.tape_shape, 0.5)

    def opened(gates, seen):
        answer, _ = rule.gate(gates, sight(seen), Moment((), tape, Mode.REPLAY))
        return jnp.sum(answer.decision) + jnp.sum(answer.probability)

    assert is_zero(jax.grad(opened, argnums=(0, 1))(state.gates, feature()))
    tau = talked()
    score = partial(rule.mean_talk_score, state.gates, advantage=tau.reward)
    assert is_zero(jax.grad(lambda f: score(tau.replace(feature=f)))(tau.feature))


def test_who_is_silent_does_not_hear_if_told_so():
    """Rows and columns of the silent are closed; who talks hears those who talk."""
    rule, state = made("ic3net", member__ic3net__mute_silent=True)
    tape = jax.random.uniform(jax.random.key(5), (50, *rule.tape_shape))
    everywhere = sight(jnp.broadcast_to(feature(), (50, AGENTS, WIDTH)))
    gates, _ = rule.gate(state.gates, everywhere, Moment((), tape, Mode.ROLLOUT))
    talks = np.asarray(gates.aux.talks)
    both = talks[:, :, None] * talks[:, None] * (1 - np.eye(AGENTS))
    np.testing.assert_array_equal(fill_diagonal(gates.decision), both)
    assert 0 < both.sum() < talks.sum() * (AGENTS - 1)


def steps_of(made, count=4, seed=3):
    """A team's first steps, with what each of them was told; and the policy."""
    policy = scattered(jit(made.team.init)(jax.random.key(0)), 1)
    gates = scattered(jit(made.team.rule.init)(jax.random.key(0)).gates, 2)
    rng = np.random.default_rng(seed)
    rows = jnp.asarray(rng.normal(size=(count, AGENTS, made.env.observation_size)), jnp.float32)
    numbers = made.parts.tape(both(jax.random.key(seed)), (count,))

    @jit
    def run(policy, gates):
        carry, steps = made.team.initial_carry(), []
        for t in range(count):
            now = jax.tree.map(lambda x, t=t: x[t], numbers)
            step, carry = made.team.step(policy, Both(gates), rows[t], carry, now, Mode.ROLLOUT)
            steps.append((step, carry.heard))
        return steps

    return run(policy, gates), gates


@pytest.mark.parametrize("heard", [False, True])
@pytest.mark.parametrize("latency", [0, 1])
def test_a_decision_goes_with_its_message_and_reads_what_it_should(latency, heard):
    """A message of the step before passes if its sender wanted to talk then, not now; at the start nobody does."""
    told = {"member__ic3net__gate_input": "heard"} if heard else {}
    made_ = algorithm("ic3net", "toy_follow_holder", message__latency=latency, **told)
    assert made_.replay.memory == latency + heard
    steps, gates = steps_of(made_)
    before = np.zeros(AGENTS)
    z = np.zeros((AGENTS, 8))
    for step, after in steps:
        talks = np.asarray(step.gates.aux.talks)
        opened = before if latency else talks
        square = np.asarray(fill_diagonal(step.gates.decision))
        np.testing.assert_array_equal(square, (1 - np.eye(AGENTS)) * opened)
        read = z if heard else np.asarray(step.seen.feature)
        expected = learning.sigmoid(odds(jax.tree.map(np.asarray, gates), read, True))
        chance = np.asarray(fill_diagonal(step.gates.probability))
        if not latency:
            np.testing.assert_allclose(chance, (1 - np.eye(AGENTS)) * expected, rtol=1e-5)
        if heard:
            np.testing.assert_array_equal(step.gates.aux.told, z.astype(np.float32))
            z = np.asarray(after)
            assert np.any(z)
        before = talks
    assert len({tuple(np.asarray(step.gates.aux.talks)) for step, _ in steps}) > 1


@pytest.mark.parametrize("heard", ["feature", "heard"])
def test_what_is_replayed_is_what_was_played(heard):
    """Gates that read what was heard see it in windows too, if these begin where the episode does."""
    made_ = algorithm(
        "ic3net", "toy_follow_holder", message__latency=1, member__ic3net__gate_input=heard
    )
    (steps, gates), length = steps_of(made_), made_.replay.memory + 1
    policy = scattered(jit(made_.team.init)(jax.random.key(0)), 1)
    rows = jnp.stack([step.seen.observation for step, _ in steps[:length]])[None]
    numbers = jax.tree.map(
        lambda x: x[:length][None], made_.parts.tape(both(jax.random.key(3)), (4,))
    )
    begins = jnp.zeros((1, length)).at[0, 0].set(1.0)
    recall = jit(partial(made_.team.recall, mode=Mode.ROLLOUT))
    done = recall(policy, Both(gates), rows, begins, Both(), numbers)
    np.testing.assert_array_equal(done.gates.decision[0], steps[length - 1][0].gates.decision)
    np.testing.assert_allclose(done.action[0], steps[length - 1][0].action, rtol=1e-5, atol=1e-6)


def pair_by_hand(params, rows):
    net = jax.tree.map(np.asarray, params)["params"]
    value = rows @ net["Dense_0"]["kernel"]
    receiver, sender = (value @ net[f"Dense_{k}"]["kernel"][:, 0] for k in (1, 2))
    encoded = []
    for i in range(AGENTS):
        raw = receiver[i] + sender
        weight = np.exp(np.where(raw > 0, raw, 0.2 * raw))
        mixed = weight @ value / weight.sum()
        encoded.append(np.where(mixed > 0, mixed, np.expm1(mixed)))
    logits = np.zeros((AGENTS, AGENTS))
    for i in range(AGENTS):
        for j in range(AGENTS):
            if i != j:
                two = learning.mlp(net["MLP_0"], np.concatenate([encoded[i], encoded[j]]))
                logits[i, j] = two[1] - two[0]
    return logits


def test_pairwise_gates_equal_the_definition_and_follow_their_agents():
    rule, state = made("magic", shared=True)
    row = feature()
    tape = jnp.full(rule.tape_shape, 0.5)  # no noise: an edge is open where its logit is positive
    gates, _ = rule.gate(state.gates, sight(row), Moment((), tape, Mode.REPLAY))
    expected = pair_by_hand(state.gates, np.asarray(row))
    off = ~np.eye(AGENTS, dtype=bool)
    chance = np.asarray(fill_diagonal(gates.probability))
    np.testing.assert_allclose(chance[off], learning.sigmoid(expected)[off], rtol=1e-4)
    np.testing.assert_array_equal(
        np.asarray(fill_diagonal(gates.decision))[off] > 0.5, expected[off] > 0
    )
    order = np.array([2, 0, 1])
    renamed, _ = rule.gate(state.gates, sight(row[order]), Moment((), tape, Mode.REPLAY))
    np.testing.assert_allclose(
        fill_diagonal(renamed.probability), chance[np.ix_(order, order)], rtol=1e-5, atol=1e-6
    )


def test_pairwise_gates_are_binary_and_have_the_derivative_of_the_soft_ones():
    rule, state = made("magic", shared=True)
    row = feature(batch=(50,))
    tape = jax.random.uniform(jax.random.key(5), (50, *rule.tape_shape), minval=0.01, maxval=0.99)
    aim = jnp.asarray(np.random.default_rng(6).normal(size=tape.shape), jnp.float32)

    def worth(gates):
        answer, _ = rule.gate(gates, sight(row), Moment((), tape, Mode.REPLAY))
        return jnp.sum(aim * answer.decision), answer.decision

    def soft(gates):
        noise = jnp.log(tape) - jnp.log1p(-tape)
        return jnp.sum(aim * jax.nn.sigmoid(apply(rule._pairs, gates, row)[0] + noise))

    slope, decision = jax.grad(worth, has_aux=True)(state.gates)
    assert set(np.unique(np.asarray(decision))) == {0.0, 1.0}
    assert_close(slope, jax.grad(soft)(state.gates), rtol=1e-4, atol=1e-5)
    assert not is_zero(slope)
