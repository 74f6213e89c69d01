"""Interpreters that attend: TarMAC and graph attention against loops, and what both owe to closed edges."""

import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from core_cases import context, hear, jit, made_up_trajectory, moment, scattered, sizes, small

from purejax_mgtopo.algorithm.edges import drop_diagonal, fill_diagonal
from purejax_mgtopo.algorithm.messages.attention import attention
from purejax_mgtopo.algorithm.messages.gat import GraphAttention
from purejax_mgtopo.algorithm.messages.tarmac import KEY, TarMAC
from purejax_mgtopo.algorithm.part import Shown
from purejax_mgtopo.algorithm.types import Edges, Gates, Mode, Seen
from purejax_mgtopo.errors import ConfigError

WIDTH, HIDDEN = 3, 8
KINDS = {"tarmac": TarMAC, "gat": GraphAttention}


def make(name, agents, shared=True, edges=Edges.ANY, **changes):
    experiment = small(f"full+{name}", learner__share_parameters=shared, **changes)
    return KINDS[name](experiment, sizes(agents, WIDTH), edges)


def parameters(net, seed=0):
    return scattered(jit(net.init_params)(jax.random.key(seed)), seed + 1)


def drawn(agents, seed=0, batch=()):
    rng = np.random.default_rng(seed)
    observation = rng.normal(size=(*batch, agents, WIDTH)).astype(np.float32)
    mask = rng.integers(0, 2, (*batch, agents, agents)).astype(np.float32)
    return jnp.asarray(observation), mask * (1 - np.eye(agents, dtype=np.float32))


def run(net, params, observation, mask, delivered=None):
    edges = drop_diagonal(jnp.asarray(mask))
    return np.asarray(jit(functools.partial(hear, net))(params, observation, edges, delivered))


def dense(layer, x):
    return x @ layer["params"]["kernel"] + layer["params"].get("bias", 0.0)


def softmax(x):
    weight = np.exp(x - np.max(x))
    return weight / weight.sum()


def of(each, i):
    return each[i] if isinstance(each, list) else each


def tarmac_by_hand(params, observation, mask, sent=None, rounds=2, scale=4):
    agents = len(observation)
    hidden = [np.tanh(dense(of(params, i)["encoder"], observation[i])) for i in range(agents)]
    for _ in range(rounds):
        own = [dense(of(params, i)["signed"], hidden[i]) for i in range(agents)]
        arrived, new = own if sent is None else sent, []
        for i in range(agents):
            query = dense(of(params, i)["query"], hidden[i])
            allowed = [j for j in range(agents) if mask[i, j] or j == i]
            said = [own[i] if j == i else arrived[j] for j in allowed]
            weight = softmax(np.array([query @ m[:KEY] / scale for m in said]))
            context = sum(w * m[KEY:] for w, m in zip(weight, said, strict=True))
            joined = np.concatenate([context, hidden[i]])
            new.append(np.tanh(dense(of(params, i)["update"], joined)))
        hidden = new
    return np.stack(hidden)


def gat_by_hand(params, observation, mask, sent=None, closed_too=False, later=None):
    agents = len(observation)
    h = [np.tanh(dense(of(params, i)["encoder"], observation[i])) for i in range(agents)]
    own = h
    for round_, heads in enumerate((4, 1)):
        arrived, new = own if sent is None else sent, []
        edges = mask if later is None or round_ == 0 else later
        for i in range(agents):
            layer = of(params, i)["rounds"][round_]["params"]
            kernel, parts = layer["Dense_0"]["kernel"], []
            width = kernel.shape[1] // heads
            for head in range(heads):
                columns = kernel[:, head * width : (head + 1) * width]
                a, b = layer["receiver"][:, head], layer["sender"][:, head]
                allowed = [j for j in range(agents) if edges[i, j] or j == i]
                said = [(own[i] if j == i else arrived[j]) @ columns for j in allowed]
                raw = [own[i] @ columns @ a + row @ b for row in said]
                score = np.array([x if x > 0 else 0.2 * x for x in raw])
                shut = np.zeros(agents - len(allowed) if closed_too else 0)  # each at a score of 0
                weight = softmax(np.concatenate([score, shut]))[: len(allowed)]
                parts.append(sum(w * row for w, row in zip(weight, said, strict=True)))
            new.append(np.concatenate(parts))
        own = [np.where(x > 0, x, np.expm1(x)) for x in new] if round_ == 0 else new
    return np.stack([np.concatenate([h[i], own[i]]) for i in range(agents)])


BY_HAND = {"tarmac": tarmac_by_hand, "gat": gat_by_hand}


@pytest.mark.parametrize("latency", [0, 1])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("name", KINDS)
def test_it_equals_the_definition_agent_by_agent(name, shared, latency):
    """Transposed edges, keys for queries, weights over all, an agent left out that hears nobody."""
    net = make(name, 3, shared, message__latency=latency)
    params = parameters(net)
    host = jax.tree.map(np.asarray, params)
    each = host
    if not shared:
        each = [jax.tree.map(lambda x, i=i: x[i], host) for i in range(3)]
    observation, mask = drawn(3, seed=4, batch=(6,))
    assert {0.0, 1.0, 2.0} <= set(mask.sum(-1).ravel())
    shape = (6, 3, net.message_size)
    sent = np.random.default_rng(9).normal(size=shape).astype(np.float32) if latency else None
    actual = run(net, params, observation, mask, None if sent is None else jnp.asarray(sent))
    for b in range(6):
        said = None if sent is None else list(sent[b])
        expected = BY_HAND[name](each, np.asarray(observation[b]), mask[b], said)
        np.testing.assert_allclose(actual[b], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "told", "by_hand"),
    [
        ("tarmac", {"member__tarmac__score_scale": 2.5}, {"scale": 2.5}),
        ("gat", {"member__gat__normalise": False}, {"closed_too": True}),
    ],
)
def test_attention_as_others_built_it(name, told, by_hand):
    """Scores on another scale; closed edges that stay in the denominator."""
    net = make(name, 3, **told)
    params = parameters(net)
    observation, mask = drawn(3, seed=4, batch=(6,))
    actual = run(net, params, observation, mask)
    for b in range(6):
        host = jax.tree.map(np.asarray, params)
        expected = BY_HAND[name](host, np.asarray(observation[b]), mask[b], **by_hand)
        np.testing.assert_allclose(actual[b], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("latency", [0, 1])
def test_each_round_reads_over_edges_of_its_own(latency):
    """The first graph in both rounds, or the two changed about."""
    net = make("gat", 3, message__latency=latency)
    params = parameters(net)
    observation, mask = drawn(3, seed=4, batch=(6,))
    later = drawn(3, seed=5, batch=(6,))[1]
    sent = np.random.default_rng(9).normal(size=(6, 3, HIDDEN)).astype(np.float32)
    now = moment(net, Mode.REPLAY, (6,))
    h = net.encode(params, (), observation, now).feature
    delivered = jnp.asarray(sent) if latency else h
    seen = Seen(observation, h, h, delivered, jnp.zeros((6, 3, 3)))
    edges, others = (drop_diagonal(jnp.asarray(x)) for x in (mask, later))
    actual = net.hear(params, (), seen, Gates(edges, edges, later=others), now).z
    for b in range(6):
        said = list(sent[b]) if latency else None
        host = jax.tree.map(np.asarray, params)
        expected = gat_by_hand(host, np.asarray(observation[b]), mask[b], said, later=later[b])
        np.testing.assert_allclose(actual[b], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", KINDS)
def test_renaming_the_agents_renames_the_outputs(name):
    net = make(name, 4)
    params = parameters(net)
    observation, mask = drawn(4, seed=3)
    order = np.array([2, 0, 3, 1])
    straight = run(net, params, observation, mask)
    renamed = run(net, params, observation[order], mask[np.ix_(order, order)])
    np.testing.assert_allclose(renamed, straight[order], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", KINDS)
def test_shared_parameters_serve_any_number_of_agents(name):
    params = parameters(make(name, 2))
    observation, mask = drawn(5)
    host = jax.tree.map(np.asarray, params)
    expected = BY_HAND[name](host, np.asarray(observation), mask)
    actual = run(make(name, 5), params, observation, mask)
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


def test_signatures_that_all_match_alike_give_the_mean_and_a_deaf_agent_its_own_value():
    net = make("tarmac", 3)
    params = parameters(net)
    observation, _ = drawn(3)
    now = jnp.tanh(observation @ params["encoder"]["params"]["kernel"])
    message = np.array(net._message(params, now))
    message[:, :KEY] = message[0, :KEY]
    mask = np.array([[0, 1, 1], [0, 0, 0], [1, 0, 0]], np.float32)
    gates = Gates(drop_diagonal(jnp.asarray(mask)), drop_diagonal(jnp.asarray(mask)))
    inputs = (params, now, jnp.asarray(message), jnp.asarray(message), gates)
    expected = [[1 / 3, 1 / 3, 1 / 3], [0, 1, 0], [1 / 2, 0, 1 / 2]]
    np.testing.assert_allclose(net.weights(*inputs), expected, atol=1e-6)
    context = np.asarray(net._context(*inputs))
    np.testing.assert_allclose(context[0], message[:, KEY:].mean(0), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(context[1], message[1, KEY:])


def test_attention_is_a_softmax_over_open_edges_whatever_the_closed_ones_score():
    """Closed edges weigh exactly nothing, also where they would win by e^1000; derivatives stay finite."""
    score = np.array([[0.5, -1.0, 1000.0], [700.0, 699.0, -900.0], [1.0, 2.0, 3.0]], np.float32)
    mask = np.array([[1, 1, 0], [1, 1, 1], [0, 0, 0]], np.float32)
    weight = np.asarray(jit(attention)(score, mask))
    np.testing.assert_allclose(weight[0], [*softmax(np.array([0.5, -1.0])), 0.0], rtol=1e-6)
    np.testing.assert_allclose(weight[1], softmax(score[1].astype(float)), rtol=1e-5)
    assert weight[0, 2] == 0 and not weight[2].any()
    slopes = jax.grad(lambda s, m: jnp.sum(jnp.sin(attention(s, m))), argnums=(0, 1))(score, mask)
    assert all(np.isfinite(slope).all() for slope in slopes)


def test_a_closed_edges_derivative_says_what_opening_it_would_change():
    """Central differences in the decisions, in float64."""
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        score, mask = rng.normal(size=(4, 4)), rng.integers(0, 2, (4, 4)).astype(float)
        mask[:, 0] = 1
        aim = rng.normal(size=(4, 4))

        def worth(openness):
            return jnp.sum(aim * attention(jnp.asarray(score), jnp.asarray(openness)))

        slope = np.asarray(jax.grad(worth)(jnp.asarray(mask)))
        for edge in np.ndindex(4, 4):
            step = np.zeros((4, 4))
            step[edge] = 1e-6
            if mask[edge]:
                expected = (worth(mask + step) - worth(mask - step)) / 2e-6
                np.testing.assert_allclose(slope[edge], expected, rtol=1e-5, atol=1e-8)
            else:  # from an edge that is shut, one can only open it
                opened = (worth(mask + step) - worth(mask)) / 1e-6
                np.testing.assert_allclose(slope[edge], opened, rtol=1e-4, atol=1e-6)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("name", KINDS)
def test_gradients_reach_the_senders_that_are_heard_and_no_others(name):
    net = make(name, 3)
    params = parameters(net)
    observation, _ = drawn(3)
    mask = np.array([[0, 1, 0], [0, 0, 0], [0, 0, 0]], np.float32)
    edges = drop_diagonal(jnp.asarray(mask))
    assert np.array_equal(fill_diagonal(edges), mask)
    slope = jax.jacobian(lambda o: hear(net, params, o, edges))(observation)
    reached = np.abs(np.asarray(slope)).sum((1, 3)) > 0
    np.testing.assert_array_equal(
        reached, [[True, True, False], [False, True, False], [False, False, True]]
    )


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(ConfigError, match=r"learner.hidden \(6\) must be a multiple of 4"):
        make("gat", 2, learner__hidden=6)


@pytest.mark.parametrize("name", KINDS)
def test_how_much_attention_goes_to_others_is_measured(name):
    weight = np.array([[[0.25, 0.75], [0.5, 0.5]], [[1.0, 0.0], [0.0, 1.0]]])
    tau = made_up_trajectory(0, 2, 2, WIDTH)
    for pairs, expected in (({"attention": jnp.asarray(weight)}, 1 - 2.75 / 4), ({}, 0.0)):
        now = replace(context(), shown=lambda _, pairs=pairs: Shown(pairs=pairs))
        told = make(name, 2).learn((), tau, now)
        assert told.measures["attention_to_others"] == pytest.approx(expected)
