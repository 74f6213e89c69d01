"""CommNet: hand values, equivariance, silence."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from core_cases import hear, jit, scattered, sizes, small

from purejax_mgtopo.algorithm.edges import drop_diagonal
from purejax_mgtopo.algorithm.messages.commnet import CommNet
from purejax_mgtopo.algorithm.types import Edges

WIDTH, HIDDEN = 3, 8


def make(agents, shared=True, edges=Edges.ANY, **changes):
    experiment = small("commnet", learner__share_parameters=shared, **changes)
    return CommNet(experiment, sizes(agents, WIDTH), edges)


def run(net, params, observation, edges, delivered=None):
    return np.asarray(jit(functools.partial(hear, net))(params, observation, edges, delivered))


def drawn(agents, seed=0, batch=()):
    rng = np.random.default_rng(seed)
    observation = rng.normal(size=(*batch, agents, WIDTH)).astype(np.float32)
    mask = rng.integers(0, 2, (*batch, agents, agents)).astype(np.float32)
    return jnp.asarray(observation), mask * (1 - np.eye(agents, dtype=np.float32))


def parameters(net, seed=0):
    return scattered(jit(net.init_params)(jax.random.key(seed)), seed + 1)


def by_hand(params, observation, mask, aggregate, rounds=2, sent=None):
    """h <- tanh(E o + H h + C c) agent by agent; `params` are shared, or a list."""
    agents = len(observation)
    each = params if isinstance(params, list) else [params] * agents
    encoded = [
        o @ p["encoder"]["params"]["kernel"] + p["encoder"]["params"]["bias"]
        for o, p in zip(observation, each, strict=True)
    ]
    hidden = [np.tanh(e) for e in encoded]
    for k in range(rounds):
        said = hidden if sent is None else sent
        new = []
        for i in range(agents):
            heard = sum((said[j] for j in range(agents) if mask[i, j]), np.zeros(HIDDEN))
            if aggregate != "sum":
                heard = heard / (max(1, mask[i].sum()) if aggregate == "mean" else agents - 1)
            own = hidden[i] @ each[i]["own"][k]["params"]["kernel"]
            new.append(np.tanh(encoded[i] + own + heard @ each[i]["heard"][k]["params"]["kernel"]))
        hidden = new
    return np.stack(hidden)


@pytest.mark.parametrize("aggregate", ["mean", "sum", "others"])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("agents", [2, 3])
def test_it_equals_the_definition_agent_by_agent(agents, shared, aggregate):
    """Transposed edges, an agent that hears itself, a mean over all, weights of the wrong round."""
    net = make(agents, shared, message__aggregate=aggregate)
    params = parameters(net)
    each = params
    if not shared:
        each = [jax.tree.map(lambda x, i=i: x[i], params) for i in range(agents)]
    observation, mask = drawn(agents, seed=agents, batch=(4,))
    actual = run(net, params, observation, drop_diagonal(jnp.asarray(mask)))
    for b in range(4):
        expected = by_hand(each, np.asarray(observation[b]), mask[b], aggregate)
        np.testing.assert_allclose(actual[b], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("edges", [Edges.ANY, Edges.NEVER])
def test_hops_may_share_their_weights(edges):
    """As three rounds of their own weights that happen to be equal."""
    net, apart = (
        make(3, edges=edges, message__rounds=3, message__share_hops=share)
        for share in (True, False)
    )
    params = parameters(net)
    names = [name for name in ("own", "heard") if name in params]
    assert all(len(params[name]) == 1 for name in names)
    copies = params | {name: params[name] * 3 for name in names}
    observation, mask = drawn(3)
    inputs = (observation, drop_diagonal(jnp.asarray(mask)))
    np.testing.assert_array_equal(run(net, params, *inputs), run(apart, copies, *inputs))
    if edges is Edges.ANY:
        expected = by_hand(copies, np.asarray(observation), mask, "mean", rounds=3)
        np.testing.assert_allclose(run(net, params, *inputs), expected, rtol=1e-4, atol=1e-6)


def test_renaming_the_agents_renames_the_outputs():
    net = make(4)
    params = parameters(net)
    observation, mask = drawn(4, seed=3)
    order = np.array([2, 0, 3, 1])
    straight = run(net, params, observation, drop_diagonal(jnp.asarray(mask)))
    renamed = run(
        net, params, observation[order], drop_diagonal(jnp.asarray(mask[np.ix_(order, order)]))
    )
    np.testing.assert_allclose(renamed, straight[order], rtol=1e-5, atol=1e-6)


def test_without_weights_for_what_is_heard_agents_are_independent():
    net = make(3)
    params = parameters(net)
    params["heard"] = jax.tree.map(np.zeros_like, params["heard"])
    observation, _ = drawn(3)
    edges = jnp.ones((3, 2))
    together = run(net, params, observation, edges)
    for i in range(3):
        elsewhere = observation.at[jnp.arange(3) != i].add(1.0)
        np.testing.assert_array_equal(run(net, params, elsewhere, edges)[i], together[i])


def test_over_all_others_closing_one_removes_its_term_and_no_other():
    """As IC3Net has it: who falls silent makes nobody louder. Over those who are heard, it does."""
    observation, _ = drawn(3)
    all_, without = jnp.ones((3, 2)), jnp.ones((3, 2)).at[:, 1].set(0.0)  # 2 is silent, to 0 and 1
    for aggregate, same in (("others", True), ("mean", False)):
        net = make(3, message__aggregate=aggregate, message__rounds=1)
        params = parameters(net)
        # What 1 adds to agent 0 before tanh, with and without 2 being heard.
        params["heard"] = jax.tree.map(np.asarray, params["heard"])
        terms = []
        for edges in (all_, without):
            heard = jnp.arctanh(run(net, params, observation, edges)[0])
            alone = jnp.arctanh(run(net, params, observation, edges.at[0, 0].set(0.0))[0])
            terms.append(heard - alone)
        assert np.allclose(*terms, rtol=1e-3, atol=1e-5) == same


@pytest.mark.parametrize("shared", [True, False])
def test_alone_equals_hearing_nobody(shared):
    net = make(3, shared)
    params = parameters(net)
    observation, _ = drawn(3)
    closed, alone = jnp.zeros((3, 2)), make(3, shared, Edges.NEVER)
    silence = run(net, params, observation, closed)
    assert "heard" not in parameters(alone)
    del params["heard"]
    np.testing.assert_allclose(
        run(alone, params, observation, closed), silence, rtol=1e-6, atol=1e-7
    )


def test_shared_parameters_serve_any_number_of_agents():
    params = parameters(make(2))
    observation, mask = drawn(5)
    actual = run(make(5), params, observation, drop_diagonal(jnp.asarray(mask)))
    expected = by_hand(params, np.asarray(observation), mask, "mean")
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-6)


def test_with_next_step_delivery_every_round_hears_the_previous_steps_states():
    """Rounds that exchange this step's states would deliver without latency."""
    net = make(3, message__latency=1)
    params = parameters(net)
    observation, mask = drawn(3)
    sent = np.tanh(np.random.default_rng(9).normal(size=(3, HIDDEN))).astype(np.float32)
    actual = run(net, params, observation, drop_diagonal(jnp.asarray(mask)), jnp.asarray(sent))
    expected = by_hand(params, np.asarray(observation), mask, "mean", sent=sent)
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-6)
