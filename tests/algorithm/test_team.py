"""The team: who can influence whom, what silence costs, and how memory is rebuilt."""

import itertools
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from core_cases import (
    acting,
    algorithm,
    assert_close,
    assert_same,
    hear,
    is_same,
    jit,
    play_keys,
    scattered,
    tape,
)
from jax.extend.core import jaxprs_in_params

from purejax_mgtopo.algorithm.rollout import rollout
from purejax_mgtopo.algorithm.types import Both, Mode
from purejax_mgtopo.methods import MESSAGES, TOPOLOGIES

TASK = "toy_follow_holder"  # N = 3


def parts(method, seed=1, **changes):
    """An algorithm, a policy and gates with no zero biases, and one observation."""
    made = algorithm(method, TASK, **changes)
    policy = scattered(jit(made.team.init)(jax.random.key(0)), seed, 0.1)
    # So few units that, without a push, all of an agent's may be dead.
    head = jax.tree_util.tree_map_with_path(
        lambda path, x: x + 2.0 if "bias" in str(path) and x.shape[-1] > 2 else x, policy.head
    )
    policy = policy.replace(head=head)
    gates = scattered(acting(made, 0), seed + 1)
    rng = np.random.default_rng(seed)
    shape = (made.env.num_agents, made.env.observation_size)
    return made, policy, gates, jnp.asarray(rng.normal(size=shape), jnp.float32)


def moving(made, number=0.0, mode=Mode.ROLLOUT):
    def act(policy, gates, observation):
        numbers, carry = tape(made, value=number), made.team.initial_carry()
        return made.team.step(policy, gates, observation, carry, numbers, mode)[0].action

    return act


def influence(act, policy, gates, observation):
    """Whether anything of o_j moves a_i, [i, j]."""
    slopes = jit(jax.jacrev(act, argnums=2))(policy, gates, observation)
    return np.abs(np.asarray(slopes)).sum((1, 3)) > 0


@pytest.mark.parametrize("messages", ["lstm", "commnet"])
def test_without_communication_nobody_influences_anybody(messages):
    made, policy, gates, observation = parts(f"none+{messages}")
    act = moving(made)
    np.testing.assert_array_equal(influence(act, policy, gates, observation), np.eye(3))
    before = jit(act)(policy, gates, observation)
    for j in range(3):
        after = np.asarray(jit(act)(policy, gates, observation.at[j].multiply(-2.0)))
        rest = np.arange(3) != j
        np.testing.assert_array_equal(after[rest], before[rest])
        assert np.any(after[j] != before[j])


@pytest.mark.parametrize("messages", ["lstm", "commnet"])
def test_with_full_communication_everybody_influences_everybody(messages):
    made, policy, gates, observation = parts(f"full+{messages}")
    np.testing.assert_array_equal(
        influence(moving(made), policy, gates, observation), np.ones((3, 3))
    )


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize("method", ["reinforce", "stgs", "meta"])
@pytest.mark.parametrize(("number", "open_"), [(0.0, True), (1 - 1e-6, False)])
def test_learned_gates_open_and_close_the_channel(method, number, open_):
    """Decisions that are reported but not applied; the tape's two ends force all edges."""
    made, policy, gates, observation = parts(method)
    number = 1 - number - 1e-6 if method == "stgs" else number  # its noise grows with the tape
    seen = influence(moving(made, number), policy, gates, observation)
    np.testing.assert_array_equal(seen, np.ones((3, 3)) if open_ else np.eye(3))


def test_a_receivers_action_differentiates_its_own_edges_only():
    """Straight-through: d a_i / d (gates of k) is zero for k != i, and not for k = i."""
    made, policy, gates, observation = parts("stgs")
    slopes = jit(jax.jacrev(moving(made, 0.5), argnums=1))(policy, gates, observation).rule
    bias = np.abs(np.asarray(slopes["params"]["Dense_2"]["bias"])).sum(1)  # [receiver, agent, edge]
    np.testing.assert_array_equal(bias > 0, np.repeat(np.eye(3)[:, :, None], 2, axis=2))


def dots(jaxpr):
    """Output shapes of all matrix products, nested programs included."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            yield tuple(equation.outvars[0].aval.shape)
        for inner in jaxprs_in_params(equation.params):
            yield from dots(inner)


def test_silence_computes_no_lstm():
    """Reading nothing must cost nothing: no product as wide as the LSTM's four gates."""

    def widest(method):
        made, policy, gates, observation = parts(method)
        program = jax.make_jaxpr(moving(made))(policy, gates, observation)
        return max(shape[-1] for shape in dots(program.jaxpr))

    hidden = algorithm("none", TASK).experiment.learner.hidden
    assert widest("none") == hidden
    assert widest("full") == 4 * hidden


@pytest.mark.parametrize("method", ["full", "commnet"])
@pytest.mark.parametrize("latency", [0, 1])
def test_latency_delivers_the_previous_message(method, latency):
    """With latency 1, this step's o_j moves a_i in the next step only, and step 0 hears silence."""
    made, policy, gates, first = parts(method, message__latency=latency)

    def two_steps(first, second):
        numbers, carry = tape(made), made.team.initial_carry()
        one, carry = made.team.step(policy, gates, first, carry, numbers, Mode.ROLLOUT)
        two, _ = made.team.step(policy, gates, second, carry, numbers, Mode.ROLLOUT)
        return one.action, two.action

    slopes = jit(jax.jacrev(two_steps, argnums=(0, 1)))(first, -0.5 * first)
    (now, _), (later, at_once) = jax.tree.map(
        lambda x: np.abs(np.asarray(x)).sum((1, 3)) > 0, slopes
    )
    everybody, oneself = np.ones((3, 3), bool), np.eye(3, dtype=bool)
    np.testing.assert_array_equal(now, oneself if latency else everybody)
    np.testing.assert_array_equal(at_once, oneself if latency else everybody)
    # From the first step to the second: others' messages, never one's own observation.
    np.testing.assert_array_equal(later, everybody & ~oneself if latency else 0 * oneself)


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize("method", ["full", "commnet", "full+commnet"])
@pytest.mark.parametrize("latency", [0, 1])
def test_recall_acts_as_the_rollout_did(method, latency):
    """A window that forgets the message before it, or that carries one over an episode's start."""
    made, policy, gates, _ = parts(method, message__latency=latency)
    memory = made.parts.memory
    assert memory == latency

    def both(policy, key):
        tau = rollout(made.env, made.team, policy, gates, play_keys(key), Mode.EVAL_SAMPLED)
        steps = made.env.horizon
        when = jnp.arange(steps)[:, None] + jnp.arange(-memory, 1)
        # Before the start stands what must not matter: the last observation.
        window = tau.observation[when % (steps + 1)]
        begins = (when <= 0).astype(float)
        numbers = tape(made, (steps, memory + 1))
        recalled = made.team.recall(policy, gates, window, begins, Both(), numbers, Mode.REPLAY)
        return tau.action, recalled.action

    played, recalled = jit(both)(policy, jax.random.key(4))
    assert_close(recalled, played, rtol=1e-5, atol=1e-6)
    assert np.std(np.asarray(played), axis=0).min() > 1e-3


OTHERS = {
    *(("ic3net", "commnet"), ("magic", "gat"), ("stgs", "tarmac")),
    *(("right", "dial"), ("full", "rial"), ("gated_acml", "acml"), ("vbc", "vbc")),
    *(("i2c", "lstm"), ("atoc", "atoc"), ("commformer", "gat"), ("full", "atoc")),
}
PAPERS = {"none", "full", "reinforce", "stgs", "meta", "lstm", "commnet"}
GRID = [
    pair if set(pair) <= PAPERS or pair in OTHERS else pytest.param(*pair, marks=pytest.mark.slow)
    for pair in itertools.product(TOPOLOGIES, MESSAGES)
]
"""Every rule with every interpreter; those of other papers in one pair each, and all others where time allows."""


def part_of(template, tree):
    """Those leaves of `tree` that `template` has as well, by their paths."""
    known = dict(jax.tree_util.tree_leaves_with_path(tree))
    return jax.tree_util.tree_map_with_path(lambda path, _: known[path], template)


def two_actions(made, lead, mode=Mode.ROLLOUT):
    """What a team does at the first two steps of an episode, for a batch of them."""

    def act(policy, acting, first, second):
        numbers, carry = tape(made, lead, 0.5), made.team.initial_carry(lead)
        one, carry = made.team.step(policy, acting, first, carry, numbers, mode)
        two, _ = made.team.step(policy, acting, second, carry, numbers, mode)
        return one.action, two.action

    return act


def forced(monkeypatch, made, openness):
    """The rule's decisions replaced by one for all edges."""
    gate = made.team.rule.gate

    def decide(*inputs):
        gates, carry = gate(*inputs)
        return replace(gates, decision=jnp.full_like(gates.decision, openness)), carry

    monkeypatch.setattr(made.team.rule, "gate", decide)


def observations(made, lead, seed):
    shape = (*lead, made.env.num_agents, made.env.observation_size)
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def silent(messages, latency, policy):
    """A team of the same interpreter that nobody talks in, and its share of the policy's parameters."""
    made = algorithm(f"none+{messages}", TASK, message__latency=latency)
    return made, part_of(jax.eval_shape(made.team.init, jax.random.key(0)), policy)


def mute(acting):
    """What a team in which nobody talks acts with, of what another does."""
    return Both((), acting.interpreter)


@pytest.mark.quick_cases(6)
@pytest.mark.parametrize(
    ("latency", "lead"),
    [
        (0, ()),
        (1, (64,)),
        *(pytest.param(*x, marks=pytest.mark.slow) for x in ((0, (64,)), (1, ()))),
    ],
)
@pytest.mark.parametrize(("topology", "messages"), GRID)
def test_closing_all_edges_is_exactly_silence(monkeypatch, topology, messages, latency, lead):
    """A bias that is heard where nothing is, zeros that stand for no message; bit for bit, whatever is sent."""
    made, policy, gates, _ = parts(f"{topology}+{messages}", message__latency=latency)
    forced(monkeypatch, made, 0.0)
    steps = [observations(made, lead, seed) for seed in (5, 6)]
    act = jit(two_actions(made, lead))
    closed = act(policy, gates, *steps)
    alone, own = silent(messages, latency, policy)
    assert_same(closed, jit(two_actions(alone, lead))(own, mute(gates), *steps))
    for j in range(made.env.num_agents):
        others = np.arange(made.env.num_agents) != j
        elsewhere = [x.at[..., j, :].multiply(-3.0) for x in steps]
        for before, after in zip(closed, act(policy, gates, *elsewhere), strict=True):
            assert_same(after[..., others, :], before[..., others, :])
            assert not is_same(after[..., j, :], before[..., j, :])


@pytest.mark.quick_cases(5)
@pytest.mark.parametrize("lead", [pytest.param((), marks=pytest.mark.slow), (64,)])
@pytest.mark.parametrize(
    ("topology", "messages"), [pair for pair in GRID if "none" not in getattr(pair, "values", pair)]
)
def test_with_latency_the_first_step_is_exactly_silent_over_open_edges(
    monkeypatch, topology, messages, lead
):
    """Nothing was sent before it, which is not the same as a message of zeros: an LSTM has biases."""
    made, policy, gates, _ = parts(f"{topology}+{messages}", message__latency=1)
    forced(monkeypatch, made, 1.0)
    first, second = (observations(made, lead, seed) for seed in (5, 6))
    act = jit(two_actions(made, lead))
    opened = act(policy, gates, first, second)
    alone, own = silent(messages, 1, policy)
    expected = jit(two_actions(alone, lead))(own, mute(gates), first, second)
    assert_same(opened[0], expected[0])
    assert not is_same(opened[1], expected[1])
    if messages == "lstm":
        params, nothing = policy.interpreter, jnp.zeros_like(first)
        edges = jnp.ones((*lead, made.env.num_agents, made.env.num_agents - 1))
        assert np.all(hear(made.team.interpreter, params, first, edges, nothing) != 0)
    # As when a window is replayed that begins with an episode, whatever lies before it.
    window = jnp.stack([second, first], axis=-3).reshape(-1, 2, *first.shape[-2:])
    begins = jnp.broadcast_to(jnp.asarray([0.0, 1.0]), window.shape[:2])
    numbers = tape(made, window.shape[:2], 0.5)
    recall = partial(made.team.recall, mode=Mode.REPLAY)
    kept = made.parts.kept(made.parts.initial_carry(begins.shape))
    recalled = jit(recall)(policy, gates, window, begins, kept, numbers)
    assert_close(recalled.action.reshape(opened[0].shape), opened[0], rtol=1e-5, atol=1e-6)
