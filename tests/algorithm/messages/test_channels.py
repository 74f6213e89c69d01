"""Channels of single methods, ACML's coordinator and VBC's combiner: against loops over agents."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from core_cases import hear, is_zero, jit, moment, scattered, sight, sizes, small
from oracles import learning

from purejax_mgtopo.algorithm.edges import drop_diagonal
from purejax_mgtopo.algorithm.messages.acml import Coordinated
from purejax_mgtopo.algorithm.messages.vbc import Combined
from purejax_mgtopo.algorithm.team import Step
from purejax_mgtopo.algorithm.types import Both, Gates, Mode

AGENTS, WIDTH, HIDDEN = 3, 4, 8
KINDS = {"acml": Coordinated, "vbc": Combined}


def unasked(observation, action):
    """Stands in for the critic where it is not to be asked."""
    raise AssertionError("the critic was asked")


def made(name, shared=False, **changes):
    experiment = small(f"full+{name}", learner__share_parameters=shared, **changes)
    net = KINDS[name](experiment, sizes(AGENTS, WIDTH))
    return net, scattered(jit(net.init_params)(jax.random.key(0)), 1)


def drawn(seed=3):
    rng = np.random.default_rng(seed)
    observation = jnp.asarray(rng.normal(size=(AGENTS, WIDTH)), jnp.float32)
    mask = np.array([[0, 1, 0], [1, 0, 1], [0, 0, 0]], np.float32)
    return observation, mask, drop_diagonal(jnp.asarray(mask))


@pytest.mark.parametrize("shared", [False, True])
def test_the_coordinator_equals_the_definition(shared):
    """Slots of the wrong sender, an own one that is heard, answers of another agent."""
    net, params = made("acml", shared)
    observation, mask, edges = drawn()
    z = np.asarray(hear(net, params, observation, edges))
    host = jax.tree.map(np.asarray, params)
    said = np.tanh(learning.dense(host["generator"]["params"], np.asarray(observation)))
    assert said.shape == (AGENTS, 64) and net.edge_bits == 64 * 32
    for i in range(AGENTS):
        slots = np.concatenate([mask[i, j] * said[j] for j in range(AGENTS)])
        hidden = np.maximum(slots @ host["trunk"]["params"]["kernel"], 0)
        expected = hidden @ host["answer"]["params"]["kernel"][i]
        np.testing.assert_allclose(z[i], expected, rtol=1e-4, atol=1e-5)
    assert not z[2].any()


@pytest.mark.parametrize("name", KINDS)
def test_gradients_reach_the_senders_network(name):
    net, params = made(name)
    observation, _, edges = drawn()

    def heard(params):
        now = moment(net, Mode.REPLAY)
        encoded = net.encode(params, (), observation, now)
        seen = sight(observation).replace(
            feature=encoded.feature, message=encoded.message, delivered=encoded.message
        )
        told = net.hear(params, (), seen, Gates(edges, edges), now)
        return jnp.sum(told.z if name == "acml" else told.offset)

    slope = jit(jax.grad(heard))(params)
    sender = slope["generator"] if name == "acml" else slope["message"]
    assert not is_zero(sender)
    if name == "vbc":  # agent 1 is heard by nobody but 0, agent 0 by 1, agent 2 by 1
        reached = [float(np.abs(sender["params"]["kernel"][j]).sum()) > 0 for j in range(AGENTS)]
        assert reached == [True, True, True]


def vbc_by_hand(each, observation, mask):
    features = [
        np.tanh(learning.dense(p["encoder"]["params"], o))
        for p, o in zip(each, observation, strict=True)
    ]
    said = []
    for params, feature in zip(each, features, strict=True):
        first = learning.dense(params["hidden"]["params"], feature)
        said.append(
            learning.dense(params["message"]["params"], np.where(first > 0, first, np.expm1(first)))
        )
    heard = [
        sum(mask[i, j] * said[j] for j in range(AGENTS) if j != i) / (AGENTS - 1)
        for i in range(AGENTS)
    ]
    return np.stack(features), np.stack(said), np.stack(heard)


@pytest.mark.parametrize("shared", [False, True])
def test_the_combiner_equals_the_definition(shared):
    net, params = made("vbc", shared)
    observation, mask, edges = drawn()
    host = jax.tree.map(np.asarray, params)
    each = [host if shared else jax.tree.map(lambda x, i=i: x[i], host) for i in range(AGENTS)]
    features, said, heard = vbc_by_hand(each, np.asarray(observation), mask)
    now = moment(net, Mode.REPLAY)
    encoded = net.encode(params, (), observation, now)
    np.testing.assert_allclose(encoded.feature, features, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(encoded.message, said, rtol=1e-4, atol=1e-5)
    assert said.shape == (AGENTS, 16)
    seen = sight(observation).replace(feature=encoded.feature, delivered=encoded.message)
    told = net.hear(params, (), seen, Gates(edges, edges), now)
    np.testing.assert_array_equal(told.z, encoded.feature)
    for i in range(AGENTS):
        expected = heard[i] @ each[i]["combine"]["params"]["kernel"]
        np.testing.assert_allclose(told.offset[i], expected, rtol=1e-4, atol=1e-5)
    assert not np.any(told.offset[2])
    step = Step(None, None, seen, Gates(edges, edges), Both())
    expected = 0.1 * heard.std(axis=1).mean()
    np.testing.assert_allclose(net.penalty((), step, unasked), expected, rtol=1e-4)


def test_the_penalty_has_a_finite_derivative_where_nothing_arrives_and_makes_messages_plain():
    """Also: the heavier it weighs, the less messages vary after a few steps down it."""
    observation, _, edges = drawn()

    def spread(weight):
        net, params = made("vbc", member__vbc__penalty=weight)

        def penalty(params, edges):
            encoded = net.encode(params, (), observation, moment(net, Mode.REPLAY))
            seen = sight(observation).replace(delivered=encoded.message)
            return net.penalty((), Step(None, None, seen, Gates(edges, edges), Both()), unasked)

        assert is_zero(jax.grad(partial(penalty, edges=0 * edges))(params))
        slope = jit(jax.grad(partial(penalty, edges=edges)))
        for _ in range(10):
            params = jax.tree.map(lambda p, g: p - 0.5 * g, params, slope(params))
        message = net.encode(params, (), observation, moment(net, Mode.REPLAY)).message
        return float(np.std(message, axis=-1).mean())

    assert spread(1.0) < spread(0.1) < spread(0.001)
