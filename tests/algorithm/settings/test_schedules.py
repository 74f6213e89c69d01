"""Whose programs depend on how long the whole training is to be, and that they say so."""

from __future__ import annotations

from typing import Any

import jax
import pytest
from jax.interpreters.partial_eval import dce_jaxpr

from purejax_mgtopo.algorithm.algorithm import Algorithm
from purejax_mgtopo.config import Experiment, override, with_method
from purejax_mgtopo.methods import CRITICS, MESSAGES, TOPOLOGIES

SETTINGS = {
    "task": "toy_crossed_goals",
    "learner.hidden": 4,
    "learner.batch_size": 4,
    "learner.replay_transitions": 200,
    "learner.warmup_episodes": 2,
    "updates_per_iteration": 2,
    "chunk_episodes": 2,
    "evaluation.every": 4,
}
NAMES = [
    *(f"{topology}+lstm" for topology in TOPOLOGIES),
    *(f"full+{messages}" for messages in MESSAGES if messages != "lstm"),
    *(f"full+lstm+{critic}" for critic in CRITICS if critic != "mlp"),
]
QUICK = ("universal+lstm", "gated_acml+lstm", "full+lstm", "full+commnet")
OTHERS: list[tuple[str, dict[str, Any], bool]] = [
    ("meta+lstm", {"meta.architecture": "edge"}, True),
    ("gated_acml+lstm", {"member.gated_acml.open_share": 0.0}, False),
    ("gated_acml+lstm", {"member.gated_acml.open_share": 1.0}, False),
    ("commformer+lstm", {"member.commformer.freeze_after": 0.0}, False),
    ("commformer+lstm", {"member.commformer.freeze_after": 1.0}, False),
]
FROZEN = {"commformer+lstm": {"member.commformer.freeze_after": 0.5}}
"""After the last episode, as by default, it asks for the length in vain."""


def made(method: str, episodes: int, **changes: Any) -> Algorithm:
    settings = SETTINGS | {"episodes": episodes} | changes
    return Algorithm(override(with_method(Experiment(), method), settings))


def program(algorithm: Algorithm) -> str:
    """An iteration's text, without what nothing depends on."""
    key = jax.eval_shape(lambda: jax.random.key(0))
    state = jax.eval_shape(algorithm.init, key)
    shared = jax.eval_shape(algorithm.parts.init_shared, key)
    traced = jax.make_jaxpr(algorithm.iterate)(state, algorithm.start_clock(), shared)
    needed, _ = dce_jaxpr(traced.jaxpr, [True] * len(traced.jaxpr.outvars))
    return str(needed)


@pytest.mark.parametrize(
    "method", [x if x in QUICK else pytest.param(x, marks=pytest.mark.slow) for x in NAMES]
)
def test_what_depends_on_the_length_says_so(method: str) -> None:
    """A part that says so needlessly is as wrong: its longer runs would be called other than they are."""
    short, long = (made(method, episodes, **FROZEN.get(method, {})) for episodes in (40, 80))
    assert short.parts.scheduled == (program(short) != program(long))


@pytest.mark.parametrize(("method", "changes", "expected"), OTHERS)
def test_where_settings_decide_it(method: str, changes: dict[str, Any], expected: bool) -> None:
    assert made(method, 40, **changes).parts.scheduled == expected
