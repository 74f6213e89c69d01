"""The report in a real browser: silent console, no request, playback by keyboard, mouse and touch, every width."""

from __future__ import annotations

import os

import numpy as np
import pytest
from browsed import METHODS, SIZES, STEPS, Visit

from purejax_mgtopo.cli import main as cli


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_silent_alone_and_fitting(browser, address, size, scheme):
    visit = Visit(browser, address, size, scheme)
    page = visit.page
    page.wait_for_load_state("networkidle")
    assert visit.complaints == [] and visit.requests == [address]
    # Not `innerWidth`: a phone's grows with what overflows.
    assert page.evaluate("document.documentElement.scrollWidth") <= SIZES[size]["width"]
    assert not page.locator("#idle").count()
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, ground[4:-1].split(","))) > 384) == (scheme == "light")
    # No text of a picture may be too small to read, nor run out of its picture's card.
    sizes = page.evaluate(
        """[...document.querySelectorAll("figure svg text")].map((text) => {
          const box = text.getBoundingClientRect(), card = text.closest("figure").getBoundingClientRect();
          return [box.height, box.left - card.left, card.right - box.right];
        })"""
    )
    assert len(sizes) > 100
    height, left, right = np.array(sizes).T
    assert height.min() >= 10 and left.min() >= 0 and right.min() >= 0
    folder = os.environ.get("MGTOPO_SCREENSHOTS")
    if folder:
        page.screenshot(path=f"{folder}/report-{size}-{scheme}.png", full_page=True)
    visit.context.close()


def test_everything_but_playback_works_without_scripts(browser, address):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(address)
    assert not page.locator("#player").is_visible()
    assert page.locator("#idle").is_visible()
    assert page.locator("svg.chart").count() > 8
    context.close()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_page_of_a_real_sweep(browser, tmp_path):
    """Three methods, two tasks, eight seeds, small networks: trained, reported, opened and played."""
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        """question = "Is it worth talking?"
        tasks = ["toy_crossed_goals", "navigation_N3_l3"]
        methods = ["none", "full", "meta"]
        seeds = 8
        [config]
        episodes = 40
        chunk_episodes = 20
        evaluation.every = 20
        evaluation.episodes = 4
        learner.hidden = 8
        learner.batch_size = 32
        learner.replay_transitions = 1000
        meta.hidden = 8
        wandb = "off"
        """
    )
    results = tmp_path / "results"
    assert cli.main(["sweep", str(recipe), "--out", str(results)]) == 0
    assert cli.main(["report", str(results)]) == 0
    address = (results / "report.html").as_uri()
    visit = Visit(browser, address)
    try:
        for task in ("toy_crossed_goals", "navigation_N3_l3"):
            for method in ("none", "full", "meta"):
                visit.choose(task, method, "best")
                visit.part("scrub").focus()
                visit.page.keyboard.press("Home")
                visit.page.keyboard.press("ArrowRight")
                assert visit.step == 1
                visit.page.keyboard.press("End")
                assert visit.step == STEPS
                visit.page.keyboard.press(" ")
                visit.wait(lambda: visit.playing and 2 < visit.step < STEPS)
                visit.page.keyboard.press(" ")
                assert not visit.playing
        assert "Is it worth talking?" in visit.page.locator("h1").inner_text()
        assert visit.complaints == []
        assert visit.requests == [address]
    finally:
        visit.context.close()


def test_curves_tell_their_values_and_can_be_chosen_from(browser, address):
    visit = Visit(browser, address)
    page = visit.page
    chart = page.locator("svg[data-series]").first
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    page.mouse.move(box["x"] + 0.7 * box["width"], box["y"] + 0.5 * box["height"])
    told = page.locator(".values:not([hidden])").inner_text()
    assert all(method in told for method in METHODS) and "[" in told
    before = page.locator("[data-line=meta]:not([hidden])").count()
    page.locator("[data-method=meta] button").click()
    assert before > 0 and page.locator("[data-line=meta]:not([hidden])").count() == 0
    page.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 0.5 * box["height"])
    assert "meta" not in page.locator(".values").first.inner_text()
    page.locator("[data-method=meta] button").click()
    assert page.locator("[data-line=meta]:not([hidden])").count() == before
    curves = page.locator("svg[data-axis=episodes]").count()
    page.locator("#axis select").select_option("env_steps")
    assert page.locator("svg[data-axis=env_steps]").count() == curves > 0
    assert page.locator("svg[data-axis=episodes]").count() == 0
    assert not visit.complaints and len(visit.requests) == 1


def test_lines_of_single_seeds_come_and_go(browser, address):
    visit = Visit(browser, address)
    shown = "getComputedStyle(document.querySelector('#returns .each')).display"
    assert visit.page.evaluate(shown) == "none"
    visit.page.locator("#each").check()
    assert visit.page.evaluate(shown) == "inline"
    visit.page.locator("#axis select").select_option("env_steps")
    assert visit.page.evaluate(shown) == "inline"
    visit.page.locator("#each").uncheck()
    assert visit.page.evaluate(shown) == "none"
    assert not visit.complaints


def test_numbers_and_pictures_can_be_taken_away(browser, address):
    visit = Visit(browser, address)
    with visit.page.expect_download() as download:
        visit.page.locator(".tools button", has_text="CSV").first.click()
    lines = open(download.value.path(), encoding="utf-8").read().splitlines()
    assert lines[0] == "method,training episodes,value,low,high"
    assert {line.split(",")[0] for line in lines[1:]} == {*METHODS, "stgs"}
    with visit.page.expect_download() as download:
        visit.page.locator(".tools button", has_text="SVG").first.click()
    picture = open(download.value.path(), encoding="utf-8").read()
    assert picture.startswith("<svg") and "http://www.w3.org/2000/svg" in picture
    assert "data-series" not in picture and "stroke: rgb" in picture
    assert not visit.complaints


def test_no_chart_stands_alone_in_its_row(browser, address):
    page = Visit(browser, address).page
    for grid in page.locator("#returns .grid").all():
        tops = [figure.bounding_box()["y"] for figure in grid.locator("figure").all()]
        if len(tops) == 4:
            assert sorted(tops.count(top) for top in set(tops)) == [2, 2]


def test_every_chart_tells_its_values_and_hides_what_is_switched_off(browser, address):
    """Final returns and costs as well as curves; a finger's answer stays when it is lifted."""
    visit = Visit(browser, address)
    page = visit.page
    row = page.locator("svg[data-table] g[data-line=meta]").first
    row.scroll_into_view_if_needed()
    box = row.locator("rect.reach").bounding_box()
    page.mouse.move(box["x"] + 3, box["y"] + box["height"] / 2)
    told = page.locator(".values:not([hidden])").inner_text().splitlines()
    assert told[0].startswith("meta \u2212") and "[" in told[0] and told[1].startswith("seeds ")
    page.locator("[data-method=meta] button").click()
    assert not row.is_visible()
    cell = page.locator("#edges g[data-tip]").first
    cell.scroll_into_view_if_needed()
    cell.hover()
    assert " hears " in page.locator(".values:not([hidden])").inner_text()
    for figure in page.locator("figure:has(svg[data-table])").all()[:4]:
        with page.expect_download() as download:
            figure.locator("button", has_text="CSV").click()
        head, *rows = open(download.value.path(), encoding="utf-8").read().splitlines()
        assert head.split(",")[0] in ("method", "to") and rows
        assert {len(line.split(",")) for line in rows} == {len(head.split(","))}
    assert not visit.complaints and len(visit.requests) == 1
    visit.context.close()


def test_a_finger_keeps_its_answer_until_it_touches_elsewhere(browser, address):
    context = browser.new_context(viewport={"width": 390, "height": 800}, has_touch=True)
    page = context.new_page()
    page.goto(address)
    chart = page.locator("svg[data-series]").first
    chart.scroll_into_view_if_needed()
    chart.tap()
    assert "meta" in page.locator(".values:not([hidden])").inner_text()
    page.locator("#returns-h").tap()
    assert page.locator(".values:not([hidden])").count() == 0
    context.close()
