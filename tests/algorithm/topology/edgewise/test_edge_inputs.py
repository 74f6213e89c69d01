"""What the network is told of an edge, against NumPy written apart, and what it says of it in the right place."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from core_cases import is_same, jit, made_up_trajectory, scattered, sizes, small

from purejax_mgtopo.algorithm.topology.edgewise.inputs import NAMES
from purejax_mgtopo.algorithm.topology.edgewise.judged import Situation
from purejax_mgtopo.algorithm.topology.edgewise.online import EdgeMeta
from purejax_mgtopo.algorithm.topology.edgewise.said import said

AGENTS, WIDTH, STEPS, PRICE = 3, 4, 5, 0.25
SITUATIONS = (Situation(jnp.array(0.0), 50.0, PRICE), Situation(jnp.array(0.5), 50.0, PRICE))


@functools.cache
def rule():
    return EdgeMeta(small("meta", meta__architecture="edge"), sizes(AGENTS, WIDTH))


@functools.cache
def lived():
    """Two gate updates' episodes of a rule none of whose numbers is zero, and what was told of them."""
    state = jit(rule().init)(jax.random.key(0))
    state = state.replace(
        eta=scattered(state.eta, 1),
        moving=state.moving.replace(gates=scattered(state.gates, 2)),
        baseline=state.baseline.replace(params=scattered(state.baseline.params, 3)),
    )
    baseline, told = state.baseline, []
    taus = made_up_trajectory(4, STEPS, AGENTS, WIDTH, lead=(2,))
    for k, situation in enumerate(SITUATIONS):
        tau = jax.tree.map(lambda x, k=k: x[k], taus)
        one, baseline = rule().told(state.gates, baseline, tau, tau.reward, situation)
        told.append(one)
    return state, taus, jax.tree.map(lambda *x: jnp.stack(x), *told)


def dense(params):
    """Kernels and biases of a network's layers, in their order."""
    layers: dict = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        *_, layer, kind = (part.key for part in path)
        layers.setdefault(layer, {})[kind] = np.asarray(leaf, float)
    return [(layers[name]["kernel"], layers[name]["bias"]) for name in sorted(layers)]


def forward(layers, x):
    for k, (kernel, bias) in enumerate(layers):
        x = x @ kernel + bias
        x = np.maximum(x, 0) if k < len(layers) - 1 else x
    return x


def signlog(x):
    return np.sign(x) * np.log(1 + np.abs(x))


def expected(tau, moments, progress):
    """All twelve numbers of each edge, one after the other, with loops; and the advantage's sums."""
    state, *_ = lived()
    values = [
        forward(dense(state.baseline.params), np.asarray(tau.observation[t], float).ravel())[0]
        for t in range(STEPS + 1)
    ]
    reward, discount = np.asarray(tau.reward, float), rule().baseline.discount
    raw = np.array([
        sum(discount ** (u - t) * reward[u] for u in range(t, STEPS))
        + discount ** (STEPS - t) * values[STEPS] - values[t]
        for t in range(STEPS)
    ])  # fmt: skip
    decay = rule().experiment.baseline.moments_decay
    weight, total, square = (
        decay * old + new
        for old, new in zip(moments, (1, raw.mean(), (raw**2).mean()), strict=True)
    )
    mean = total / weight
    advantage = (raw - mean) / np.sqrt(square / weight - mean**2)
    told = np.zeros((STEPS, AGENTS, AGENTS - 1, 12))
    for t in range(STEPS):
        for i in range(AGENTS):
            own = dense(jax.tree.map(lambda x, i=i: x[i], state.gates))
            logits = forward(own, np.asarray(tau.observation[t, i], float))
            for k in range(AGENTS - 1):
                told[t, i, k] = [
                    1 / (1 + np.exp(-logits[k])), tau.gates.decision[t, i, k], t < STEPS - 1,
                    signlog(reward[t]), signlog(raw[t]), advantage[t], signlog(values[t]),
                    signlog(values[t + 1]), PRICE, progress, np.log(50) / np.log(1000), 1 / AGENTS,
                ]  # fmt: skip
    return told, (weight, total, square)


def test_what_is_told_is_in_its_place_and_what_it_says() -> None:
    """A shipped rule reads its inputs by their places."""
    state, taus, told = lived()
    answer = said(rule(), state.eta, state.moving.memory, taus, told)
    assert NAMES == (
        "probability", "decision", "goes_on", "reward", "raw_advantage", "advantage", "value",
        "next_value", "cost", "progress", "length", "share",
    )  # fmt: skip
    assert rule().settings.edge_cost == 0 and rule().experiment.baseline.n_step >= STEPS
    moments = (0.0, 0.0, 0.0)
    for k, progress in enumerate((0.0, 0.5)):
        tau = jax.tree.map(lambda x, k=k: x[k], taus)
        numbers, moments = expected(tau, moments, progress)
        assert len(np.unique(numbers[..., 0].round(6))) == numbers[..., 0].size  # each edge its own
        for place, name in enumerate(NAMES):
            found = np.asarray(getattr(answer.inputs, name)[k])
            np.testing.assert_allclose(found, numbers[..., place], rtol=2e-4, atol=2e-4)
            for i in range(AGENTS):
                for j in range(AGENTS):
                    if i != j:
                        stacked = told.edges[k, :, i, j, place]
                        np.testing.assert_array_equal(stacked, found[:, i, j - (j > i)])


def test_what_is_said_is_of_that_edge_after_all_that_came_before() -> None:
    state, taus, told = lived()
    f = np.asarray(said(rule(), state.eta, state.moving.memory, taus, told).f)
    memory, done = state.moving.memory, np.zeros(STEPS, np.float32)
    done[-1] = 1
    for k in range(2):
        square, after = rule()._judge.apply(state.eta, told.edges[k], jnp.asarray(done), memory)
        for i in range(AGENTS):
            for j in range(AGENTS):
                if i != j:
                    np.testing.assert_allclose(
                        f[k, :, i, j - (j > i)], square[:, i, j], rtol=1e-4, atol=1e-5
                    )
        assert not is_same(after, memory)
        memory = after
    assert len(np.unique(f.round(5))) > 0.9 * f.size
