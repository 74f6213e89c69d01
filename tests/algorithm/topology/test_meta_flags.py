"""The options of the meta rule: each changes what it says, and the gradient stays right."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from core_cases import jit, made_up_trajectory, scattered, sizes, small

from purejax_mgtopo.algorithm.topology.meta import MetaGradient

AGENTS, WIDTH, STEPS, K = 2, 3, 4, 2
FLAGS = {
    "append_decisions": True,
    "reward_transform": "signed_log",
    "output_l2": 0.3,
}
APPROXIMATE = ("stop_input_gradient", "stop_denominator")
"""These drop part of the derivative on purpose."""


def problem(**changes):
    rule = MetaGradient(small(gates__learning_rate=0.05, **changes), sizes(AGENTS, WIDTH))
    state = jit(rule.init)(jax.random.key(1))
    eta, gates = scattered(state.eta, 1), scattered(state.gates, 2)
    nu = jax.tree.map(lambda x: jnp.full_like(x, 0.01), gates)
    taus = made_up_trajectory(3, STEPS, AGENTS, WIDTH, lead=(K + 1,))
    advantages = jnp.asarray(np.random.default_rng(4).normal(size=(K, STEPS)), float)
    return jit(jax.value_and_grad(rule.meta_objective)), eta, (gates, nu, taus, advantages)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("flag", FLAGS)
def test_the_gradient_equals_central_differences(flag):
    with jax.enable_x64(True):
        both, eta, data = problem(**{f"meta__{flag}": FLAGS[flag]})
        flat, unravel = jax.flatten_util.ravel_pytree(eta)
        gradient = np.asarray(jax.flatten_util.ravel_pytree(both(eta, *data)[1])[0])
        for direction in np.random.default_rng(0).normal(size=(3, flat.size)):
            above, below = (both(unravel(flat + h * direction), *data)[0] for h in (1e-6, -1e-6))
            np.testing.assert_allclose(gradient @ direction, (above - below) / 2e-6, rtol=1e-5)


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize("flag", [*FLAGS, *APPROXIMATE])
def test_the_option_has_an_effect(flag):
    with jax.enable_x64(True):
        plain, eta, data = problem()
        value, gradient = plain(eta, *data)
        both, own_eta, _ = problem(**{f"meta__{flag}": FLAGS.get(flag, True)})
        # Appending decisions widens eta's input, so it has an eta of its own.
        same_eta = flag != "append_decisions"
        changed, changed_gradient = both(eta if same_eta else own_eta, *data)
        flat, own = (
            np.asarray(jax.flatten_util.ravel_pytree(tree)[0])
            for tree in (gradient, changed_gradient)
        )
    assert np.isfinite(own).all()
    if flag in APPROXIMATE:
        np.testing.assert_allclose(changed, value, rtol=1e-12)
        assert not np.allclose(own, flat, rtol=1e-6)
    else:
        assert not np.isclose(changed, value, rtol=1e-9)
