"""Verdicts from folders of runs: the terminal's, the file's and the page's are the same."""

from __future__ import annotations

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from synthetic_runs import write_run, write_sweep

from purejax_mgtopo.analysis.judging import Judgement
from purejax_mgtopo.analysis.statistics import improvement_interval
from purejax_mgtopo.analysis.verdicts import read_verdicts
from purejax_mgtopo.cli import main as cli
from purejax_mgtopo.cli.tables import verdict_table
from purejax_mgtopo.records import run_data
from purejax_mgtopo.records.run_data import load_run, tables
from purejax_mgtopo.report.page import render
from purejax_mgtopo.report.report import build_report

TASKS, METHODS = ("navigation_N3_l3", "toy_follow_holder"), ("none", "full", "meta")
CLAIMS = (
    {"says": "Learned edges are best", "method": "meta", "top": 1},
    {"says": "Silence beats talk <b>", "method": "none", "beats": ["meta"], "tasks": [TASKS[0]]},
)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`none` near -26, `full` near -24.5, `meta` near -22, each by eight seeds."""
    folder = tmp_path_factory.mktemp("claimed") / "results"
    return write_sweep(folder, TASKS, METHODS, "Does it pay to learn?", CLAIMS)


def test_a_sweep_is_judged_by_the_final_returns_of_its_runs(results: Path) -> None:
    (told,) = read_verdicts([results, results.parent])
    first, second = told.verdicts
    assert (first.judgement, second.judgement) == (Judgement.HOLDS, Judgement.FAILS)
    for one in first.evidence:
        final = {m: load_run(results / one.case / m).final.return_sampled for m in METHODS}
        assert dict(one.chances) == {
            m: improvement_interval(final["meta"].astype(float), final[m].astype(float))
            for m in ("none", "full")
        }
    assert first.words() == "holds (2 holds)"
    assert second.words() == "does not hold"
    assert told.counts() == "1 holds, 1 does not hold"
    thrice = replace(told, verdicts=(second, first, second))
    assert thrice.counts() == "1 holds, 2 do not hold"


def test_an_unfinished_run_is_no_evidence(results: Path, tmp_path: Path) -> None:
    again = Path(shutil.copytree(results, tmp_path / "results"))
    shutil.rmtree(again / TASKS[0] / "none")
    write_run(again / TASKS[0] / "none", TASKS[0], "none", until=11)
    first, second = read_verdicts([again])[0].verdicts
    assert [one.judgement for one in first.evidence] == [Judgement.ABSENT, Judgement.HOLDS]
    assert first.judgement is Judgement.OPEN and second.judgement is Judgement.ABSENT
    assert first.words() == "cannot be told (1 holds, 1 no evidence)"
    assert first.evidence[0].missing == ("none not finished",)


def test_seeds_that_were_lost_are_left_out(tmp_path: Path) -> None:
    """A lost seed's returns are NaN; with seven left on one side nothing is sure."""
    write_sweep(tmp_path, TASKS[:1], ("none", "meta"), "So?", [CLAIMS[1]], broken=(2,))
    ((verdict,),) = [one.verdicts for one in read_verdicts([tmp_path])]
    assert verdict.judgement is Judgement.OPEN
    finals = [load_run(tmp_path / TASKS[0] / m) for m in ("none", "meta")]
    values = [run.final.return_sampled[run.healthy].astype(float) for run in finals]
    assert len(values[0]) == 7
    there = improvement_interval(*values[::-1])
    found = dict(verdict.evidence[0].chances)["meta"]
    assert (found.point, found.low) == (1 - there.point, 1 - there.high)
    (told,) = read_verdicts([tmp_path])
    lost = "1 of 8 seeds did not stay finite and are left out"
    assert [line for line in told.caveats if "finite" in line] == [
        f"{TASKS[0]}/none: {lost}",
        f"{TASKS[0]}/meta: {lost}",
    ]


def test_unequal_lengths_are_told(results: Path, tmp_path: Path) -> None:
    write_run(tmp_path / TASKS[0] / "none", TASKS[0], "none", evaluations=4)
    write_run(tmp_path / TASKS[0] / "meta", TASKS[0], "meta", evaluations=5)
    runs = [{"task": TASKS[0], "method": m, "folder": f"{TASKS[0]}/{m}"} for m in ("none", "meta")]
    (tmp_path / "sweep.json").write_text(json.dumps({"runs": runs, "claims": [CLAIMS[1]]}))
    (told,) = read_verdicts([tmp_path])
    assert f"{TASKS[0]}: compared after different numbers of episodes: none 2,000, meta 2,500" in (
        told.caveats
    )
    assert read_verdicts([results])[0].caveats[0].endswith("the last one on the way stands for it")


def test_values_of_settings_are_methods_of_their_own(tmp_path: Path) -> None:
    """A recipe's `meta, hidden=64` lies in a folder without the space."""
    write_sweep(tmp_path, TASKS[:1], ("none",), "So?")
    place = tmp_path / TASKS[0] / "meta,hidden=64"
    write_run(place, TASKS[0], "meta")
    document = json.loads((tmp_path / "sweep.json").read_text())
    folder = str(place.relative_to(tmp_path))
    document["runs"].append({"task": TASKS[0], "method": "meta, hidden=64", "folder": folder})
    document["claims"] = [{"says": "so", "method": "meta, hidden=64", "beats": ["none"]}]
    (tmp_path / "sweep.json").write_text(json.dumps(document))
    assert read_verdicts([tmp_path])[0].verdicts[0].judgement is Judgement.HOLDS


@pytest.mark.parametrize(
    "changes",
    [
        {"claims": [{"says": "so", "method": "nobody", "top": 1}]},
        {"claims": 3},
        {"runs": [{"task": "a"}]},
        {"runs": 3},
        {"runs": None},
        {"runs": [{"task": "a", "method": 3, "folder": "x"}]},
    ],
)
def test_what_cannot_be_read_is_said_in_one_line(results: Path, tmp_path: Path, changes) -> None:
    document = json.loads((results / "sweep.json").read_text())
    (tmp_path / "sweep.json").write_text(json.dumps({**document, **changes}))
    said: list[str] = []
    assert read_verdicts([tmp_path], said.append) == []
    assert len(said) == 1 and str(tmp_path / "sweep.json") in said[0] and "\n" not in said[0]


@pytest.mark.parametrize("content", ["", "[]", "{", "[" * 100_000, b"\xff\xfe"])
def test_a_description_that_is_none_is_named(tmp_path: Path, content) -> None:
    content = content if isinstance(content, bytes) else content.encode()
    (tmp_path / "sweep.json").write_bytes(content)
    said: list[str] = []
    assert read_verdicts([tmp_path], said.append) == []
    assert len(said) == 1 and "sweep.json cannot be read" in said[0] and "\n" not in said[0]


def test_runs_that_are_no_runs_are_no_evidence(results: Path, tmp_path: Path) -> None:
    again = Path(shutil.copytree(results, tmp_path / "results"))
    (again / TASKS[0] / "none" / "metrics.parquet").write_bytes(b"damaged")
    shutil.rmtree(again / TASKS[0] / "full")
    document = json.loads((again / "sweep.json").read_text())
    document["runs"][2]["folder"] = "x" * 5000
    (again / "sweep.json").write_text(json.dumps(document))
    (told,) = read_verdicts([again])
    missing = ("meta cannot be read", "none cannot be read", "full not run")
    assert told.verdicts[0].evidence[0].missing == missing


def test_terminal_file_and_page_say_the_same(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    file = tmp_path / "verdicts.json"
    assert cli.main(["verdicts", str(results), "--json", str(file)]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    (written,) = json.loads(file.read_text())
    page = " ".join(render(build_report([results], episodes=False)).split())
    assert written["question"] == "Does it pay to learn?"
    (told,) = read_verdicts([results])
    for verdict, document in zip(told.verdicts, written["verdicts"], strict=True):
        assert document["judgement"] == verdict.judgement
        assert document["says"] == verdict.claim.says
        assert (
            verdict.claim.says in printed and verdict.claim.says.replace("<b>", "&lt;b&gt;") in page
        )
        assert f'<th scope="row">{verdict.words()}</th>' in page
        for one, written_one in zip(verdict.evidence, document["evidence"], strict=True):
            assert one.words() in page
            assert (written_one["case"], written_one["judgement"]) == (one.case, one.judgement)
            for rival, chance in one.chances:
                triple = [chance.point, chance.low, chance.high]
                np.testing.assert_allclose(written_one["chances"][rival], triple)
                assert f"{rival} {triple[0]:.2f} [{triple[1]:.2f}, {triple[2]:.2f}]" in printed


def test_a_report_reads_no_run_twice(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []

    def counted(folder: Path) -> list[Path]:
        read.append(folder.resolve())
        return tables(folder)

    monkeypatch.setattr(run_data, "tables", counted)
    (told,) = read_verdicts([results])
    read.clear()
    content = build_report([results, results / TASKS[0]], episodes=False)
    assert content.judged[0].verdicts == told.verdicts and told.verdicts
    assert len(read) == len(set(read)) > 1


def test_two_groups_are_told_task_by_task(tmp_path: Path, capsys) -> None:
    """Some of the seeds have found something: the mean of all is the return of nobody."""
    task = TASKS[0]
    # Noise is the same for a method whatever its level.
    write_run(tmp_path / task / "none", task, "none", level=-40.0)
    write_run(tmp_path / task / "full", task, "full", level=-4.0)
    levels = np.array([-40.0, -4.0, -4.0, -40.0, -4.0, -4.0, -4.0, -40.0])
    write_run(tmp_path / task / "meta", task, "meta", level=levels)
    methods = ("none", "full", "meta")
    runs = [{"task": task, "method": m, "folder": f"{task}/{m}"} for m in methods]
    (tmp_path / "sweep.json").write_text(json.dumps({"recipe": "x", "runs": runs}))
    ((named, words),) = read_verdicts([tmp_path])[0].groups
    assert named == task and words.endswith("none 0 of 8; full 8 of 8; meta 5 of 8.")
    assert cli.main(["verdicts", str(tmp_path)]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert f"{task}: {words}" in printed
    page = " ".join(render(build_report([tmp_path], episodes=False)).split())
    assert words.partition(";")[0] in page and 'id="claims"' not in page


def test_nothing_to_judge_is_said(tmp_path: Path, results: Path, capsys) -> None:
    assert cli.main(["verdicts"]) == 2
    assert "say which sweeps to judge" in capsys.readouterr().err
    write_sweep(tmp_path, TASKS[:1], ("meta",), "So?")
    assert cli.main(["verdicts", str(tmp_path)]) == 1
    assert "these sweeps state no claim" in capsys.readouterr().err
    for words, message in (
        (["quickstart"], "quickstart is not a folder"),
        ([str(results), str(tmp_path / "sweep.json")], "sweep.json is not a folder"),
        ([str(results / TASKS[0])], "holds no sweep"),
    ):
        assert cli.main(["verdicts", *words]) == 1
        assert message in capsys.readouterr().err
    file = tmp_path / "new" / "again.json"
    for _ in range(2):  # an older one of ours is replaced
        assert cli.main(["verdicts", str(results), "--json", str(file)]) == 0
    foreign = tmp_path / "mine.json"
    for content in ("[1]", "[]", '["verdicts of mine"]', '{"verdicts": 1}', "mine"):
        foreign.write_text(content)
        assert cli.main(["verdicts", str(results), "--json", str(foreign)]) == 1
        error = capsys.readouterr().err
        assert foreign.read_text() == content and "another file for verdicts (--json)" in error


def test_a_narrow_terminal_cuts_no_name(results: Path, capsys, monkeypatch) -> None:
    (told,) = read_verdicts([results])
    for width in (40, 60, 100):
        console = Console(file=io.StringIO(), width=width)
        console.print(verdict_table(told, width))
        shown = console.file.getvalue()  # type: ignore[attr-defined]
        assert "\u2026" not in shown
        letters = "".join(shown.split())
        for task in TASKS:
            assert f"{task}:holds" in letters or width == 100  # where columns stand side by side
