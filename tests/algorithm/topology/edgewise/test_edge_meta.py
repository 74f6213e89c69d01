"""Learning the network of edges online: its meta-gradient, by finite differences, and no wider than it should be."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from core_cases import (
    NOTHING,
    Algorithm,
    assert_close,
    context,
    inner_steps,
    is_same,
    is_zero,
    jit,
    made_up_trajectory,
    plain,
    scattered,
    size,
    sizes,
    small,
)
from oracles import learning

from purejax_mgtopo.algorithm.topology.edgewise.online import EdgeMeta

AGENTS, WIDTH, STEPS, K = 2, 3, 4, 2
CASES = {
    "cost and penalty": {"gates__edge_cost": 0.2, "meta__output_l2": 0.3, "meta__entropy": 0.3},
    "last update only": {"meta__blend_intermediate": False},
    "a bonus in the gates": {"gates__entropy": 0.7},
}


def make(**changes):
    changes = {"gates__learning_rate": 0.05, "meta__architecture": "edge", **changes}
    return EdgeMeta(small("meta", **changes), sizes(AGENTS, WIDTH))


@functools.cache
def start(**changes):
    return jit(make(**changes).init)(jax.random.key(1))


def problem(made):
    """The state before the K updates, tau(0..K), what was told of them, and advantages."""
    state = jax.tree.map(
        lambda x: x.astype(float) if jnp.issubdtype(x.dtype, jnp.floating) else x, start()
    )
    gates = scattered(state.gates, 2)
    nu = jax.tree.map(np.square, scattered(jax.tree.map(np.zeros_like, gates), 3, scale=0.1))
    memory = scattered(state.moving.memory, 5)
    state = state.replace(
        eta=scattered(state.eta, 1, 0.1),
        moving=state.moving.replace(gates=gates, nu=nu, memory=memory),
        baseline=state.baseline.replace(params=scattered(state.baseline.params, 6)),
    )
    taus = made_up_trajectory(3, STEPS, AGENTS, WIDTH, lead=(K + 1,))
    told = jit(functools.partial(inner_steps, made))(state, taus)
    advantages = jnp.asarray(np.random.default_rng(4).normal(size=(K, STEPS)), float)
    return state, taus, told, advantages


def learned(made):
    return jit(lambda state, tau: made.learn(state, tau, context()))


@functools.cache
def objective(**changes):
    """J and its gradient in all that it is a function of."""
    return jit(jax.value_and_grad(make(**changes).meta_objective, argnums=(0, 1, 2, 3, 4)))


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("case", CASES)
def test_the_gradient_equals_central_differences(case):
    """Any wrong or missing derivative: through f, the memory, nu, the order of the updates."""
    with jax.enable_x64(True):
        state, *data = problem(make(**CASES[case]))
        value = jit(make(**CASES[case]).meta_objective)
        flat, unravel = jax.flatten_util.ravel_pytree(state.eta)
        gradient = objective(**CASES[case])(state.eta, state.moving, *data)[1]
        slope = np.asarray(jax.flatten_util.ravel_pytree(gradient[0])[0])
        assert slope.dtype == np.float64
        directions = list(np.random.default_rng(0).normal(size=(3, flat.size)))
        directions += [1.0 * (np.arange(flat.size) == np.argmax(np.abs(slope)))]
        for direction in directions:
            above, below = (
                value(unravel(flat + h * direction), state.moving, *data) for h in (1e-6, -1e-6)
            )
            assert abs(slope @ direction) > 1e-8
            np.testing.assert_allclose(slope @ direction, (above - below) / 2e-6, rtol=1e-5)
        assert is_zero(gradient[1:])  # nothing but eta


def test_what_it_is_told_is_data():
    """No derivative comes back through it, to gates or baseline."""
    made = make()
    state, taus, _, _ = problem(made)
    tau = jax.tree.map(lambda x: x[0], taus)
    situation = made.situation(context())

    def total(gates, baseline):
        baseline = state.baseline.replace(params=baseline)
        told, _ = made.told(gates, baseline, tau, tau.reward, situation)
        return jnp.sum(told.edges) + jnp.sum(told.advantage**2)

    assert is_zero(jax.grad(total, argnums=(0, 1))(state.gates, state.baseline.params))


def test_the_replayed_window_equals_the_online_one():
    """Other features, another memory or another baseline in the replay than when gates learned."""
    with jax.enable_x64(True):
        made = make(**CASES["cost and penalty"])
        state, taus, told, advantages = problem(made)
        online = state
        for k in range(K):
            tau = jax.tree.map(lambda x, k=k: x[k], taus)
            online = learned(made)(online, tau).state

        def replay(moving, inputs):
            moving, f, _ = made.inner_step(state.eta, moving, *inputs)
            return moving, f

        before = jax.tree.map(lambda x: x[:-1], taus)
        moving, f = jit(lambda *a: jax.lax.scan(replay, *a))(state.moving, (before, told))
        assert_close(moving, online.moving, rtol=1e-9, atol=1e-12)
        assert size(f) > 1e-2 and not is_same(moving.memory, state.moving.memory)


def test_gates_ascend_score_and_bonus():
    """A bonus that this rule's gates never get, or get with another weight."""
    with jax.enable_x64(True):
        made = make(gates__entropy=0.7)
        state, taus, told, _ = problem(made)
        tau, first = (jax.tree.map(lambda x: x[0], x) for x in (taus, told))
        _, f, gradient = jit(made.inner_step)(state.eta, state.moving, tau, first)
        weight = np.asarray(first.advantage[:, None, None] + f).reshape(STEPS, -1)
        gates, asked = (
            [jax.tree.map(lambda x, i=i: np.asarray(x[i]), tree)["params"] for i in range(AGENTS)]
            for tree in (state.gates, gradient)
        )
        data = {
            "observation": np.asarray(tau.observation),
            "decision": np.asarray(tau.gates.decision),
        }
        expected = learning.score_gradient(gates, weight, data, 0.7)
        assert_close(asked, expected, rtol=1e-9, atol=1e-12)


def test_an_outer_update_ascends_the_objective_of_the_window_it_closes():
    """From where the window began, by the baseline after it has learned, whose moments stay those of learning."""
    with jax.enable_x64(True):
        made = make(meta__learning_rate=1e-6, meta__gradient_clip=1e6)
        state, taus, told, _ = problem(made)
        ended = state
        for k in range(K):
            ended = learned(made)(ended, jax.tree.map(lambda x, k=k: x[k], taus)).state
        new, measures, _ = jit(made.outer)((), state, ended, taus, told)
        baseline, judged = ended.baseline, []
        for k in (1, 2):
            tau = jax.tree.map(lambda x, k=k: x[k], taus)
            baseline, _ = made.baseline.fit(baseline, tau, tau.reward)
        assert_close(new.baseline, baseline)
        for k in (1, 2):
            tau = jax.tree.map(lambda x, k=k: x[k], taus)
            advantage, baseline = made.baseline.advantage(baseline, tau, tau.reward)
            judged.append(advantage)
        value, (slope, *_) = objective(meta__learning_rate=1e-6, meta__gradient_clip=1e6)(
            state.eta, state.moving, taus, told, jnp.stack(judged)
        )
        np.testing.assert_allclose(measures["meta_objective"], value, rtol=1e-6)
        np.testing.assert_allclose(measures["meta_gradient_norm"], size(slope), rtol=1e-6)
        step = np.concatenate(
            [np.ravel(b - a) for a, b in zip(plain(state.eta), plain(new.eta), strict=True)]
        )
        along = np.concatenate([np.ravel(leaf) for leaf in plain(slope)])
        moved = np.abs(along) > 1e-9
        assert np.all(np.sign(step[moved]) == np.sign(along[moved])) and moved.sum() > 1_000


def test_the_estimate_that_a_report_shows_is_that_of_the_last_update():
    made = make()
    state, taus, _, _ = problem(made)
    tau = jax.tree.map(lambda x: x[0], taus)
    judged = jit(made.judged)(state, tau)
    zero = state.replace(eta=jax.tree.map(jnp.zeros_like, state.eta))
    advantage = made.baseline.advantage(state.baseline, tau, tau.reward)[0]
    np.testing.assert_allclose(jit(made.judged)(zero, tau)[:, 0, 0], advantage, atol=1e-6)
    assert np.abs(judged - jit(made.judged)(zero, tau)).max() > 1e-3


@pytest.mark.slow
def test_a_seed_trains_with_it_and_eta_begins_to_correct():
    made = Algorithm(small("meta", meta__architecture="edge", meta__learning_rate=0.01))
    assert type(made.team.rule) is EdgeMeta
    state = jit(made.init)(jax.random.key(0))
    after, measures, _ = jit(lambda s, c: made.iterate(s, c, NOTHING))(state, made.start_clock())
    assert set(measures) == set(made.measures) and all(np.isfinite(v) for v in measures.values())
    old, new = state.parts.rule, after.parts.rule
    assert is_zero(old.eta["params"]["head"]) and not is_zero(new.eta["params"]["head"])
    assert not is_same(old.gates, new.gates)
