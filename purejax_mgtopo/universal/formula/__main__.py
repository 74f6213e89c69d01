"""A rule as a formula: least squares of its f on what it is told, over whole lifetimes among frozen teams.

``python -m purejax_mgtopo.universal.formula RULE TEAMS... [--updates 300] [--lifetimes 12] [--terms 3] [--out FILE]``:
TEAMS are runs of the method random. It prints the sets of up to three terms that explain most of f's variance, with
coefficients and their units. FILE keeps them; ``trial --formula FILE`` puts the best formula in the rule's place.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from purejax_mgtopo.algorithm.topology.edgewise.inputs import NAMES
from purejax_mgtopo.algorithm.topology.edgewise.weights import read_rule
from purejax_mgtopo.records.record import each_once
from purejax_mgtopo.trained.load import load_trained
from purejax_mgtopo.universal.formula.asked import Questions, answered, count
from purejax_mgtopo.universal.formula.collected import question_keys, windows
from purejax_mgtopo.universal.formula.findings import Findings
from purejax_mgtopo.universal.formula.regression import Regression, Sums, uncertain
from purejax_mgtopo.universal.formula.terms import TERMS
from purejax_mgtopo.universal.lifetimes import group_of
from purejax_mgtopo.universal.settings import MetaTraining


def findings(
    file: Path,
    teams: Sequence[Path],
    updates: int,
    lifetimes: int,
    most: int,
    say: Callable[[str], None],
) -> Findings:
    """What a rule says as formulas of 1 to `most` terms, over so many lifetimes among each run's teams, each run once.

    Raises ConfigError and RunError, each in one line.
    """
    header, learned = read_rule(file)
    settings = MetaTraining(**(header.get("recipe") or {}))
    eta = jax.tree.map(jnp.asarray, learned)
    tasks, asked = [], []
    for folder in each_once(teams):
        trained = load_trained(folder)
        tasks.append(trained.experiment.task)
        say(f"{tasks[-1]}: {lifetimes} lifetimes of {updates} gate updates")
        asked.append(Sums(lifetimes))
        keys = question_keys(settings.seed, lifetimes)
        for told in windows(group_of(trained, settings), eta, updates, keys):
            asked[-1].add(told)
    means = np.concatenate([sums.means() for sums in asked])
    course = np.sum([sums.course for sums in asked], axis=0)
    closed, opened = ((side[:, 0] / np.maximum(side[:, 1], 1)).round(4).tolist() for side in course)
    regression = Regression(means.mean(axis=0))
    best = regression.best(most)
    return Findings(
        rule=str(header["sha256"]),
        tasks=tuple(tasks),
        lifetimes=lifetimes,
        updates=updates,
        edges=int(sum(sums.count.sum() for sums in asked)),
        mean=float(regression.mean[-1]),
        variance=regression.variance,
        course={"open": opened, "closed": closed},
        all_inputs=regression.share_of(NAMES),
        all_terms=regression.share_of(list(TERMS)),
        best=best,
        uncertain={
            size: uncertain(means, list(fits[0].formula.coefficients))
            for size, fits in best.items()
        },
    )


def main(words: Sequence[str] | None = None) -> int:
    """Fit formulas as they are asked for, and answer with an exit code."""
    questions = Questions("formula", __doc__, lifetimes=12)
    questions.add_argument("--terms", type=count, default=3)

    def fitted(asked: argparse.Namespace) -> dict[str, Any]:
        found = findings(
            asked.rule, asked.teams, asked.updates, asked.lifetimes, asked.terms, print
        )
        print("\n".join(found.lines()))
        return found.document()

    return answered(questions, fitted, words)


if __name__ == "__main__":
    sys.exit(main())
