"""The report's content and page, from records on disk; what a browser makes of it is tested elsewhere."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest
from browsed import METHODS, QUESTION, TASKS, Page
from synthetic_runs import write_run, write_sweep

from purejax_mgtopo.analysis.statistics import (
    Interval,
    improvement_interval,
    interquartile_mean,
)
from purejax_mgtopo.cli import main as cli
from purejax_mgtopo.errors import RunError
from purejax_mgtopo.records.record import find_runs
from purejax_mgtopo.records.run_data import load_run
from purejax_mgtopo.report.charts import (
    heat_map,
)
from purejax_mgtopo.report.collect import standing_seeds
from purejax_mgtopo.report.page import render
from purejax_mgtopo.report.report import build_report, write_report
from purejax_mgtopo.report.words import caveats, settings_of, standing, verdict


def test_runs_are_found_beneath_a_folder_once_and_in_order(sweep, tmp_path):
    found = find_runs([sweep / TASKS[0], sweep])
    assert len(found) == len(set(found)) == 6
    assert found[0] == sweep / TASKS[0] / "full"
    first, second = (sweep / task / "full" for task in TASKS)
    assert find_runs([first, second, sweep / ".." / first.relative_to(sweep.parent)]) == [
        first,
        second,
    ]
    with pytest.raises(RunError, match="holds no run"):
        find_runs([tmp_path])
    with pytest.raises(RunError, match="not a folder"):
        find_runs([tmp_path / "nowhere"])


def test_ranking_and_improvement_are_those_of_the_last_evaluation(report, sweep):
    comparison = report.comparisons[0]
    finals = {
        m: load_run(sweep / TASKS[0] / m).return_sampled[:, -1].astype(float) for m in METHODS
    }
    expected = sorted(METHODS, key=lambda m: -interquartile_mean(finals[m]))
    assert [run.method for run in comparison.runs] == expected
    for row, first in enumerate(expected):
        for column, second in enumerate(expected):
            cell = comparison.improvement[row][column]
            if row == column:
                assert cell is None
                continue
            brute = np.mean(finals[first][:, None] > finals[second])
            assert cell.point == pytest.approx(brute)
            assert cell.low <= cell.point <= cell.high
    upper = improvement_interval(finals[expected[0]], finals[expected[1]])
    assert comparison.improvement[0][1] == upper
    assert comparison.improvement[1][0].high == pytest.approx(1 - upper.low)


def test_across_tasks_normalises_each_task(report):
    across = report.across
    assert across.tasks == TASKS and not across.missing
    assert {a.method for a in across.methods} == set(METHODS)
    points = [a.score.point for a in across.methods]
    assert points == sorted(points, reverse=True) and 0 <= points[-1] < points[0] <= 1
    assert across.methods[0].profile.point.shape == across.thresholds.shape


def test_a_method_that_misses_a_task_is_left_out_of_all_tasks_and_named(tmp_path):
    write_sweep(tmp_path, TASKS, METHODS, QUESTION, evaluations=2)
    write_run(tmp_path / TASKS[0] / "stgs", TASKS[0], "stgs", evaluations=2)
    report = build_report([tmp_path], episodes=False)
    assert report.across.missing == ("stgs",)
    assert "stgs" not in {a.method for a in report.across.methods}
    names = [a.method for a in report.across.methods]
    said = (
        f"of {names[0]}, {names[1]} and {names[2]}, the methods run on all of them, {names[0]} has"
    )
    assert said in Page(render(report)).words


def test_edge_rates_of_pairs_are_means_over_seeds(report, sweep):
    run = next(r for r in report.runs if (r.task, r.method) == (TASKS[1], "meta"))
    rates = load_run(sweep / TASKS[1] / "meta").pair_rate
    np.testing.assert_allclose(run.pairs, rates[:, -1].mean(axis=0), rtol=1e-6)
    picture = heat_map(run.pairs, title="pairs")
    told = re.findall(r"agent (\d) hears agent (\d): ([\d.]+)%", picture)
    assert len(told) == 30
    for i, j, rate in told:
        assert float(rate) == pytest.approx(100 * run.pairs[int(i), int(j)], abs=0.051)


def test_the_page_begins_with_question_and_answer(report):
    page = Page(render(report))
    words = page.words
    answer = verdict(report.comparisons[0])
    assert words.index(QUESTION) < words.index(answer) < words.index("Learning curves")
    assert answer.startswith(f"{report.comparisons[0].runs[0].method} ends highest, at")


def test_the_page_is_complete_in_itself(report):
    page = Page(render(report))
    for tag, attributes in page.tags:
        assert tag not in ("img", "iframe", "object", "embed", "base")
        for name in ("src", "href", "action", "poster", "data", "xlink:href"):
            value = attributes.get(name)
            assert value is None or value.startswith("#") or value == "data:,", (tag, value)
    text = render(report)
    urls = set(re.findall(r"https?://[^\"' <)]+", text))
    assert urls <= {"http://www.w3.org/2000/svg"}  # a name, not an address
    assert "@import" not in text and "url(" not in text.replace("url(#clip", "")


def test_identifiers_are_unique_and_every_link_and_label_leads_somewhere(report):
    tags = Page(render(report)).tags
    names = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(names) == len(set(names))
    wanted = [a["href"][1:] for _, a in tags if a.get("href", "").startswith("#")]
    wanted += [n for _, a in tags for n in a.get("aria-labelledby", "").split()]
    assert wanted and set(wanted) <= set(names)
    for tag, attributes in tags:
        if tag == "svg" and "aria-hidden" not in attributes:
            assert attributes.get("aria-labelledby") or attributes.get("aria-label")


def test_text_from_outside_is_escaped(tmp_path):
    write_sweep(tmp_path, TASKS[:1], METHODS[:2], "<script>alert(1)</script>", evaluations=2)
    path = write_run(
        tmp_path / TASKS[0] / "a<b>", TASKS[0], "meta", evaluations=2, until=1, fail="<b>boom</b>"
    )
    page = render(build_report([tmp_path], episodes=False))
    assert "<script>alert" not in page and "<b>" not in page
    assert "<script>alert(1)</script>" in Page(page).words
    assert path.name in Page(page).words


def test_unfinished_failed_and_non_finite_runs_are_told(tmp_path):
    task = TASKS[0]
    write_run(tmp_path / task / "none", task, "none", evaluations=4)
    write_run(tmp_path / task / "full", task, "full", evaluations=4, broken=(1, 6))
    write_run(tmp_path / task / "meta", task, "meta", evaluations=4, until=2)
    write_run(tmp_path / task / "stgs", task, "stgs", evaluations=4, until=1, fail="OSError: disk")
    write_run(tmp_path / task / "empty", task, "meta", evaluations=4, until=None, end=False)
    report = build_report([tmp_path], episodes=False)
    runs = {run.method: run for run in report.runs}
    assert runs["full"].lost == (1, 6) and len(runs["full"].finals) == 6
    assert np.isfinite(runs["full"].finals).all()
    assert standing(runs["none"]) == "finished"
    assert standing(runs["meta"]) == "interrupted, episode 1,000 of 2,000 at the last evaluation"
    assert standing(runs["stgs"]).startswith("failed, episode 500")
    told = " ".join(caveats(report.comparisons))
    assert "3 of 5 runs are not finished" in told
    assert "different numbers of episodes (500 to 2k)" in told
    assert "2 seeds left the finite numbers" in told
    words = Page(render(report)).words
    assert "not finite: 2 of 8 seeds (1, 6)" in words and "OSError: disk" in words


def test_a_run_in_progress_is_told_apart_from_an_abandoned_one(tmp_path):
    from synthetic_runs import config_of

    from purejax_mgtopo.records.record import RunRecord

    write_run(tmp_path / "a", TASKS[0], "none", evaluations=2)
    config = config_of(TASKS[0], "meta", 2, 2)
    with RunRecord(tmp_path / "b", config, "mgtopo train"):
        report = build_report([tmp_path], episodes=False)
        states = {run.method: standing(run) for run in report.runs}
    assert states["meta"].startswith("in progress, episode 0")
    words = Page(render(report)).words  # a run without any evaluation must not break the page
    assert "in progress" in words


def test_all_seeds_lost_and_single_seeds_are_said_so(tmp_path):
    task = TASKS[0]
    write_run(tmp_path / "lost", task, "none", seeds=2, evaluations=4, broken=(0, 1))
    report = build_report([tmp_path], episodes=False)
    assert verdict(report.comparisons[0]) == "no evaluation of a finite seed yet."
    assert "no evaluation of a finite seed" in Page(render(report)).words
    write_run(tmp_path / "one", task, "full", seeds=1, evaluations=2)
    write_run(tmp_path / "two", task, "meta", seeds=1, evaluations=2)
    report = build_report([tmp_path], episodes=False)
    assert "One seed each cannot tell it from full" in verdict(report.comparisons[0])
    assert any("single seed shows no spread" in line for line in caveats(report.comparisons))
    Page(render(report))


def test_verdict_claims_only_what_the_interval_shows(report):
    comparison = report.comparisons[0]
    runs = comparison.runs[:3]
    row = (None, Interval(0.9, 0.6, 1.0), Interval(0.6, 0.4, 0.8))
    judged = dataclasses.replace(comparison, runs=runs, improvement=(row, row, row))
    text = verdict(judged)
    assert f"It beats {runs[1].method} (0.90)." in text
    assert f"cannot be told apart from {runs[2].method} (0.60 [0.40, 0.80])." in text


@pytest.mark.parametrize("seeds", [2, 3, 4, 5, 6, 7, 8])
def test_where_intervals_are_called_too_narrow_nobody_beats(report, seeds):
    """Words follow coverage: the sentence and its caveat agree."""
    comparison = report.comparisons[0]
    few = [dataclasses.replace(r, finals=r.finals[:seeds]) for r in comparison.runs[:2]]
    row = (None, Interval(1.0, 0.9, 1.0))
    judged = dataclasses.replace(comparison, runs=tuple(few), improvement=(row, row))
    warned = any("too narrow" in line for line in caveats([judged]))
    assert warned == (seeds < 8)
    assert ("It beats" in verdict(judged)) == (not warned)


@pytest.mark.parametrize(("seeds", "bold"), [(4, False), (7, False), (8, True)])
def test_the_table_of_chances_is_as_careful_as_the_sentence(report, seeds, bold):
    comparison = report.comparisons[0]
    few = [dataclasses.replace(r, finals=r.finals[:seeds]) for r in comparison.runs[:2]]
    certain, lost = Interval(1.0, 0.9, 1.0), Interval(0.0, 0.0, 0.1)
    judged = dataclasses.replace(
        comparison, runs=tuple(few), improvement=((None, certain), (lost, None))
    )
    page = render(dataclasses.replace(report, comparisons=(judged,), across=None))
    assert page.count('class="n clear"') == 2 * bold
    assert ("bold where that excludes one half" in page) == bold


def test_few_seeds_beat_nobody(report):
    comparison = report.comparisons[0]
    few = [dataclasses.replace(run, finals=run.finals[:3]) for run in comparison.runs[:2]]
    row = (None, Interval(1.0, 0.9, 1.0))
    judged = dataclasses.replace(comparison, runs=tuple(few), improvement=(row, row))
    text = verdict(judged)
    assert "It beats" not in text
    assert f"In these 3 seeds it is ahead of {few[1].method} (1.00), which is too few" in text


def test_the_same_method_under_other_settings_is_named_by_them(tmp_path):
    from purejax_mgtopo.config import LearnerConfig

    for name, hidden in (("first", 64), ("second", 128)):
        folder = tmp_path / name / TASKS[0] / "meta"
        write_run(folder, TASKS[0], "meta", evaluations=2, learner=LearnerConfig(hidden=hidden))
    report = build_report([tmp_path], episodes=False)
    assert sorted(run.method for run in report.runs) == ["meta, hidden=128", "meta, hidden=64"]


def test_figures_are_vectors_for_a_paper(tmp_path):
    for method in METHODS:
        write_run(tmp_path / TASKS[0] / method, TASKS[0], method, evaluations=3)
    for _ in range(2):  # ours are replaced
        assert cli.main(["figures", str(tmp_path)]) == 0
    figures = {path.name: path.read_bytes() for path in (tmp_path / "figures").iterdir()}
    assert sorted(figures) == ["curves.pdf", "curves.svg"]
    assert figures["curves.pdf"].startswith(b"%PDF")
    assert b"<text" in figures["curves.svg"] and b"meta" in figures["curves.svg"]  # real text


def test_the_same_method_twice_is_told_apart_by_folder(tmp_path):
    for name in ("first", "second"):
        write_run(tmp_path / name / TASKS[0] / "meta", TASKS[0], "meta", evaluations=2)
    report = build_report([tmp_path], episodes=False)
    methods = [run.method for run in report.runs]
    assert sorted(methods) == ["meta (first)", "meta (second)"]
    Page(render(report))


def test_settings_are_sorted_by_what_they_depend_on(tmp_path):
    for task in TASKS:
        for method in METHODS:
            from purejax_mgtopo.config import LearnerConfig

            discount = 0.0 if task == TASKS[0] else 0.95
            write_run(
                tmp_path / task / method, task, method, evaluations=2, first_seed=100,
                learner=LearnerConfig(discount=discount), lanes=3 if (task, method) == (TASKS[1], "meta") else 0,
            )  # fmt: skip
    settings = settings_of(build_report([tmp_path], episodes=False).runs)
    tables = {table.title: dict(table.rows) for table in settings.tables}
    assert list(tables["By method"]) == ["topology"]
    assert tables["By task"] == {"learner.discount": ("0", "0.95")}
    assert list(tables["By run"]) == ["lanes"]
    assert ("first_seed", "100") in settings.shared
    assert "meta.entropy" in dict(settings.everything) and "meta.entropy" not in dict(
        settings.shared
    )


def test_an_unreadable_run_is_named_and_the_rest_reported(tmp_path):
    write_run(tmp_path / "good", TASKS[0], "none", evaluations=2)
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "config.json").write_text("{")
    said = []
    report = build_report([tmp_path], episodes=False, say=said.append)
    assert (
        len(report.runs) == 1 and "bad" in report.unreadable[0] and said == list(report.unreadable)
    )
    assert "Not readable" in Page(render(report)).words
    with pytest.raises(RunError, match="cannot be read"):
        build_report([tmp_path / "bad"], episodes=False)


def test_seeds_worth_watching_are_best_median_and_worst(tmp_path):
    data = load_run(write_run(tmp_path / "run", TASKS[0], "meta", broken=(2,), evaluations=4))
    final = data.return_sampled[:, -1]
    chosen = {name: seed for seed, name in standing_seeds(data)}
    healthy = [seed for seed in range(8) if seed != 2]
    assert chosen["best"] == max(healthy, key=lambda s: final[s])
    assert chosen["worst"] == min(healthy, key=lambda s: final[s])
    assert sorted(final[healthy])[3] == final[chosen["median"]]


def test_without_checkpoints_the_page_says_why_nothing_plays(sweep):
    said = []
    words = Page(render(build_report([sweep], say=said.append))).words
    assert "no checkpoint was left, so the networks are gone" in words
    assert not any("playing" in line for line in said)


def test_the_file_is_written_whole_and_where_asked(sweep, tmp_path):
    said = []
    path = write_report([sweep], tmp_path / "deep" / "page.html", episodes=False, say=said.append)
    assert Page(path.read_text(encoding="utf-8")).words
    assert list(path.parent.iterdir()) == [path]
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot write"):
        write_report([sweep], tmp_path / "file" / "page.html", episodes=False)


def test_command_line(sweep, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "page.html"
    assert cli.main(["report", str(sweep), "--out", str(out), "--no-episodes"]) == 0
    assert out.exists() and str(out) in capsys.readouterr().out
    assert cli.main(["report", str(sweep / TASKS[0]), str(sweep / TASKS[1]), "--no-episodes"]) == 0
    assert (tmp_path / "report.html").exists()
    assert cli.main(["report", str(tmp_path / "none")]) == 1
    assert cli.main(["report"]) == 2
    errors = capsys.readouterr().err.strip().splitlines()
    assert len(errors) == 2 and "not a folder" in errors[0] and "which runs" in errors[1]
