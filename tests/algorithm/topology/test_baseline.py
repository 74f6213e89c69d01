"""The learned baseline: returns, normalisation, and a semi-gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from core_cases import assert_close, jit, made_up_trajectory, scattered, size, sizes, small
from oracles import learning

from purejax_mgtopo.algorithm.topology.baseline import Baseline, Moments, n_step_return

STEPS, AGENTS, WIDTH = 6, 2, 3


@pytest.mark.parametrize("n", [1, 3, 5, STEPS, STEPS + 5])
@pytest.mark.parametrize("discount", [0.0, 0.9])
def test_n_step_returns_equal_an_explicit_loop(n, discount):
    """A reward too many, a missing bootstrap, a zero value at the time limit."""
    rng = np.random.default_rng(n)
    reward, value = rng.normal(size=STEPS), rng.normal(size=STEPS + 1)
    actual = n_step_return(jnp.asarray(reward, float), jnp.asarray(value, float), discount, n)
    expected = learning.n_step_return(reward, value, discount, n)
    np.testing.assert_allclose(actual, expected, rtol=2e-5, atol=1e-6)


def test_moments_equal_weighted_statistics_of_all_that_came():
    """Decayed twice, not bias-corrected, variance for deviation."""
    rng = np.random.default_rng(0)
    series = rng.normal(3.0, 2.0, size=(7, 10)).astype(np.float32)
    moments = Moments.zero()
    for values in series:
        moments = moments.updated(jnp.asarray(values), 0.8)
    weight = np.repeat(0.8 ** np.arange(6, -1, -1), 10)
    mean = np.average(series.ravel(), weights=weight)
    deviation = np.sqrt(np.average((series.ravel() - mean) ** 2, weights=weight))
    new = rng.normal(size=5).astype(np.float32)
    np.testing.assert_allclose(
        moments.normalised(jnp.asarray(new)), (new - mean) / deviation, rtol=1e-4
    )


def test_moments_of_a_constant_are_finite():
    moments = Moments.zero().updated(jnp.full(4, 2.0), 0.9)
    assert np.isfinite(moments.normalised(jnp.full(4, 2.0))).all()


def problem(**changes):
    baseline = Baseline(small(baseline__n_step=2, **changes), sizes(AGENTS, WIDTH))
    state = jit(baseline.init)(jax.random.key(0))
    state = state.replace(params=scattered(state.params, 1))
    return baseline, state, made_up_trajectory(2, STEPS, AGENTS, WIDTH)


def values_of(state, tau):
    joined = np.asarray(tau.observation).reshape(STEPS + 1, -1)
    return learning.mlp(state.params["params"], joined)[:, 0]


def test_fit_is_one_adam_step_on_a_semi_gradient():
    """A target that is differentiated, a step down a wrong loss, Adam's state dropped."""
    baseline, state, tau = problem()
    price = jnp.asarray(np.random.default_rng(3).normal(size=STEPS), float)
    target = learning.n_step_return(np.asarray(price), values_of(state, tau), 0.95, 2)
    joined = tau.observation.reshape(STEPS + 1, -1)[:-1]

    def loss(params):
        return jnp.mean((target - learning.mlp(params["params"], joined, jnp)[:, 0]) ** 2)

    @jit
    def expected(params):
        adam = optax.adam(1e-3)
        value, gradient = jax.value_and_grad(loss)(params)
        updates, optimizer = adam.update(gradient, adam.init(params))
        return optax.apply_updates(params, updates), optimizer, value

    new, error = jit(baseline.fit)(state, tau, price)
    params, optimizer, value = expected(state.params)
    np.testing.assert_allclose(error, value, rtol=1e-5)
    assert_close(jax.tree.leaves(new.optimizer), jax.tree.leaves(optimizer), rtol=1e-4, atol=1e-6)
    assert_close(new.params, params, atol=1e-6)


@pytest.mark.parametrize("normalise", [True, False])
def test_advantages_are_returns_less_values_and_data(normalise):
    """The value added, the moments of the past only, a gradient into phi."""
    baseline, state, tau = problem(baseline__normalise=normalise)
    moments = Moments(*(jnp.asarray(x) for x in (2.0, 1.0, 5.0)))
    state = state.replace(moments=moments)

    def weighed(params):
        advantage, after = baseline.advantage(state.replace(params=params), tau, tau.reward)
        return jnp.sum(advantage**2), (advantage, after)

    gradient, (advantage, after) = jit(jax.grad(weighed, has_aux=True))(state.params)
    assert size(gradient) == 0
    values = values_of(state, tau)
    raw = learning.n_step_return(np.asarray(tau.reward), values, 0.95, 2) - values[:-1]
    weight, total, square = 0.99 * np.array([2, 1, 5]) + [1, raw.mean(), (raw**2).mean()]
    deviation = np.sqrt(square / weight - (total / weight) ** 2)
    expected = (raw - total / weight) / deviation if normalise else raw
    np.testing.assert_allclose(advantage, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        [after.moments.weight, after.moments.total, after.moments.square],
        [weight, total, square],
        rtol=1e-5,
    )
