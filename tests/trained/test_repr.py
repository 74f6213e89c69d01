"""What the objects say of themselves that a notebook shows: a line, and no numbers of thousands of weights."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from synthetic_runs import write_run
from trained_cases import synthetic

from purejax_mgtopo.cli.tables import assessment_table
from purejax_mgtopo.config import Experiment, Means
from purejax_mgtopo.records.run_data import load_run
from purejax_mgtopo.trained.load import TrainedRun
from purejax_mgtopo.trained.table import FILE_NAME, write_table


def test_trained_seeds_are_a_line() -> None:
    weights = {"w": np.zeros((3, 64, 64))}
    run = TrainedRun(
        folder=Path("results/a"),
        experiment=Experiment(task="toy_public"),
        means=Means(),
        algorithm=None,  # type: ignore[arg-type]
        seeds=(0, 1, 2),
        networks=weights,  # type: ignore[arg-type]
        episode=4000,
        frozen=frozenset({1}),
    )
    assert repr(run) == (
        "<TrainedRun toy_public, meta: seeds 0 to 2 after 4,000 episodes, 1 not finite; results/a>"
    )


def test_an_assessment_is_a_line() -> None:
    line = repr(synthetic())
    assert line.startswith(
        "<Assessment navigation_N3_l3, meta: 4 seeds, 3 episodes each, sampled, "
    )
    assert "array" not in line and line.endswith("; results/a>")


def test_final_returns_are_a_line_however_many_seeds(tmp_path: Path) -> None:
    data = load_run(write_run(tmp_path, "navigation_N3_l3", "meta", seeds=500, evaluations=2))
    line = repr(data.final)
    mean = data.final.return_sampled.mean()
    assert line == (
        f"<FinalReturns of 500 seeds: mean {mean:.2f}, 2 episodes each of the last evaluation>"
    )


def test_teams_of_one_method_are_told_apart_by_their_values(tmp_path: Path) -> None:
    import pyarrow.parquet as parquet

    found = [
        dataclasses.replace(
            synthetic(), folder=tmp_path / "navigation_N3_l3" / f"meta,hidden={hidden}"
        )
        for hidden in (64, 128)
    ]
    titles = [str(assessment_table(one).title) for one in found]
    assert ["meta, hidden=64:" in titles[0], "meta, hidden=128:" in titles[1]] == [True, True]
    path = write_table(found, tmp_path / FILE_NAME)
    methods = parquet.read_table(path)["method"].to_pylist()
    assert set(methods) == {"meta, hidden=64", "meta, hidden=128"}
