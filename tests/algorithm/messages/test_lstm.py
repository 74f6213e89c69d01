"""The message LSTM equals one that runs over the selected senders only."""

import functools
import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from core_cases import hear, jit, scattered, sizes, small
from oracles import learning

from purejax_mgtopo.algorithm.messages.lstm import ObservationLSTM
from purejax_mgtopo.algorithm.part import Moment
from purejax_mgtopo.algorithm.types import Edges, Mode

AGENTS, WIDTH, HIDDEN = 4, 3, 8
MASKS = np.array(list(itertools.product((0.0, 1.0), repeat=AGENTS - 1)), np.float32)


def make(edges=Edges.ANY, **changes):
    return ObservationLSTM(small(**changes), sizes(AGENTS, WIDTH), edges)


def problem(shared):
    """An interpreter, its parameters, observations, and every mask for every agent: [8, N, N-1]."""
    interpreter = make(learner__share_parameters=shared)
    params = scattered(jit(interpreter.init_params)(jax.random.key(0)), 1)
    # Each agent's rows come in another order, so that no two agents have the same mask at once.
    edges = np.stack([np.roll(MASKS, i, axis=0) for i in range(AGENTS)], axis=1)
    rng = np.random.default_rng(2)
    observation = rng.normal(size=(len(MASKS), AGENTS, WIDTH)).astype(np.float32)
    return interpreter, params, jnp.asarray(observation), jnp.asarray(edges)


def weights(params, agent, shared):
    one = params if shared else jax.tree.map(lambda x: x[agent], params)
    return learning.in_parts(one["params"], WIDTH)


def selected(observation, edges, agent):
    """What reaches the agent: senders in ascending index."""
    senders = [j for j in range(AGENTS) if j != agent]
    return [observation[j] for j, edge in zip(senders, edges[agent], strict=True) if edge]


@pytest.mark.parametrize("shared", [False, True])
def test_every_mask_equals_an_explicit_gather(shared):
    """A closed edge that still moves the cell, a wrong order, another agent's weights."""
    interpreter, params, observation, edges = problem(shared)
    heard = jit(functools.partial(hear, interpreter))(params, observation, edges)
    observation, edges = np.asarray(observation), np.asarray(edges)
    for b, i in np.ndindex(len(MASKS), AGENTS):
        expected = learning.lstm_over(
            weights(params, i, shared), selected(observation[b], edges[b], i)
        )
        np.testing.assert_allclose(heard[b, i], expected, rtol=1e-4, atol=1e-6)
        if not edges[b, i].any():
            np.testing.assert_array_equal(heard[b, i], np.zeros(HIDDEN))


def test_it_equals_flax_with_the_same_weights():
    """A third party's cell: gates in another order, a bias added twice."""
    interpreter, params, observation, edges = problem(shared=False)
    heard = jit(functools.partial(hear, interpreter))(params, observation, edges)
    cell = nn.OptimizedLSTMCell(HIDDEN)

    def flax_weights(agent):
        ours = weights(params, agent, False)
        split = {
            "i": np.split(ours["input"]["kernel"], 4, axis=1),
            "b": np.split(ours["input"]["bias"], 4),
            "h": np.split(ours["recurrent"], 4, axis=1),
        }
        theirs = {}
        for at, gate in enumerate("ifgo"):
            theirs[f"i{gate}"] = {"kernel": split["i"][at]}
            theirs[f"h{gate}"] = {"kernel": split["h"][at], "bias": split["b"][at]}
        return {"params": theirs}

    step = jit(cell.apply)
    for agent in range(AGENTS):
        carry = (jnp.zeros(HIDDEN), jnp.zeros(HIDDEN))
        every = [j for j in range(AGENTS) if j != agent]
        whole = int(np.flatnonzero(np.asarray(edges)[:, agent].all(axis=1))[0])
        for j in every:
            carry, out = step(flax_weights(agent), carry, observation[whole, j])
        np.testing.assert_allclose(heard[whole, agent], out, rtol=1e-4, atol=1e-6)


def test_nothing_flows_back_to_senders_that_were_not_heard():
    """The derivative of i's output in o_j is zero exactly where the edge is closed, and i's own."""
    interpreter, params, observation, edges = problem(shared=False)
    call = functools.partial(hear, interpreter)

    def one(observation, edges):
        return jax.jacrev(lambda o: jnp.sum(call(params, o, edges), axis=-1))(observation)

    slopes = np.abs(np.asarray(jit(jax.vmap(one))(observation, edges))).sum(-1)
    for b, i in np.ndindex(len(MASKS), AGENTS):
        heard = np.insert(np.asarray(edges)[b, i], i, 0.0)
        np.testing.assert_array_equal(slopes[b, i] > 0, heard > 0)


def test_a_decision_carries_a_derivative():
    """The straight-through rule lives on this: d output / d edge, also where the edge is closed."""
    interpreter, params, observation, edges = problem(shared=False)
    call = functools.partial(hear, interpreter)

    def total(edges):
        return jnp.sum(jnp.square(call(params, observation, edges) + 1.0))

    slopes = np.asarray(jit(jax.grad(total))(edges))
    assert (slopes != 0).mean() > 0.9


@pytest.mark.parametrize("shared", [False, True])
def test_alone_equals_hearing_nobody(shared):
    interpreter, params, observation, edges = problem(shared)
    silence = jit(functools.partial(hear, interpreter))(params, observation, jnp.zeros_like(edges))
    alone = make(Edges.NEVER, learner__share_parameters=shared)
    assert alone.init_params(jax.random.key(0)) == ()
    assert hear(alone, (), observation, jnp.zeros_like(edges)) is None  # which stands for zeros
    assert not np.any(silence)


def test_the_feature_and_the_message_are_the_observation():
    """Rules that read features (IC3Net, ATOC) read something."""
    interpreter, params, observation, _ = problem(shared=False)
    assert (interpreter.feature_size, interpreter.message_size) == (WIDTH, WIDTH)
    encoded = interpreter.encode(params, (), observation, Moment((), observation, Mode.ROLLOUT))
    np.testing.assert_array_equal(encoded.feature, observation)
    np.testing.assert_array_equal(encoded.message, observation)


def test_agents_start_with_weights_of_their_own_and_a_forget_bias_of_one():
    params = jit(make(learner__hidden=64).init_params)(jax.random.key(0))["params"]
    kernels = np.asarray(params["kernel"])
    assert len(np.unique(kernels.reshape(AGENTS, -1), axis=0)) == AGENTS
    # LeCun normal, each part by its own rows: as two layers would start.
    for part, rows in ((kernels[:, :WIDTH], WIDTH), (kernels[:, WIDTH:], 64)):
        assert part.std() == pytest.approx(rows**-0.5, rel=0.05)
    bias = np.asarray(params["bias"]).reshape(AGENTS, 4, 64)
    expected = np.broadcast_to(np.array([0.0, 1.0, 0.0, 0.0])[:, None], (4, 64))
    np.testing.assert_array_equal(bias, np.broadcast_to(expected, (AGENTS, 4, 64)))
