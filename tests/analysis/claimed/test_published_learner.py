"""What the base learner's page says of the paper's tasks at both settings is what its records tell."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from purejax_mgtopo import load_run
from purejax_mgtopo.analysis.normalised import normalised_score
from purejax_mgtopo.analysis.statistics import Interval, stratified_bootstrap
from purejax_mgtopo.training.recipe import load_recipe

RUNS = Path(__file__).parents[3] / "runs"


def shown(found: Interval, digits: int) -> str:
    return f"{found.point:.{digits}f} [{found.low:.{digits}f}, {found.high:.{digits}f}]"


def scored(task: str, returns: object) -> str:
    return shown(stratified_bootstrap([normalised_score(task, np.asarray(returns, float))]), 2)


@pytest.mark.parametrize("task", load_recipe(RUNS / "learner").tasks)
def test_rows_of_all_tasks(task: str) -> None:
    before = json.loads((RUNS / "paper/base_learner.json").read_text(encoding="utf-8"))
    run = load_run(RUNS / "learner/records" / task / "improved")
    assert run.experiment.episodes == 20_000 and run.final.own and run.final.episodes == 1_000
    last = np.asarray(run.column("return_sampled")[:, -1], float)
    final = np.asarray(run.final.return_sampled, float)
    assert len(before["tasks"][task]["returns"]) == len(last) == 8
    cells = [f"`{task}`", scored(task, before["tasks"][task]["returns"]), scored(task, last)]
    row = f"| {' | '.join(cells)} | {shown(stratified_bootstrap([final]), 1)} |"
    assert row in (RUNS / "learner/README.md").read_text(encoding="utf-8"), row
