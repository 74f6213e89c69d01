"""What a rule is worth among frozen teams: whole lifetimes under it, under REINFORCE, and under f on the wrong edges.

``python -m purejax_mgtopo.universal.trial RULE TEAMS... [--updates 300] [--lifetimes 32] [--out FILE]``: TEAMS are runs
of the method random, of tasks that the rule need not have seen. All conditions have the same lifetimes.
``--formula FILE``, made by ``python -m purejax_mgtopo.universal.formula``, tries a formula in the rule's place as well.
``--highest-cost PRICE`` draws prices of an edge from 0 to this, ``--longest-delay STEPS`` delays of rewards, where the
rule has learned from others.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from purejax_mgtopo.algorithm.edges import fill_diagonal
from purejax_mgtopo.algorithm.kernels.target import platform
from purejax_mgtopo.algorithm.topology.edgewise.judged import Edgewise
from purejax_mgtopo.algorithm.topology.edgewise.weights import read_rule
from purejax_mgtopo.algorithm.types import Purpose, PyTree
from purejax_mgtopo.config import Means
from purejax_mgtopo.machine.compiler import compiler_options
from purejax_mgtopo.machine.paths import expanded
from purejax_mgtopo.population.lanes import lanes_together, over_lanes
from purejax_mgtopo.trained.load import load_trained
from purejax_mgtopo.universal.conditions import Closing, Misplaced
from purejax_mgtopo.universal.formula.asked import Questions, answered
from purejax_mgtopo.universal.formula.written import Formula, Written, read_formula
from purejax_mgtopo.universal.lifetimes import Group, Lifetime, group_of
from purejax_mgtopo.universal.settings import MetaTraining

PLAIN = "plain"
"""With f = 0, which is REINFORCE."""
CONDITIONS = ("rule", PLAIN, "misplaced", "closing")


def whole_life(
    group: Group, eta: PyTree, updates: int, key: Key[Array, ""]
) -> dict[str, Float[Array, "..."]]:
    """A lifetime's priced return in each K updates' episodes, and in fresh ones at its end, in the task's scale."""

    def window(life: Lifetime, _: None) -> tuple[Lifetime, Array]:
        life, (taus, _told) = group.lived(eta, life)
        return life, jnp.mean(jnp.sum(taus.reward, axis=-1)) / life.lot.scale

    life = group.lasting(updates, key)
    life, curve = jax.lax.scan(window, life, length=updates // group.updates)
    fresh, _ = group.judged(life, life.key)
    right = group.env.right_edges_seen(fresh.observation[:, :-1])
    told = {
        "curve": curve,
        "late": jnp.mean(jnp.sum(fresh.reward, axis=-1)) / life.lot.scale,
        "open": jnp.mean(fresh.gates.probability),
    }
    if right is not None:
        opened = fill_diagonal(fresh.gates.probability)
        told["right_open"] = jnp.sum(opened * right) / jnp.sum(right)
    return told


RULES: dict[str, Callable[..., Edgewise]] = {
    "rule": Edgewise,
    "misplaced": Misplaced,
    "closing": Closing,
}
FORMULA = "formula"
"""With a formula that was fitted to the rule in its place."""


def interval(values: Float[np.ndarray, " S"]) -> list[float]:
    """The mean, and the ends of its 95 % bootstrap interval."""
    drawn = np.random.default_rng(0).choice(values, (2_000, len(values))).mean(axis=1)
    return [float(x) for x in (values.mean(), *np.quantile(drawn, (0.025, 0.975)))]


def lifetime_keys(seed: int, lifetimes: int) -> Key[Array, " lifetimes"]:
    """One key for each lifetime, the same under every rule."""
    return jax.random.split(Purpose.TRIAL.key(seed), lifetimes)


def trial(
    file: Path,
    teams: Path,
    updates: int,
    lifetimes: int,
    say: Callable[[str], None],
    formula: Formula | None = None,
    highest_cost: float | None = None,
    longest_delay: int | None = None,
) -> dict[str, Any]:
    """All conditions for one task's teams: means, and gains over REINFORCE with their 95 % intervals.

    Prices of an edge are uniform from 0 to `highest_cost`, and rewards come late by 0 to `longest_delay` steps; by
    default as those that the rule has learned from. A formula's gains over the rule are told as well, lifetime by
    lifetime: two intervals that overlap say little of the difference.
    """
    header, learned = read_rule(file)
    settings = MetaTraining(**(header.get("recipe") or {}))
    if highest_cost is not None:
        settings = replace(settings, highest_cost=highest_cost)
    if longest_delay is not None:
        settings = replace(settings, longest_delay=longest_delay)
    trained = load_trained(teams)
    keys = lifetime_keys(settings.seed, lifetimes)
    plain = group_of(trained, settings)

    def all_of(rule: Callable[..., Edgewise]) -> Callable[[PyTree, Array], Any]:
        group = copy.copy(plain)
        group.rule = rule(plain.rule.experiment, plain.rule.sizes)

        def live(eta: PyTree, keys: Array) -> Any:
            batch = lanes_together(Means(), lifetimes)
            return over_lanes(lambda key: whole_life(group, eta, updates, key), batch)(keys)

        return jax.jit(live, compiler_options=compiler_options(platform()))

    under = {name: all_of(rule) for name, rule in RULES.items()}
    if formula is not None:
        under[FORMULA] = all_of(partial(Written, formula))
    found: dict[str, Any] = {}
    for condition in (*CONDITIONS, *([] if formula is None else [FORMULA])):
        eta = jax.tree.map(jnp.asarray, learned)
        eta = jax.tree.map(jnp.zeros_like, eta) if condition == PLAIN else eta
        told = under.get(condition, under["rule"])(eta, keys)
        found[condition] = jax.tree.map(np.asarray, told)
        say(f"{trained.experiment.task} {condition}: late {np.mean(told['late']):.2f}")
    result: dict[str, Any] = {
        "task": trained.experiment.task,
        "lifetimes": lifetimes,
        "highest_cost": settings.highest_cost,
        "longest_delay": settings.longest_delay,
    }
    for name, told in found.items():
        result[name] = {key: float(np.mean(value)) for key, value in told.items() if key != "curve"}
        result[name]["whole"] = float(np.mean(told["curve"]))
        result[name]["curve"] = np.round(told["curve"].mean(axis=0), 3).tolist()
        for other, word in ((PLAIN, ""), ("rule", "over_rule_")):
            if name == PLAIN or (other == "rule" and name != FORMULA):
                continue
            for label, key in (("late", "late"), ("whole", "curve")):
                gain = (told[key] - found[other][key]).reshape(lifetimes, -1).mean(axis=1)
                result[name][f"gain_{word}{label}"] = interval(gain)
    return result


def main(words: Sequence[str] | None = None) -> int:
    """Try a rule as it is asked for, and answer with an exit code."""
    questions = Questions("trial", __doc__, lifetimes=32)
    questions.add_argument("--formula", type=expanded)
    questions.add_argument("--highest-cost", type=float)
    questions.add_argument("--longest-delay", type=int)

    def tried(asked: argparse.Namespace) -> list[dict[str, Any]]:
        formula = None if asked.formula is None else read_formula(asked.formula)
        found = [
            trial(
                asked.rule,
                teams,
                asked.updates,
                asked.lifetimes,
                print,
                formula=formula,
                highest_cost=asked.highest_cost,
                longest_delay=asked.longest_delay,
            )
            for teams in asked.teams
        ]
        print(json.dumps(found, indent=1))
        return found

    return answered(questions, tried, words)


if __name__ == "__main__":
    sys.exit(main())
