"""ExpoComm's channel: against loops over agents, how far news travel, and what grounds messages."""

import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from core_cases import (
    algorithm,
    both,
    context,
    jit,
    made_up_trajectory,
    scattered,
    sizes,
    small,
)
from oracles import learning

from purejax_mgtopo.algorithm.edges import drop_diagonal
from purejax_mgtopo.algorithm.messages.relay import Relay
from purejax_mgtopo.algorithm.part import Moment
from purejax_mgtopo.algorithm.types import Both, Gates, Mode, Seen

AGENTS, WIDTH, HIDDEN = 3, 4, 8
MASK = np.array([[0, 1, 1], [1, 0, 0], [0, 0, 0]], np.float32)


def made(latency=1, shared=True, **changes):
    experiment = small(
        "expocomm", message__latency=latency, learner__share_parameters=shared, **changes
    )
    net = Relay(experiment, sizes(AGENTS, WIDTH))
    return net, scattered(jit(net.init_params)(jax.random.key(0)), 1)


def by_hand(params, observation, own, heard):
    """h, and the next message, of one agent that hears these messages."""
    layer = {name: p["params"] for name, p in params.items()}
    h = np.tanh(learning.dense(layer["encoder"], observation))
    told = np.zeros(HIDDEN)
    if heard:
        asked = learning.dense(layer["query"], h) @ layer["key"]["kernel"]
        score = np.array([asked @ m for m in heard]) / np.sqrt(32)
        weight = np.exp(score - score.max())
        told = (weight / weight.sum()) @ np.stack(heard) @ layer["value"]["kernel"]
    read = np.maximum(learning.dense(layer["processor"], np.concatenate([h, told])), 0)
    gate = layer["cell"]
    reset, update = (
        learning.sigmoid(learning.dense(gate[f"i{k}"], read) + own @ gate[f"h{k}"]["kernel"])
        for k in "rz"
    )
    new = np.tanh(learning.dense(gate["in"], read) + reset * learning.dense(gate["hn"], own))
    return h, (1 - update) * new + update * own


@pytest.mark.parametrize("latency", [0, 1])
@pytest.mark.parametrize("shared", [True, False])
def test_it_equals_the_definition_agent_by_agent(shared, latency):
    """Edges transposed, weights over closed ones, somebody else's memory, a message of before hearing."""
    net, params = made(latency, shared)
    host = jax.tree.map(np.asarray, params)
    each = [host if shared else jax.tree.map(lambda x, i=i: x[i], host) for i in range(AGENTS)]
    rng = np.random.default_rng(3)
    observation, own, sent = (
        rng.normal(size=(AGENTS, width)).astype(np.float32) for width in (WIDTH, HIDDEN, HIDDEN)
    )
    edges = drop_diagonal(jnp.asarray(MASK))
    now = Moment(jnp.asarray(own), jnp.zeros((AGENTS, 0)), Mode.ROLLOUT)
    encoded = net.encode(params, (), jnp.asarray(observation), now)
    offered = [by_hand(each[i], observation[i], own[i], [])[1] for i in range(AGENTS)]
    np.testing.assert_allclose(encoded.message, offered, rtol=1e-4, atol=1e-5)
    arrived = sent if latency else np.stack(offered)
    seen = Seen(
        jnp.asarray(observation), encoded.feature, encoded.message, jnp.asarray(arrived), ()
    )
    heard = net.hear(params, (), seen, Gates(edges, edges), now)
    for i in range(AGENTS):
        those = [arrived[j] for j in range(AGENTS) if MASK[i, j]]
        h, message = by_hand(each[i], observation[i], own[i], those)
        np.testing.assert_allclose(heard.z[i], np.concatenate([h, message]), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(heard.carry[i], message, rtol=1e-4, atol=1e-5)
    if latency:
        np.testing.assert_array_equal(heard.message, heard.carry)
    else:
        assert heard.message is None


@functools.cache
def travelled():
    """Which agent's first observation moves whose action, step by step, at N = 6 over ExpoComm's graph."""
    algo = algorithm("expocomm", "navigation_N6_l1")
    policy = scattered(jit(algo.team.init)(jax.random.key(0)), 1)
    acting = algo.parts.acting(jit(algo.parts.init)(both(jax.random.key(1))))
    rng = np.random.default_rng(2)
    rows = jnp.asarray(rng.normal(size=(4, 6, algo.env.observation_size)), jnp.float32)
    tape = algo.parts.tape(both(jax.random.key(3)), (4,))

    def actions(first):
        carry, done = algo.team.initial_carry(), []
        for t in range(4):
            row = first if t == 0 else rows[t]
            now = jax.tree.map(lambda x, t=t: x[t], tape)
            step, carry = algo.team.step(policy, acting, row, carry, now, Mode.EVAL_GREEDY)
            done.append(step.action)
        return jnp.stack(done)

    return np.abs(np.asarray(jit(jax.jacrev(actions))(rows[0]))).sum((2, 4)) > 0  # [T, N, N]


def test_news_travel_an_edge_a_step_until_everybody_has_them():
    """An agent's own observation alone was sent once: who is two edges away never heard of it."""
    graph = np.eye(6, dtype=bool)
    for hop in (1, 2, 4):
        graph |= np.roll(np.eye(6, dtype=bool), hop, axis=1)
    known = np.eye(6, dtype=bool)
    for t, moved in enumerate(travelled()):
        np.testing.assert_array_equal(moved, known, err_msg=f"step {t}")
        known = (graph.astype(int) @ known) > 0
    assert not travelled()[1].all() and travelled()[2].all()


def test_a_replayed_window_travels_as_far_as_it_is_long():
    """From an episode's start it is what was played; what is older than the window is forgotten."""
    algo = algorithm("expocomm", "toy_follow_holder", member__relay__window=3)
    assert algo.replay.memory == 2
    policy = scattered(jit(algo.team.init)(jax.random.key(0)), 1)
    acting = algo.parts.acting(jit(algo.parts.init)(both(jax.random.key(1))))
    rng = np.random.default_rng(2)
    rows = jnp.asarray(rng.normal(size=(4, AGENTS, algo.env.observation_size)), jnp.float32)
    tape = algo.parts.tape(both(jax.random.key(3)), (4,))

    @jit
    def played(rows):
        carry, done = algo.team.initial_carry(), []
        for t in range(4):
            now = jax.tree.map(lambda x, t=t: x[t], tape)
            step, carry = algo.team.step(policy, acting, rows[t], carry, now, Mode.ROLLOUT)
            done.append(step.action)
        return done

    @jit
    def recalled(rows, begins):
        numbers = jax.tree.map(lambda x: x[None, :3], tape)
        return algo.team.recall(
            policy, acting, rows[None], begins[None], Both(), numbers, Mode.REPLAY
        ).action[0]

    done, start = played(rows), jnp.array([1.0, 0.0, 0.0])
    np.testing.assert_allclose(recalled(rows[:3], start), done[2], rtol=1e-5, atol=1e-6)
    later = recalled(rows[1:], 0 * start)
    assert not np.allclose(later, done[3], atol=1e-5)
    np.testing.assert_array_equal(later, recalled(rows[1:], start))


def test_messages_are_grounded_by_what_everybody_sees():
    """A prediction of oneself alone, of another step, a sum for a mean; central differences in float64."""
    with jax.enable_x64(True):
        net, params = made()
        state = jit(net.init)(jax.random.key(5))
        state = state.replace(params=scattered(state.params, 6))
        tau = made_up_trajectory(0, 5, AGENTS, WIDTH)
        sent = jnp.asarray(np.random.default_rng(7).normal(size=(5, AGENTS, HIDDEN)))
        tau = tau.replace(sent=sent)
        slope = jax.tree.map(jnp.ones_like, state.params)
        new, measures, _ = net.learn(state, tau, replace(context(), policy_gradient=slope))
        host, error = jax.tree.map(np.asarray, state.params)["params"], []
        for t in range(5):
            joined = np.asarray(tau.observation[t]).reshape(-1)
            for i in range(AGENTS):
                error.append((learning.mlp(host, np.asarray(sent[t, i])) - joined) ** 2)
        assert measures["grounding_error"] == pytest.approx(np.mean(error), rel=1e-6)
        for old, moved in zip(
            jax.tree.leaves(state.params), jax.tree.leaves(new.params), strict=True
        ):
            np.testing.assert_allclose(old - moved, 1e-3, rtol=1e-4)  # Adam's first step


def test_what_is_not_to_be_grounded_has_no_predictor():
    net, _ = made(member__relay__auxiliary=0.0)
    state = net.init(jax.random.key(0))
    assert state == () and net.acting(state) == ()
    told = net.learn(state, made_up_trajectory(0, 5, AGENTS, WIDTH), context())
    assert told.state == () and told.measures["grounding_error"] == 0


def test_the_policy_loss_has_the_weighted_error_besides():
    """Of what is sent, after hearing."""
    losses = []
    for weight in (0.0, 0.5):
        algo = algorithm("expocomm", "toy_follow_holder", member__relay__auxiliary=weight)
        policy = scattered(jit(algo.team.init)(jax.random.key(0)), 1)
        own = jit(algo.parts.init)(both(jax.random.key(1)))
        rows = jax.random.normal(jax.random.key(2), (4, AGENTS, algo.env.observation_size))
        start = algo.team.initial_carry((4,))
        tape = algo.parts.tape(both(jax.random.key(3)), (4,))
        carry = start  # in the second step something arrives
        for _ in range(2):
            step, carry = algo.team.step(
                policy, algo.parts.acting(own), rows, carry, tape, Mode.REPLAY
            )
        net, acting = algo.team.interpreter, algo.parts.acting(own).interpreter
        losses.append(float(net.penalty(acting, step, lambda o, a: a)))
        if weight:
            error = net._error(acting, step.sent, rows)
            assert losses[-1] == pytest.approx(0.5 * float(error), rel=1e-6)
    assert losses[0] == 0 and losses[1] > 0
