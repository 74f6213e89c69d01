"""Precision and recall of edges on their way: from training to records, W&B, report and `mgtopo evaluate`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import pytest
from stand_ins import train
from trained_cases import TINY

from purejax_mgtopo.cli.tables import assessment_table, console
from purejax_mgtopo.config import Config, override
from purejax_mgtopo.mirror.rows import evaluation_row
from purejax_mgtopo.records.metrics import read_metrics
from purejax_mgtopo.report.page import render
from purejax_mgtopo.report.report import build_report
from purejax_mgtopo.trained.assess import assess
from purejax_mgtopo.trained.table import write_table

TOY = TINY | {"task": "toy_follow_holder", "topology": "full", "first_seed": 0}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("quality") / "full"
    train(override(Config(), TOY), folder)
    return folder


@pytest.mark.slow
def test_everybody_hears_everybody_and_one_edge_of_six_is_right(run: Path) -> None:
    table = parquet.read_table(run / "metrics.parquet")
    for end in ("", "_greedy"):
        np.testing.assert_allclose(table[f"edge_precision{end}"].to_numpy(), 1 / 6, rtol=1e-5)
        np.testing.assert_allclose(table[f"edge_recall{end}"].to_numpy(), 1.0)
    evaluation = list(read_metrics([run / "metrics.parquet"]))[-1]
    row = evaluation_row(evaluation, override(Config(), TOY).experiment)
    assert row["metrics/edge_precision"] == pytest.approx(1 / 6)
    assert row["metrics/edge_recall_greedy"] == 1
    report = build_report([run], episodes=False)
    (shown,) = report.runs
    assert (shown.precision, shown.recall) == (pytest.approx(1 / 6), 1)
    page = render(report)
    assert ">precision</th>" in page and '<td class="n">0.17</td><td class="n">1.00</td>' in page


@pytest.mark.slow
def test_evaluate_tells_them_for_every_condition(run: Path, tmp_path: Path, capsys) -> None:
    done = assess(run, episodes=4)
    precision, recall = (done.outcome.edge_quality[f"edge_{n}"] for n in ("precision", "recall"))
    at = {condition: c for c, condition in enumerate(done.conditions)}
    for condition in ("sampled", "greedy", "open"):
        np.testing.assert_allclose(precision[:, at[condition]], 1 / 6, rtol=1e-5)
        np.testing.assert_allclose(recall[:, at[condition]], 1.0)
    assert np.isnan(precision[:, at["cut"]]).all() and not recall[:, at["cut"]].any()
    rows = parquet.read_table(write_table([done], tmp_path / "table.parquet")).to_pylist()
    cut = next(row for row in rows if row["condition"] == "cut")
    assert (cut["edge_precision"], cut["edge_recall"]) == (None, 0)
    console(200).print(assessment_table(done, 200))
    lines = capsys.readouterr().out.splitlines()
    assert any("precision" in line and "recall" in line for line in lines)
    assert "0.17" in next(line for line in lines if line.strip().startswith("open"))
