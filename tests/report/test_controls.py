"""What communication is worth, on the page."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from synthetic_runs import write_run

from purejax_mgtopo.report.controls import read_controls, sentence
from purejax_mgtopo.report.report import write_report

FALLS = {"sampled": 0.0, "greedy": 0.5, "cut": -4.0, "open": -1.0, "shuffled": -3.0}
FINALS = [10.0, 12.0, 14.0, 19.0]


def table(path: Path, falls: dict[str, float], *, seeds=FINALS, diverged=(), **columns) -> None:
    rows = [
        {
            "run": "results/meta", "task": "navigation_N3_l3", "method": "meta", "seed": seed,
            "finite": seed not in diverged, "condition": condition, "episodes": 50,
            "return": final + fall,
        } | columns
        for seed, final in enumerate(seeds)
        for condition, fall in falls.items()
    ]  # fmt: skip
    kind = {b"purejax_mgtopo.evaluation": b"{}"}
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.Table.from_pylist(rows).replace_schema_metadata(kind), path)


def test_every_channel_stands_with_its_return_and_the_gain_that_is_left(tmp_path) -> None:
    table(tmp_path / "evaluation.parquet", FALLS)
    (team,) = read_controls([tmp_path])
    assert (team.task, team.method, team.seeds, team.episodes) == (
        "navigation_N3_l3", "meta", 4, 50,
    )  # fmt: skip
    for control in team.controls:
        assert control.episodic_return.point == pytest.approx(13 + FALLS[control.channel])
    kept = {c.channel: c.kept and c.kept.point for c in team.controls}
    assert kept == {
        "sampled": None, "cut": None, "greedy": 1.125, "open": 0.75, "shuffled": 0.25,
    }  # fmt: skip
    assert sentence(team) == (
        "meta: 25% [25%, 25%] of what it gains by its channel survives shuffled messages."
    )


def test_seeds_that_diverged_are_left_out_and_the_latest_table_counts(tmp_path) -> None:
    table(tmp_path / "a" / "evaluation.parquet", FALLS, seeds=[1.0, 1.0])
    table(tmp_path / "b" / "evaluation.parquet", FALLS, seeds=[*FINALS, 1e6], diverged=(4,))
    os.utime(tmp_path / "a" / "evaluation.parquet", (1, 1))
    (team,) = read_controls([tmp_path])
    sampled = team.over("sampled")
    assert team.seeds == 4 and sampled is not None and sampled.episodic_return.point == 13


def test_a_run_is_told_once_from_wherever_it_was_evaluated(tmp_path, monkeypatch) -> None:
    """Tables name a run as it was seen from a folder; what is not found is told by its words alone."""
    home, file = tmp_path / "work" / "results", "evaluation.parquet"
    run = home / "toy" / "meta"
    run.mkdir(parents=True)
    (home / "toy" / "full").mkdir()
    seen = {home / file: "results/toy/meta", run / file: "toy/meta", home / "toy" / file: "meta"}
    seen |= {home / "out" / file: str(run), home / "far" / file: "results/toy/../toy/meta"}
    for age, (place, name) in enumerate(seen.items()):
        table(place, FALLS, seeds=[age, age], run=name, method=f"word {age}")
        os.utime(place, (age, age))
    (team,) = read_controls([tmp_path])
    sampled = team.over("sampled")
    assert sampled is not None and sampled.episodic_return.point == 4  # the latest
    table(home / "other" / file, FALLS, run="toy/full")
    table(home / "gone" / file, FALLS, run="toy/gone")
    table(home / "gone too" / file, FALLS, run="toy/gone", task="push_N3")
    assert len(read_controls([tmp_path])) == 4
    elsewhere = tmp_path / "tables"
    elsewhere.mkdir()
    (home / file).rename(elsewhere / file)
    monkeypatch.chdir(home.parent)
    assert len(read_controls([elsewhere, home])) == 4


@pytest.mark.parametrize(
    ("falls", "words"),
    [
        ({"sampled": 0.0, "cut": -1.0}, "meta was not played with shuffled"),
        ({"sampled": 0.0, "cut": 1.0, "shuffled": 0.0}, "there is no gain to share out"),
        (
            {"sampled": 0.0, "cut": -2.0, "shuffled": -3.0},
            "nothing of what it gains by its channel survives shuffled messages (\u221250% [\u221250%, \u221250%])",
        ),
        ({"sampled": 0.0, "cut": -2.0, "shuffled": -2.001}, "(0% [0%, 0%])"),
    ],
)
def test_no_share_is_claimed_where_there_is_none(tmp_path, falls, words) -> None:
    table(tmp_path / "evaluation.parquet", falls)
    (team,) = read_controls([tmp_path])
    assert words in sentence(team)


def test_teams_that_hear_nothing_and_files_of_others_are_passed_over(tmp_path) -> None:
    table(tmp_path / "a" / "evaluation.parquet", {"sampled": 0.0})
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "evaluation.parquet").write_text("torn")
    told: list[str] = []
    assert read_controls([tmp_path], told.append) == ()
    assert len(told) == 1 and "is not a table of `mgtopo evaluate`" in told[0]


def test_the_page_tells_what_is_left_or_how_to_find_out(tmp_path) -> None:
    write_run(tmp_path / "navigation_N3_l3" / "meta", "navigation_N3_l3", "meta")
    page = write_report([tmp_path], tmp_path / "one.html", episodes=False).read_text()
    assert "<code>mgtopo evaluate FOLDER</code>" in page
    table(tmp_path / "evaluation.parquet", FALLS)
    page = write_report([tmp_path], tmp_path / "two.html", episodes=False).read_text()
    assert "25% [25%, 25%] of what it gains by its channel survives" in page
    assert "<code>mgtopo evaluate FOLDER</code>" not in page
    assert np.all([f'<th scope="col" class="n">{channel}</th>' in page for channel in FALLS])
    section = page[page.index('id="worth"') :]
    row, *_ = re.findall('<th scope="row">meta</th>(.*?)</tr>', section, re.DOTALL)
    assert '<td class="n">10<br><span class="soft">25%</span></td>' in row
    assert row.index(">13<") < row.index(">9<") < row.index(">10<")
