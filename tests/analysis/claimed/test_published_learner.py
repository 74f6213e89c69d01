"""What the base learner's page says of the paper's tasks at both settings is what its records tell."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from claimed_cases import shown

from purejax_mgtopo import load_run
from purejax_mgtopo.analysis.normalised import normalised_score
from purejax_mgtopo.analysis.statistics import stratified_bootstrap
from purejax_mgtopo.training.recipe import load_recipe

RUNS = Path(__file__).parents[3] / "runs"


def scored(task: str, returns: object) -> str:
    return shown(stratified_bootstrap([normalised_score(task, np.asarray(returns, float))]))


def cells_of(folder: Path) -> list[str]:
    """Score of the last evaluation and return of the final one; dashes where it was not run."""
    if not folder.exists():
        return ["-", "-"]
    run = load_run(folder)
    assert run.experiment.episodes == 20_000 and run.final.own and run.final.episodes == 1_000
    last = np.asarray(run.column("return_sampled")[:, -1], float)
    final = np.asarray(run.final.return_sampled, float)
    assert len(last) == 8
    return [scored(run.experiment.task, last), shown(stratified_bootstrap([final]), 1)]


@pytest.mark.parametrize("task", load_recipe(RUNS / "learner").tasks)
def test_rows_of_all_tasks(task: str) -> None:
    papers = json.loads((RUNS / "paper/base_learner.json").read_text(encoding="utf-8"))
    before = papers["tasks"][task]["returns"]
    assert len(before) == 8
    records = RUNS / "learner" / "records" / task
    cells = [f"`{task}`", scored(task, before)]
    cells += [*cells_of(records / "improved"), *cells_of(records / "factored")]
    row = f"| {' | '.join(cells)} |"
    assert row in (RUNS / "learner/README.md").read_text(encoding="utf-8"), row
