"""What topology rules and message interpreters measured of their own, on the page."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from browsed import TASKS, Page, Visit
from synthetic_runs import write_run

from purejax_mgtopo.analysis.statistics import Band
from purejax_mgtopo.plugins.meanings import meanings_of
from purejax_mgtopo.records.run_data import load_run
from purejax_mgtopo.report.charts import Look, Series, line_chart, ticks
from purejax_mgtopo.report.collect import read_run
from purejax_mgtopo.report.page import looks_of, measured_charts, render
from purejax_mgtopo.report.report import build_report

TASK = TASKS[0]
SECTION = "What the parts measured"


def write(folder: Path, method: str, broken: tuple[int, ...] = (), **measured: float) -> Path:
    return write_run(folder / method, TASK, method, measured=measured, broken=broken)


def test_a_run_holds_what_its_parts_measured_and_nothing_that_all_have(tmp_path: Path) -> None:
    folder = write(tmp_path, "meta", broken=(1, 4), gate_update_norm=0.5, apples=3.0)
    run, data = read_run(folder)
    assert [one.name for one in run.measured] == ["gate_update_norm", "apples"]
    healthy = [0, 2, 3, 5, 6, 7]
    for one in run.measured:
        values = data.column(one.name)
        assert np.isnan(values[:, 0]).all()  # the untrained team had not learned
        np.testing.assert_array_equal(one.curve.episodes, data.episodes[1:])
        np.testing.assert_array_equal(one.curve.env_steps, data.env_steps[1:])
        for at in range(1, len(data.episodes)):
            middle = scipy.stats.trim_mean(values[healthy, at].astype(float), 0.25)
            assert one.curve.band.point[at - 1] == pytest.approx(middle, rel=1e-6)
        band = one.curve.band
        assert (band.low < band.point).all() and (band.point < band.high).all()
    assert run.measured[0].about == meanings_of("meta", "lstm")["gate_update_norm"]
    assert run.measured[1].about == ""  # nobody says what apples are
    bare, _ = read_run(write(tmp_path, "none"))
    assert bare.measured == ()


def test_a_measure_that_no_healthy_seed_has_is_none(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "r", TASK, "meta", measured={"apples": 1.0}, until=1)
    assert np.isnan(load_run(folder).column("apples")).all()
    assert read_run(folder)[0].measured == ()


def test_one_chart_a_measure_with_the_methods_that_have_it(tmp_path: Path) -> None:
    write(tmp_path, "none")
    write(tmp_path, "meta", gate_update_norm=0.5, apples=3.0)
    write(tmp_path, "reinforce", gate_update_norm=0.25)
    report = build_report([tmp_path], episodes=False)
    looks = looks_of(report)
    charts = {
        name: (words, str(chart))
        for name, words, chart in measured_charts(report.comparisons[0], looks)
    }
    assert set(charts) == {"gate_update_norm", "apples"}
    words, chart = charts["gate_update_norm"]
    assert words == meanings_of("meta", "lstm")["gate_update_norm"]  # once, though two say so
    assert charts["apples"][0] == ""
    for name, methods in (("gate_update_norm", {"meta", "reinforce"}), ("apples", {"meta"})):
        chart = charts[name][1]
        assert set(re.findall(r'data-line="(\w+)"', chart)) == methods
        for method in methods:
            assert f'<g class="{looks[method].colour}" data-line="{method}">' in chart
    last = {run.method: run for run in report.runs}["meta"].measured[1].curve.band.point[-1]
    assert f"meta ends at {last:.3g}" in charts["apples"][1]
    for axis in ("episodes", "env_steps"):  # and against hours, where all runs know them
        assert f'data-axis="{axis}"' in charts["apples"][1]


def test_where_one_name_means_several_things_each_stands_with_its_method(tmp_path: Path) -> None:
    for method in ("i2c", "gated_acml"):
        write(tmp_path, method, threshold=1.0)
    report = build_report([tmp_path], episodes=False)
    ((name, words, _),) = measured_charts(report.comparisons[0], looks_of(report))
    first, second = (
        f"{run.method}: {meanings_of(run.method, '')['threshold']}" for run in report.runs
    )
    assert (name, words) == ("threshold", f"{first}; {second}")


def test_each_task_has_a_closed_section_of_them_where_there_are_any(tmp_path: Path) -> None:
    write(tmp_path, "meta", gate_update_norm=0.5)
    write_run(tmp_path / "other", TASKS[1], "none")
    text = render(build_report([tmp_path], episodes=False))
    page = Page(text)
    assert text.count(f"<summary>{SECTION}</summary>") == 1
    assert [a for tag, a in page.tags if tag == "details"] == [{}, {}]  # none is open
    sentence = meanings_of("meta", "lstm")["gate_update_norm"]
    at = text.index(SECTION)
    assert text.index(f"<h3>{TASK}</h3>") < at < text.index(f"<h3>{TASKS[1]}</h3>")
    assert at < text.index("gate_update_norm") < text.index(sentence)


def test_a_browser_opens_it(tmp_path: Path, browser) -> None:
    write(tmp_path, "meta", gate_update_norm=0.5, apples=3e-15)
    write(tmp_path, "reinforce", gate_update_norm=0.25)
    path = tmp_path / "report.html"
    path.write_text(render(build_report([tmp_path], episodes=False)), encoding="utf-8")
    visit = Visit(browser, path.as_uri())
    charts = visit.page.locator("details figure:has(svg[data-series])")
    assert charts.count() == 2 and not charts.first.is_visible()
    visit.page.get_by_text(SECTION).click()
    assert charts.first.is_visible() and charts.last.is_visible()
    visit.page.locator("#axis select").select_option("env_steps")
    assert "environment steps" in charts.first.locator("svg").first.text_content()
    line = charts.first.locator("[data-line=meta]").first
    visit.page.locator("[data-method=meta] button").click()
    assert line.get_attribute("hidden") is not None
    visit.context.close()
    assert visit.complaints == []


@pytest.mark.parametrize(("first", "note"), [(-90.0, "starts at \u221290"), (70.0, "reaches 70")])
def test_what_a_bad_beginning_leaves_out_of_the_picture_is_told(first: float, note: str) -> None:
    line = np.array([first, *np.cos(np.pi * np.arange(15))])
    one = Series("a", Look("red", "", "o"), np.arange(16.0), Band(line, line, line))
    picture = str(line_chart([one], title="t", x_label="x"))
    others = {"starts at", "reaches"} - {" ".join(note.split()[:-1])}
    assert f">{note}</text>" in picture and not any(other in picture for other in others)


@pytest.mark.parametrize("size", [1e-30, 3e-15, 1e-7, 1.0, 1e9])
def test_ticks_of_any_size_are_apart_and_round(size: float) -> None:
    found = ticks(0.9 * size, 2.1 * size, 5)
    assert 3 <= len(set(found)) == len(found) <= 8
    for value in found:
        assert value == float(f"{value:.3g}") and 0.9 * size <= value <= 2.1 * size
