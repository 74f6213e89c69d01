"""What the page of the paper's tasks says of Figure 2 and of other channels is what its records tell."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import pytest
from claimed_cases import shown

from purejax_mgtopo import load_run
from purejax_mgtopo.analysis.judging import ahead
from purejax_mgtopo.analysis.normalised import normalised_score
from purejax_mgtopo.analysis.statistics import stratified_bootstrap
from purejax_mgtopo.records.record import find_runs
from purejax_mgtopo.training.recipe import load_recipe

FOLDER = Path(__file__).parents[3] / "runs" / "paper"
TASKS = ("navigation_N3_l3", "predator_prey_N3_l3")


def page() -> str:
    return (FOLDER / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("task", TASKS)
def test_rows_of_figure_2(task: str) -> None:
    found = {run.name: load_run(run) for run in find_runs([FOLDER / "records" / task])}
    runs = {name: found[name] for name in load_recipe(FOLDER).methods if name in found}
    assert len(runs) == 5
    returns = {name: np.asarray(run.final.return_sampled, float) for name, run in runs.items()}
    rivals = [name for name in runs if name != "meta"]
    for name, run in runs.items():
        assert run.final.own and run.final.episodes == 1_000 and run.experiment.episodes == 50_000
        score = stratified_bootstrap([normalised_score(task, returns[name])]).point
        open_edges = stratified_bootstrap([np.asarray(run.final.edge_rate, float)]).point
        chances = ["" if other == name else shown(ahead(returns, name, other)) for other in rivals]
        cells = [f"`{name}`", shown(stratified_bootstrap([returns[name]])), f"{score:.2f}"]
        cells += [f"{open_edges:.0%}".replace("%", " %"), *chances]
        row = "|" + "|".join(f" {cell} " if cell else " " for cell in cells) + "|"
        assert row in page(), row


@pytest.mark.parametrize("task", TASKS)
def test_rows_of_other_channels(task: str) -> None:
    rows = parquet.read_table(FOLDER / "records" / "evaluation.parquet").to_pylist()
    text = page().split(f"`{task}`, ", 1)[1]
    for condition, words in (
        ("sampled", "as it is"),
        ("random", "as many edges, random ones"),
        ("open", "all open"),
        ("cut", "cut"),
        ("shuffled", "messages of another episode"),
    ):
        cells = []
        for method in ("full", "reinforce", "meta"):
            values = [
                row["return"]
                for row in rows
                if (row["task"], row["method"], row["condition"]) == (task, method, condition)
            ]
            assert len(values) == 8
            whole = method == "full" and condition in ("random", "open")  # all its edges are open
            cells.append("-" if whole else shown(stratified_bootstrap([np.array(values)])))
        assert f"| {words} | {' | '.join(cells)} |" in text
