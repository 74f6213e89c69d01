"""The meta-gradient: right by finite differences, right by an explicit loop, and no wider than it should be."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from core_cases import assert_close, is_zero, jit, made_up_trajectory, scattered, size, small
from oracles import learning

from purejax_mgtopo.topology.meta import MetaGradient
from purejax_mgtopo.types import Trajectory

AGENTS, WIDTH, STEPS, K = 2, 3, 4, 2

CASES = {
    "blended": {},
    "last update only": {"meta__blend_intermediate": False},
    "entropy and edge cost": {"meta__entropy": 0.3, "gates__edge_cost": 0.2},
    "from a zero nu": {"zero_nu": True},
}


def problem(agents: int = AGENTS, zero_nu: bool = False, **changes):
    """A rule, eta, theta_c(0), nu(0), tau(0..K) and advantages, in the precision that is on."""
    rule = MetaGradient(small(gates__learning_rate=0.05, **changes), agents, WIDTH)
    state = jit(rule.init)(jax.random.key(1))
    eta, gates = scattered(state.eta, 1), scattered(state.gates, 2)
    nu = scattered(jax.tree.map(np.zeros_like, gates), 3, scale=0.0 if zero_nu else 0.1)
    nu = jax.tree.map(np.square, nu)
    taus = made_up_trajectory(3, STEPS, agents, WIDTH, lead=(K + 1,))
    advantages = jnp.asarray(np.random.default_rng(4).normal(size=(K, STEPS)), float)
    return rule, eta, gates, nu, taus, advantages


@pytest.mark.parametrize("case", CASES)
def test_the_gradient_equals_central_differences(case):
    """Any wrong or missing derivative: through A-hat, nu, both logs, the order of the updates."""
    with jax.enable_x64(True):
        rule, eta, *data = problem(**CASES[case])
        flat, unravel = jax.flatten_util.ravel_pytree(eta)
        assert flat.dtype == jnp.float64
        both = jit(jax.value_and_grad(lambda flat: rule.meta_objective(unravel(flat), *data)))
        gradient = np.asarray(both(flat)[1])
        assert np.isfinite(gradient).all()
        rng = np.random.default_rng(0)
        directions = list(rng.normal(size=(6, flat.size)))
        directions += list(np.eye(flat.size)[np.argsort(-np.abs(gradient))[:4]])
        for direction in directions:
            step = 1e-6 * direction
            difference = (both(flat + step)[0] - both(flat - step)[0]) / 2e-6
            assert abs(gradient @ direction) > 1e-7
            np.testing.assert_allclose(gradient @ direction, difference, rtol=1e-5)


def as_loops_read(taus: Trajectory) -> list[dict[str, np.ndarray]]:
    fields = {
        "observation": np.asarray(taus.observation),
        "reward": np.asarray(taus.reward),
        "decision": np.asarray(taus.gates.decision),
    }
    return [{name: x[k] for name, x in fields.items()} for k in range(K + 1)]


def by_agent(tree, agents=AGENTS):
    return [jax.tree.map(lambda x, i=i: x[i], tree)["params"] for i in range(agents)]


@pytest.mark.parametrize("case", CASES)
def test_the_objective_and_its_gradient_equal_an_explicit_loop(case):
    """A trajectory's index off by one, the wrong eta input, a wrong sign, mean for sum."""
    with jax.enable_x64(True):
        rule, eta, gates, nu, taus, advantages = problem(**CASES[case])
        settings = dict(
            discount=0.95,
            rate=0.05,
            decay=0.9,
            epsilon=1e-8,
            beta=rule.meta.entropy,
            cost=rule.settings.edge_cost,
            blend=rule.meta.blend_intermediate,
        )

        data = by_agent(gates), by_agent(nu), as_loops_read(taus), np.asarray(advantages)

        def loop(eta):
            return learning.meta_objective(eta["params"], *data, **settings)

        expected = jit(jax.value_and_grad(loop))(eta)
        actual = jit(jax.value_and_grad(rule.meta_objective))(eta, gates, nu, taus, advantages)
        assert_close(actual, expected, rtol=1e-7, atol=1e-10)


def test_nothing_but_eta_is_differentiated():
    """Meta-gradients that leak into theta_c(0), nu(0), the trajectories or the baseline's advantages."""
    rule, eta, *data = problem()
    gradient = jit(jax.grad(rule.meta_objective, argnums=(0, 1, 2, 3, 4)))(eta, *data)
    assert size(gradient[0]) > 0
    assert is_zero(gradient[1:])


def test_the_previous_iteration_adds_no_derivative():
    """theta_c(0) depends on eta through the last iteration's updates; that path must be cut."""
    rule, eta, gates, nu, taus, advantages = problem()

    def two_iterations(eta):
        first = jax.tree.map(lambda x: x[0], taus)
        earlier, earlier_nu, _, _ = rule.inner_step(eta, gates, nu, first)
        return rule.meta_objective(eta, earlier, earlier_nu, taus, advantages)

    def second_alone(eta, start):
        return rule.meta_objective(eta, *start, taus, advantages)

    start = rule.inner_step(eta, gates, nu, jax.tree.map(lambda x: x[0], taus))[:2]
    assert_close(
        jit(jax.grad(two_iterations))(eta), jit(jax.grad(second_alone))(eta, start), atol=1e-7
    )


def test_an_inner_step_holds_its_estimate_fixed():
    """A-hat depends on theta_c, but the score-function gradient takes it as data."""
    rule, eta, gates, nu, taus, _ = problem()
    tau = jax.tree.map(lambda x: x[0], taus)
    _, _, estimate, gradient = jit(rule.inner_step)(eta, gates, nu, tau)

    def score(gates):
        return learning.score(
            by_agent(gates),
            np.asarray(estimate).reshape(STEPS, -1),
            {"observation": tau.observation, "decision": np.asarray(tau.gates.decision)},
        )

    assert_close(gradient, jax.grad(score)(gates), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("flag", ["stop_denominator", "stop_input_gradient"])
def test_flags_that_stop_a_derivative_change_it_but_not_the_value(flag):
    """A flag that is read nowhere, or that changes the algorithm itself."""
    rule, eta, *data = problem()
    stopped = problem(**{f"meta__{flag}": True})[0]
    value, gradient = jit(jax.value_and_grad(rule.meta_objective))(eta, *data)
    other_value, other = jit(jax.value_and_grad(stopped.meta_objective))(eta, *data)
    np.testing.assert_allclose(value, other_value, rtol=1e-6)
    difference = size(jax.tree.map(jnp.subtract, gradient, other)) / size(gradient)
    assert 1e-4 < difference


def test_eta_reads_the_future_only():
    """The estimate at t may depend on t and later, not on earlier steps."""
    rule, eta, gates, _, taus, _ = problem()
    tau = jax.tree.map(lambda x: x[0], taus)

    def estimate(reward):
        return rule.advantage(eta, gates, tau.replace(reward=reward)).reshape(STEPS, -1)

    depends = np.any(np.asarray(jax.jacobian(estimate)(tau.reward)) != 0, axis=1)
    np.testing.assert_array_equal(depends, np.triu(np.ones((STEPS, STEPS), bool)))
