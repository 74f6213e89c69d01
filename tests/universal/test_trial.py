"""Trials: what is told of whole lifetimes under each rule; lifetimes here are numbers, and take no time."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from core_cases import Algorithm, jit, small

from purejax_mgtopo.trained.load import Networks
from purejax_mgtopo.universal import trial as trials
from purejax_mgtopo.universal.formula.written import Formula, Written

LIVES = 6
LEVEL = {"Edgewise": 3.0, "Misplaced": 1.0, "Closing": 8.0, "Written": 5.0}


def whole_life(group, eta, updates: int, key):
    """Luck that all rules share, a level of the rule's own, and a quarter of either in the last episodes."""
    corrects = eta > 0 if type(group.rule).__name__ == "Edgewise" else 1
    returned = 100 * jax.random.normal(key) + LEVEL[type(group.rule).__name__] * corrects
    own = jax.random.normal(jax.random.fold_in(key, 1)) * isinstance(group.rule, Written)
    curve = returned + jnp.asarray([-1.0, 1.0]) + own
    return {"curve": curve, "late": returned / 4, "open": jnp.asarray(0.5)}


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch):
    """A trial with a formula, and one without."""
    experiment = small("random", "toy_follow_holder", learner__hidden=4, updates_per_iteration=2)
    made = Algorithm(experiment)
    learners = jit(jax.vmap(made.maddpg.init))(jax.random.split(jax.random.key(0), 2))
    parts = SimpleNamespace(acting=lambda _: SimpleNamespace(interpreter=()))
    teams = SimpleNamespace(
        experiment=experiment,
        networks=Networks(learners, ()),  # type: ignore[arg-type]
        algorithm=SimpleNamespace(parts=parts),
    )
    monkeypatch.setattr(trials, "read_rule", lambda file: ({}, np.float32(1)))
    monkeypatch.setattr(trials, "load_trained", lambda folder: teams)
    monkeypatch.setattr(trials, "whole_life", whole_life)
    return [
        trials.trial(Path(), Path(), 4, LIVES, print, formula)
        for formula in (Formula(0.0, {"reward": 1.0}), None)
    ]


def paid(group, eta, updates: int, key):
    """The price that a lifetime was given, in the task's own scale."""
    lot = group.draw(key)
    price = lot.cost / lot.scale
    return {"curve": price[None], "late": price, "open": price}


def test_prices_are_the_rule_s_own_unless_others_are_asked_for(tried, monkeypatch) -> None:
    monkeypatch.setattr(trials, "whole_life", paid)
    usual, higher = (
        trials.trial(Path(), Path(), 4, LIVES, print, highest_cost=cost) for cost in (None, 0.3)
    )
    assert (usual["highest_cost"], higher["highest_cost"]) == (0.1, 0.3)
    assert 0 < usual["rule"]["late"] < 0.1
    np.testing.assert_allclose(higher["rule"]["late"], 3 * usual["rule"]["late"], rtol=1e-5)


def delayed(group, eta, updates: int, key):
    """By how many steps the rewards of a lifetime come late."""
    delay = group.draw(key).delay
    steps = jnp.zeros(()) if delay is None else delay.astype(float)
    return {"curve": steps[None], "late": steps, "open": steps}


def test_so_are_delays(tried, monkeypatch) -> None:
    monkeypatch.setattr(trials, "whole_life", delayed)
    recipe = {"recipe": {"longest_delay": 6}}
    monkeypatch.setattr(trials, "read_rule", lambda file: (recipe, np.float32(1)))
    usual, none = (
        trials.trial(Path(), Path(), 4, LIVES, print, longest_delay=steps) for steps in (None, 0)
    )
    assert (usual["longest_delay"], none["longest_delay"]) == (6, 0)
    assert usual["rule"]["late"] > 0 == none["rule"]["late"]


def test_a_formula_is_held_against_its_rule_lifetime_by_lifetime(tried) -> None:
    """Luck, which is a hundred times as large, is the same on both sides."""
    with_one, without = tried
    keys = trials.lifetime_keys(0, LIVES)
    own = np.array([jax.random.normal(jax.random.fold_in(key, 1)) for key in keys])
    point, low, high = with_one["formula"]["gain_over_rule_whole"]
    np.testing.assert_allclose(point, (2 + own).mean(), atol=1e-4)
    assert (2 + own).min() < low < point < high < (2 + own).max()
    late = with_one["formula"]["gain_over_rule_late"]
    np.testing.assert_allclose(late, [0.5, 0.5, 0.5], atol=1e-4)
    np.testing.assert_allclose(with_one["rule"]["gain_whole"], [3, 3, 3], atol=1e-4)
    others = [*without.values(), with_one["rule"], with_one["closing"]]
    assert not any("over_rule" in str(told) for told in others)
