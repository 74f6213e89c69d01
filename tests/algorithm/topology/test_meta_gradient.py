"""The meta-gradient: by finite differences, by an explicit loop, and no wider than it should be."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from core_cases import (
    assert_close,
    inner_steps,
    is_zero,
    jit,
    made_up_trajectory,
    outer,
    plain,
    scattered,
    size,
    sizes,
    small,
)
from oracles import learning

from purejax_mgtopo.algorithm.kernels.meta_backward import meta_gradient
from purejax_mgtopo.algorithm.topology.meta import MetaGradient

AGENTS, WIDTH, STEPS, K = 2, 3, 4, 2

CASES = {
    "entropy and edge cost": {"meta__entropy": 0.3, "gates__edge_cost": 0.2},
    "last update only": {"meta__blend_intermediate": False},
    "a bonus in the gates": {"gates__entropy": 0.7},
}


def make(**changes):
    return MetaGradient(small(gates__learning_rate=0.05, **changes), sizes(AGENTS, WIDTH))


@functools.cache
def start():
    return jit(make().init)(jax.random.key(1))


def problem(zero_nu=False):
    """eta, theta_c(0), nu(0), tau(0..K) and advantages, in the precision that is on."""
    eta, gates = scattered(start().eta, 1), scattered(start().gates, 2)
    nu = scattered(jax.tree.map(np.zeros_like, gates), 3, scale=0.0 if zero_nu else 0.1)
    taus = made_up_trajectory(3, STEPS, AGENTS, WIDTH, lead=(K + 1,))
    advantages = jnp.asarray(np.random.default_rng(4).normal(size=(K, STEPS)), float)
    return eta, gates, jax.tree.map(np.square, nu), taus, advantages


@functools.cache
def objective(**changes):
    """J and its gradient in all that it is a function of."""
    rule = make(**changes)
    return jit(jax.value_and_grad(rule.meta_objective, argnums=(0, 1, 2, 3, 4)))


def first(taus):
    return jax.tree.map(lambda x: x[0], taus)


def by_agent(tree):
    return [jax.tree.map(lambda x, i=i: np.asarray(x[i]), tree)["params"] for i in range(AGENTS)]


def as_loops_read(taus):
    fields = {
        "observation": np.asarray(taus.observation),
        "reward": np.asarray(taus.reward),
        "decision": np.asarray(taus.gates.decision),
    }
    return [{name: x[k] for name, x in fields.items()} for k in range(K + 1)]


@pytest.mark.parametrize("zero_nu", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_the_gradient_equals_central_differences(case, zero_nu):
    """Any wrong or missing derivative: through A-hat, nu, both logs, the order of the updates."""
    with jax.enable_x64(True):
        eta, *data = problem(zero_nu)
        both = objective(**CASES[case])
        flat, unravel = jax.flatten_util.ravel_pytree(eta)
        gradient = jax.flatten_util.ravel_pytree(both(eta, *data)[1][0])[0]
        assert flat.dtype == gradient.dtype == jnp.float64
        gradient = np.asarray(gradient)
        rng = np.random.default_rng(0)
        directions = list(rng.normal(size=(6, flat.size)))
        directions += list(np.eye(flat.size)[np.argsort(-np.abs(gradient))[:4]])
        for direction in directions:
            above, below = (both(unravel(flat + h * direction), *data)[0] for h in (1e-6, -1e-6))
            assert abs(gradient @ direction) > 1e-7
            np.testing.assert_allclose(gradient @ direction, (above - below) / 2e-6, rtol=1e-5)


@pytest.mark.parametrize("zero_nu", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_the_objective_equals_an_explicit_loop(case, zero_nu):
    """A trajectory's index off by one, the wrong eta input, a wrong sign, mean for sum."""
    rule = make(**CASES[case])
    with jax.enable_x64(True):
        eta, gates, nu, taus, advantages = problem(zero_nu)
        actual = objective(**CASES[case])(eta, gates, nu, taus, advantages)[0]
        expected = learning.meta_objective(
            eta["params"],
            by_agent(gates),
            by_agent(nu),
            as_loops_read(taus),
            np.asarray(advantages),
            discount=0.95,
            rate=0.05,
            decay=0.9,
            epsilon=1e-8,
            beta=rule.meta.entropy,
            cost=rule.settings.edge_cost,
            blend=rule.meta.blend_intermediate,
            bonus=rule.settings.entropy,
        )
        np.testing.assert_allclose(actual, expected, rtol=1e-10)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("case", CASES)
def test_going_back_over_the_steps_taken_gives_the_gradient(case):
    """A step's derivative taken elsewhere than where it started, a weight or a trajectory off by one, states of
    eta's LSTM that have no derivative, or another's."""
    changes = CASES[case] | {"meta__output_l2": 0.1}
    rule = make(**changes)
    with jax.enable_x64(True):
        eta, gates, nu, taus, advantages = problem()
        steps = inner_steps(rule, start().replace(eta=eta, gates=gates, nu=nu), taus)
        weights = rule._weights(K)
        back = jit(functools.partial(meta_gradient, rule._scored_step))
        actual = back(weights, eta, steps, taus, advantages)
        value, gradient = objective(**changes)(eta, gates, nu, taus, advantages)
        assert size(gradient[0]) > 1e-3
        assert_close(actual, (value, gradient[0]), rtol=1e-9, atol=1e-12)


def test_nothing_but_eta_is_differentiated():
    """Meta-gradients that leak into theta_c(0), nu(0), trajectories or the baseline's advantages.

    With zero derivatives in theta_c(0) and nu(0), the previous iteration adds none.
    """
    with jax.enable_x64(True):
        gradient = objective(**CASES["entropy and edge cost"])(*problem())[1]
    assert size(gradient[0]) > 0
    assert is_zero(gradient[1:])


def test_the_previous_iteration_adds_no_derivative():
    """theta_c(0) depends on eta through the last iteration's updates; that path must be cut."""
    with jax.enable_x64(True):
        changes = CASES["entropy and edge cost"]
        rule = make(**changes)
        eta, gates, nu, taus, advantages = problem()

        def two_iterations(eta):
            earlier = rule.inner_step(eta, gates, nu, first(taus))[:2]
            return rule.meta_objective(eta, *earlier, taus, advantages), earlier

        (_, earlier), gradient = jit(jax.value_and_grad(two_iterations, has_aux=True))(eta)
        alone = objective(**changes)(eta, *earlier, taus, advantages)[1][0]
        assert_close(gradient, alone, rtol=1e-9, atol=1e-12)


def test_an_inner_step_holds_its_estimate_fixed():
    """A-hat depends on theta_c, but the score-function gradient takes it as data (Eq. 5)."""
    with jax.enable_x64(True):
        rule = make()
        eta, gates, nu, taus, _ = problem()
        new_gates, new_nu, estimate, gradient = jit(rule.inner_step)(eta, gates, nu, first(taus))
        tau, gates, nu = as_loops_read(taus)[0], by_agent(gates), by_agent(nu)
        said = learning.credit(eta["params"], gates, tau, discount=0.95, cost=0.0)
        np.testing.assert_allclose(np.asarray(estimate).reshape(STEPS, -1), said, rtol=1e-9)
        slopes = learning.score_gradient(gates, said, tau)
        assert_close(by_agent(gradient), slopes, rtol=1e-9, atol=1e-12)
        expected = learning.rmsprop(gates, nu, slopes, 0.05, 0.9, 1e-8)
        assert_close((by_agent(new_gates), by_agent(new_nu)), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("flag", ["stop_denominator", "stop_input_gradient"])
def test_flags_that_stop_a_derivative_change_it_but_not_the_value(flag):
    """A flag that is read nowhere, or that changes the algorithm itself."""
    changes = CASES["entropy and edge cost"]
    with jax.enable_x64(True):
        value, gradient = objective(**changes)(*problem())
        other_value, other = objective(**changes, **{f"meta__{flag}": True})(*problem())
    np.testing.assert_allclose(value, other_value, rtol=1e-12)
    apart = [a - b for a, b in zip(plain(gradient[0]), plain(other[0]), strict=True)]
    assert size(apart) > 1e-4 * size(gradient[0])


def test_eta_reads_the_future_only():
    """The estimate at t may depend on rewards at t and later, not on earlier ones."""
    rule = make()
    eta, gates, _, taus, _ = problem()
    tau = first(taus)

    def estimate(reward):
        return rule.advantage(eta, gates, tau.replace(reward=reward)).reshape(STEPS, -1)

    depends = np.any(np.asarray(jit(jax.jacrev(estimate))(tau.reward)) != 0, axis=1)
    np.testing.assert_array_equal(depends, np.triu(np.ones((STEPS, STEPS), bool)))


def test_the_cosine_with_reinforce_is_that_of_the_two_gradients():
    """Another trajectory, A-hat where A belongs, an agent left out, RMSprop's step for the gradient."""
    with jax.enable_x64(True):
        rule = make(**CASES["entropy and edge cost"])
        eta, gates, _, taus, advantages = problem()
        actual = jit(rule.reinforce_cosine)(eta, gates, first(taus), advantages[0])
        gates, tau = by_agent(gates), as_loops_read(taus)[0]
        said = learning.credit(eta["params"], gates, tau, discount=0.95, cost=0.2)
        asked, usual = (
            np.concatenate([np.ravel(x) for x in plain(learning.score_gradient(gates, w, tau))])
            for w in (said, np.repeat(np.asarray(advantages[0])[:, None], said.shape[1], axis=1))
        )
        expected = asked @ usual / np.sqrt(asked @ asked) / np.sqrt(usual @ usual)
        assert 1e-3 < abs(expected) < 0.999
        np.testing.assert_allclose(actual, expected, rtol=1e-9)


def test_the_cosine_is_zero_where_a_gradient_is():
    """And not NaN, which would pass for a seed that has left the finite numbers."""
    rule = make()
    eta, gates, _, taus, advantages = problem()
    cosine = jit(rule.reinforce_cosine)
    silent = jax.tree.map(jnp.zeros_like, eta)
    assert cosine(silent, gates, first(taus), advantages[0]) == 0
    assert cosine(eta, gates, first(taus), jnp.zeros(STEPS)) == 0
    assert cosine(eta, gates, first(taus), advantages[0]) != 0


def test_an_outer_update_reports_the_cosine_on_its_last_trajectory():
    """tau(K) under theta_c(K), the eta before its update, the advantage of the updated baseline."""
    with jax.enable_x64(True):
        rule = make()
        eta, gates, nu, taus, _ = problem()
        begun = start().replace(eta=eta, gates=gates, nu=nu)
        ended = begun.replace(gates=scattered(gates, 7, scale=1.0))
        steps = inner_steps(rule, begun, taus)
        new, measures, _ = jit(functools.partial(outer, rule))(begun, ended, taus, steps)
        last = jax.tree.map(lambda x: x[-1], taus)
        raw = baseline_advantage(rule, new.baseline.params, last)
        moments = new.baseline.moments
        mean = moments.total / moments.weight
        deviation = np.sqrt(moments.square / moments.weight - mean**2)
        cosine = rule.reinforce_cosine(eta, ended.gates, last, (raw - mean) / deviation)
        np.testing.assert_allclose(measures["reinforce_cosine"], cosine, rtol=1e-5)
        wrong = rule.reinforce_cosine(eta, gates, last, (raw - mean) / deviation)
        assert abs(wrong - cosine) > 1e-3


def baseline_advantage(rule, params, tau):
    """G - V, by hand."""
    values = np.asarray(rule.baseline.value(params, tau.observation))
    returns = learning.n_step_return(np.asarray(tau.reward), values, 0.95, 25)
    return jnp.asarray(returns - values[:-1])
