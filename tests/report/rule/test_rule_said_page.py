"""What a rule says of each edge, on the page."""

from __future__ import annotations

import dataclasses
import json
import re
from html import unescape
from pathlib import Path

import jax
import numpy as np
import pytest
from browsed import Page, Visit
from said_cases import TASK, UPDATES, made_up, summary_of, trained
from synthetic_runs import write_run

from purejax_mgtopo.config import Means
from purejax_mgtopo.errors import ConfigError
from purejax_mgtopo.records.record import CHECKPOINTS
from purejax_mgtopo.report import episodes
from purejax_mgtopo.report.model import Watched
from purejax_mgtopo.report.page import render
from purejax_mgtopo.report.report import build_report
from purejax_mgtopo.report.rule import summary
from purejax_mgtopo.report.rule.pictures import in_a_sentence
from purejax_mgtopo.trained.load import TrainedRun

SECTION = f"What the rule says of each edge on {TASK}"


@pytest.mark.parametrize(
    ("on_open", "on_closed", "words"),
    [
        (-0.1, 0.2, "besides what REINFORCE does, the rule closes edges"),
        (-0.1, -0.03, "besides what REINFORCE does, the rule closes edges"),
        (0.2, 0.1, "besides what REINFORCE does, the rule opens edges"),
        (-0.1, -0.1004, "the rule neither opens nor closes edges"),
    ],
)
def test_which_way_the_rule_pushes_is_told_in_a_sentence(on_open, on_closed, words) -> None:
    told = dataclasses.replace(summary_of(made_up(1)), on_open=on_open, on_closed=on_closed)
    assert in_a_sentence(told).endswith(f"{words}.")


def recorded(folder: Path, method: str, monkeypatch, edge: bool = True) -> Path:
    """A run of two seeds of the same networks, handed out where checkpoints would be read."""
    algorithm, networks = trained(method, edge)
    own = algorithm.experiment
    write_run(
        folder,
        TASK,
        method,
        seeds=2,
        evaluations=2,
        learner=own.learner,
        meta=own.meta,
        gates=own.gates,
    )
    (folder / CHECKPOINTS).mkdir()
    both = jax.tree.map(lambda x: np.stack([x, x]), networks)

    def load(place, seeds):
        chosen = jax.tree.map(lambda x: x[list(seeds)], both)
        return TrainedRun(folder, own, Means(), algorithm, tuple(seeds), chosen, 1000)

    monkeypatch.setattr("purejax_mgtopo.trained.load.load_trained", load)
    return folder


@pytest.mark.parametrize("method", ["universal", "meta"])
def test_the_page_shows_what_the_rule_says(method: str, tmp_path: Path, monkeypatch) -> None:
    for name, value in (("UPDATES", UPDATES), ("ASKED", 2), ("TEAMS", (2, 4))):
        monkeypatch.setattr(summary, name, value)
    content = build_report([recorded(tmp_path / method, method, monkeypatch)])
    (watched,) = content.watched
    told, text = watched.said, render(content)
    assert (told.updates, told.episodes, told.price, told.agents) == (UPDATES, 1000, 0.04, 3)
    assert text.count(f"<details><summary>{SECTION}</summary>") == 1
    assert (watched.learned is not None) == (method == "meta")
    section = text[text.index(SECTION) : text.index('<section id="runs"')]
    assert in_a_sentence(told) in unescape(section)
    # Numbers of the table, by receiver and sender.
    cells = re.findall(r'<td class="n">(.*?)</td>', section)
    assert len(cells) == 9 and len({c for c in cells if c}) > 1
    for i in range(3):
        for j in range(3):
            words = cells[3 * i + j].replace("\u2212", "-")
            if i == j:
                assert words == ""
            elif np.isnan(told.push[i, j - (j > i)]):
                assert words == "\u2013"
            else:
                assert float(words) == pytest.approx(told.push[i, j - (j > i)], abs=6e-4)
    # Numbers of the pictures.
    charts = [json.loads(unescape(data)) for data in re.findall(r'data-series="(.*?)"', section)]
    sides = (told.by_advantage, told.by_progress, told.by_price, told.by_agents)
    assert len(charts) == 4
    for chart, drawn in zip(charts, sides, strict=True):
        for line in chart["series"]:
            own = getattr(drawn, line["label"].split()[0])
            np.testing.assert_allclose(line["x"], own.x, rtol=1e-4, atol=1e-9)
            np.testing.assert_allclose(line["point"], own.mean, rtol=1e-4)
            np.testing.assert_allclose(line["high"], own.high, rtol=1e-4)
    assert {line["label"] for line in charts[1]["series"]} == {"open edges", "closed edges"}
    for words in ("replayed, told of another price", "made-up teams", "its own was 0.04"):
        assert words in section
    assert Page(text).words.count("A life lived anew: 6 gate updates") == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_browser_opens_it(scheme: str, tmp_path: Path, report, browser) -> None:
    answers = [[(place, made_up(1)) for place in places] for places in ((0.0, 0.1), (2, 3, 12))]
    own = Watched(TASK, "universal", said=summary_of(made_up(1), *answers))
    path = tmp_path / "report.html"
    page = render(dataclasses.replace(report, watched=(own,)))
    path.write_text(page, encoding="utf-8")
    visit = Visit(browser, path.as_uri(), scheme=scheme)
    figures = visit.page.locator("#eta details figure")
    assert figures.count() == 4 and not figures.first.is_visible()
    visit.page.get_by_text(SECTION).click()
    for figure in figures.all():
        assert figure.is_visible() and figure.locator("p.hint").text_content()
        picture, card = figure.locator("svg.chart").bounding_box(), figure.bounding_box()
        assert card["x"] <= picture["x"] and picture["width"] <= card["width"]
        for text in figure.locator("svg.chart text").all():
            assert text.bounding_box()["x"] >= card["x"]  # no number of the scale leaves the card
    visit.context.close()
    assert visit.complaints == [] and visit.requests == [path.as_uri()]


@pytest.mark.parametrize(("method", "edge"), [("reinforce", True), ("meta", False)])
def test_other_rules_have_no_such_section(method, edge, tmp_path: Path, monkeypatch) -> None:
    content = build_report([recorded(tmp_path / method, method, monkeypatch, edge)])
    (watched,) = content.watched
    assert watched.playbacks and watched.said is None and not watched.unsaid
    assert "What the rule says of each edge" not in render(content)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            ConfigError("there is no rule file gone.npz; find it"),
            "there is no rule file gone.npz; find it",
        ),
        (
            RuntimeError("RESOURCE_EXHAUSTED:\n  out of memory"),
            "RuntimeError: RESOURCE_EXHAUSTED: out of memory",
        ),
        (KeyError(), "KeyError"),
    ],
)
def test_a_rule_that_cannot_be_asked_is_told_and_costs_nothing_else(
    error: Exception, told: str, tmp_path: Path, monkeypatch
) -> None:
    """Its file is gone, or whatever else is wrong."""
    folder = recorded(tmp_path / "run", "universal", monkeypatch)

    def fail(*_):
        raise error

    monkeypatch.setattr(episodes, "rule_said", fail)
    content = build_report([folder])
    assert content.watched[0].playbacks and content.watched[0].said is None
    assert f"<p>{told}.</p>" in render(content)
