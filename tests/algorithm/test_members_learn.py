"""The whole loop with each member of other papers: an iteration is finite, and moves what is the member's own."""

import jax
import numpy as np
import pytest
from core_cases import NOTHING, algorithm, is_same, jit, plain

from purejax_mgtopo.methods import ALIASES, METHODS

TASK = "toy_follow_holder"
OWN = {
    "tarmac": ("policy", ()),
    "magic": ("rule", ("gates",)),
    "dial": ("policy", ()),
    "rial": ("interpreter", ("values", "target", "known", "symbol", "reward")),
    "gated_acml": ("rule", ("gates", "threshold")),
    "i2c": ("rule", ("gates", "effect", "threshold")),
    "vbc": ("rule", ("values", "unsure", "telling")),
    "atoc": ("rule", ("gates",)),
    "commformer": ("rule", ("alpha",)),
}
"""Whose state it is, and what of it moves."""
CHANGES = {
    "rial": {"member__rial__memory_episodes": 4},
    "commformer": {"member__commformer__every": 2},
    "atoc": {"member__atoc__initiation": 0.6},
}


@pytest.mark.quick_cases(3)
@pytest.mark.parametrize("method", [name for name in METHODS if name not in ALIASES])
def test_every_method_learns_from_a_critic_that_knows_no_order(method: str) -> None:
    """Rules that ask the critic for values of their own get them from this one as well."""
    made = algorithm(method, TASK, critic="pic", **CHANGES.get(method, {}))
    state = jit(made.init)(jax.random.key(0))
    after, measures, _ = jit(lambda s: made.iterate(s, made.start_clock(), NOTHING))(state)
    assert all(np.isfinite(leaf).all() for leaf in plain((after.learner, after.parts, measures)))
    assert not is_same(after.learner.critic, state.learner.critic)
    assert not is_same(after.learner.policy.head, state.learner.policy.head)


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize("method", OWN)
def test_an_iteration_is_finite_and_moves_what_it_should(method: str) -> None:
    made = algorithm(method, TASK, **CHANGES.get(method, {}))
    state = jit(made.init)(jax.random.key(0))
    after, measures, _ = jit(lambda s: made.iterate(s, made.start_clock(), NOTHING))(state)
    assert all(np.isfinite(leaf).all() for leaf in plain((after.learner, after.parts, measures)))
    assert set(measures) == set(made.measures)
    assert not is_same(after.learner.policy.head, state.learner.policy.head)
    assert not is_same(after.learner.policy.interpreter, state.learner.policy.interpreter)
    whose, names = OWN[method]
    if names:
        old, new = (getattr(x.parts, whose) for x in (state, after))
        for name in names:
            assert not is_same(getattr(old, name), getattr(new, name)), name
