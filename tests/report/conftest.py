"""A report served to a real browser."""

from __future__ import annotations

import dataclasses
import shutil

import pytest
from browsed import METHODS, NAMES, QUESTION, TASKS, Visit, watched
from synthetic_runs import write_run, write_sweep

from purejax_mgtopo.report.model import Watched
from purejax_mgtopo.report.page import render
from purejax_mgtopo.report.report import build_report


@pytest.fixture(scope="module")
def replays():
    return {(w.task, w.method, r.standing): r for w in watched() for r in w.playbacks}


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    write_sweep(folder / "results", TASKS, METHODS, "Does it pay to talk?")
    write_run(folder / "results" / TASKS[0] / "stgs", TASKS[0], "stgs", until=5)
    report = build_report([folder / "results"], episodes=False)
    silent = Watched(TASKS[0], "stgs", reason="no checkpoint was left")
    report = dataclasses.replace(report, watched=(*watched(), silent))
    path = folder / "report.html"
    path.write_text(render(report), encoding="utf-8")
    return path.as_uri()


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="needs playwright: pip install 'purejax_mgtopo[browser]'"
    )
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip(f"needs a browser: none of {', '.join(NAMES)} is installed")
    with playwright.sync_playwright() as driver:
        # The sandbox needs privileges that a container may lack; the pages are our own.
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(browser, address):
    visit = Visit(browser, address)
    yield visit
    visit.context.close()
    assert visit.complaints == [] and visit.requests == [address]


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    return write_sweep(tmp_path_factory.mktemp("sweep"), TASKS, METHODS, QUESTION)


@pytest.fixture(scope="module")
def report(sweep):
    return build_report([sweep], episodes=False)
