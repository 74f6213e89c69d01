"""Verdicts from folders of runs: the terminal's, the file's and the page's are the same."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from synthetic_runs import write_run, write_sweep

from purejax_mgtopo.analysis.claims import Judgement
from purejax_mgtopo.analysis.statistics import improvement_interval
from purejax_mgtopo.analysis.verdicts import counted, counts, read_verdicts
from purejax_mgtopo.cli import main as cli
from purejax_mgtopo.records.run_data import load_run
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
        final = {m: load_run(results / one.task / m).final.return_sampled for m in METHODS}
        assert dict(one.chances) == {
            m: improvement_interval(final["meta"].astype(float), final[m].astype(float))
            for m in ("none", "full")
        }
    assert counted(first) == "holds (of 2 tasks: 2 holds)"
    assert counted(second) == "does not hold"
    assert counts(told) == "1 holds, 1 does not hold"
    assert counts(replace(told, verdicts=(second, first, second))) == "1 holds, 2 do not hold"


def test_an_unfinished_run_is_no_evidence(results: Path, tmp_path: Path) -> None:
    again = Path(shutil.copytree(results, tmp_path / "results"))
    shutil.rmtree(again / TASKS[0] / "none")
    write_run(again / TASKS[0] / "none", TASKS[0], "none", until=11)
    first, second = read_verdicts([again])[0].verdicts
    assert [one.judgement for one in first.evidence] == [Judgement.ABSENT, Judgement.HOLDS]
    assert first.judgement is Judgement.OPEN and second.judgement is Judgement.ABSENT
    assert counted(first) == "cannot be told (of 2 tasks: 1 holds, 1 not run)"


def test_seeds_that_were_lost_are_left_out(tmp_path: Path) -> None:
    """A lost seed's returns are NaN; with seven left on one side nothing is sure."""
    write_sweep(tmp_path, TASKS[:1], ("none", "meta"), "So?", [CLAIMS[1]], broken=(2,))
    ((verdict,),) = [one.verdicts for one in read_verdicts([tmp_path])]
    assert verdict.judgement is Judgement.OPEN
    finals = [load_run(tmp_path / TASKS[0] / m) for m in ("none", "meta")]
    values = [run.final.return_sampled[run.healthy].astype(float) for run in finals]
    assert len(values[0]) == 7
    assert dict(verdict.evidence[0].chances)["meta"] == improvement_interval(*values)


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
    ],
)
def test_what_cannot_be_read_is_said_in_one_line(results: Path, tmp_path: Path, changes) -> None:
    document = json.loads((results / "sweep.json").read_text())
    (tmp_path / "sweep.json").write_text(json.dumps({**document, **changes}))
    said: list[str] = []
    assert read_verdicts([tmp_path], said.append) == []
    assert len(said) == 1 and "no claims can be read" in said[0] and "\n" not in said[0]


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
        assert f'<th scope="row">{counted(verdict)}</th>' in page
        for one in verdict.evidence:
            assert one.words(verdict.claim.method).replace("'", "&#39;") in page
            for rival, chance in one.chances:
                triple = [chance.point, chance.low, chance.high]
                np.testing.assert_allclose(document["evidence"][one.task]["chances"][rival], triple)
                assert f"{rival} {triple[0]:.2f} [{triple[1]:.2f}, {triple[2]:.2f}]" in printed


def test_two_groups_are_told_task_by_task(tmp_path: Path, capsys) -> None:
    """Half of the seeds have found something: the mean of both is the return of nobody."""
    task = TASKS[0]
    write_run(tmp_path / task / "none", task, "none", level=-40.0)
    write_run(tmp_path / task / "full", task, "full", level=-4.0)
    runs = [{"task": task, "method": m, "folder": f"{task}/{m}"} for m in ("none", "full")]
    (tmp_path / "sweep.json").write_text(json.dumps({"recipe": "x", "runs": runs}))
    ((named, words),) = read_verdicts([tmp_path])[0].groups
    assert named == task and words.endswith("in the upper one are: none 0 of 8, full 8 of 8.")
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
    assert "no sweep here states a claim" in capsys.readouterr().err
    file = tmp_path / "again.json"
    for _ in range(2):  # an older one of ours is replaced
        assert cli.main(["verdicts", str(results), "--json", str(file)]) == 0
    foreign = tmp_path / "mine.json"
    foreign.write_text("[1]")
    assert cli.main(["verdicts", str(results), "--json", str(foreign)]) == 1
    assert foreign.read_text() == "[1]" and "holds something else" in capsys.readouterr().err
