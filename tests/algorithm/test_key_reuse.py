"""No random key is used twice: JAX's own checker reads the programs of every rule and interpreter."""

from __future__ import annotations

import jax
import pytest
from core_cases import Algorithm, jit, small, unused_keys
from jax.errors import KeyReuseError

from purejax_mgtopo import methods
from purejax_mgtopo.algorithm.evaluate import evaluate

CHIEF = [("meta", "lstm"), ("reinforce", "rial"), ("i2c", "lstm")]
"""In the second both rule and interpreter draw a state of their own."""
PAIRS = dict.fromkeys(
    [
        *CHIEF,
        *((name, "lstm") for name in methods.TOPOLOGIES),
        *(("full", name) for name in methods.MESSAGES),
    ]
)


def test_the_checker_sees_a_key_that_is_used_twice() -> None:
    def twice(key):
        return jax.random.uniform(key) + jax.random.normal(key)

    with jax.debug_key_reuse(True), pytest.raises(KeyReuseError):
        jit(twice)(jax.random.key(0))


@pytest.mark.parametrize(
    ("topology", "messages"),
    [pytest.param(*pair, marks=() if pair in CHIEF else pytest.mark.slow) for pair in PAIRS],
)
def test_no_key_is_used_twice(topology: str, messages: str) -> None:
    """At the start, in an iteration, and in an evaluation."""
    check(small(f"{topology}+{messages}", "toy_follow_holder"))


def test_no_key_is_used_twice_where_an_episode_teaches_more_than_once() -> None:
    check(small("stgs", "toy_follow_holder", learner__updates_per_episode=3))


def check(experiment) -> None:
    algorithm = Algorithm(experiment)
    shared = algorithm.parts.init_shared(jax.random.key(1))
    with jax.debug_key_reuse(True):
        state = jit(algorithm.init)(jax.random.key(0))
        state, _, _ = jit(algorithm.iterate)(unused_keys(state), algorithm.start_clock(), shared)
        jit(lambda state: evaluate(algorithm, state))(unused_keys(state))
