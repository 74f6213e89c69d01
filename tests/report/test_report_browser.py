"""The report in a real browser: silent console, no request, playback by keyboard, mouse and touch, every width."""

from __future__ import annotations

import dataclasses
import os
import shutil

import numpy as np
import pytest
from synthetic_runs import write_run, write_sweep

from purejax_mgtopo.cli import main as cli
from purejax_mgtopo.report.model import ClaimTrack, LearnedAdvantage, Playback, Thing, Watched
from purejax_mgtopo.report.page import render
from purejax_mgtopo.report.report import build_report

TASKS, METHODS = ("navigation_N3_l3", "navigation_N6_l1"), ("none", "full", "meta")
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SIZES = {"desktop": {"width": 1280, "height": 900}, "phone": {"width": 390, "height": 844}}
STEPS = 25


def replay(agents, standing, seed, key):
    rng = np.random.default_rng(key)
    start = rng.uniform(-900, 900, (agents, 2))
    walk = start + np.cumsum(rng.normal(0, 40, (STEPS + 1, agents, 2)), axis=0)
    things = [
        Thing("agent", "blue", "pale", str(i), 150 if agents == 3 else 80, walk[:, i].astype(int))
        for i in range(agents)
    ]
    things += [
        Thing("landmark", "green", "solid", "", 50, rng.integers(-900, 900, (1, 2)))
        for _ in range(agents)
    ]
    masks = rng.uniform(size=(STEPS, agents, agents)) < 0.4
    masks[:, range(agents), range(agents)] = False
    claims = (ClaimTrack(0, walk[:-1, 1].astype(int)),) if agents == 3 else ()
    return Playback(seed, standing, tuple(things), claims, masks, rng.normal(-1, 0.3, STEPS))


def watched():
    found = []
    for t, (task, agents) in enumerate(zip(TASKS, (3, 6), strict=True)):
        for m, method in enumerate(METHODS):
            rng = np.random.default_rng(m)
            replays = tuple(
                replay(agents, standing, seed, 100 * t + 10 * m + seed)
                for seed, standing in enumerate(("best", "median", "worst"))
            )
            learned = LearnedAdvantage(
                seed=1, agent=0, reinforce=rng.normal(size=STEPS),
                learned=rng.normal(size=(STEPS, agents - 1)), initial=rng.normal(size=(STEPS, agents - 1)),
                resemblance=rng.uniform(-1, 1, (agents, agents - 1)),
            )  # fmt: skip
            found.append(Watched(task, method, replays, learned if method == "meta" else None))
    return tuple(found)


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


class Visit:
    """A page that remembers what it complained of and what it asked for."""

    def __init__(self, browser, address, size="desktop", scheme="light"):
        phone = size == "phone"
        self.context = browser.new_context(
            viewport=SIZES[size],
            color_scheme=scheme,
            has_touch=phone,
            is_mobile=phone,
            offline=True,
        )
        self.page = self.context.new_page()
        self.complaints, self.requests = [], []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(address)

    def part(self, name):
        return self.page.locator(f"[data-part={name}]")

    @property
    def step(self):
        return int(self.part("scrub").input_value())

    @property
    def playing(self):
        return self.page.locator("#player").get_attribute("data-playing") == "true"

    def wait(self, condition):
        """Playwright's own way to wait evaluates text, which the page forbids."""
        for _ in range(200):
            if condition():
                return
            self.page.wait_for_timeout(50)
        raise AssertionError("waited for ten seconds")

    def choose(self, task, method, standing):
        for name, value in (("task", task), ("method", method), ("seed", standing)):
            self.part(name).select_option(value)


@pytest.fixture
def visit(browser, address):
    visit = Visit(browser, address)
    yield visit
    visit.context.close()
    assert visit.complaints == [] and visit.requests == [address]


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


@pytest.mark.parametrize("choice", [(TASKS[0], "meta", "best"), (TASKS[1], "full", "worst")])
def test_every_step_shows_its_edges_places_and_rewards(visit, replays, choice):
    visit.choose(*choice)
    replay = replays[choice]
    n = replay.masks.shape[1]
    pairs = [(i, j) for i in range(n) for j in range(n) if i != j]
    visit.part("scrub").focus()
    visit.page.keyboard.press("Home")
    for t in range(STEPS + 1):
        shown = visit.page.evaluate(
            """() => ({
              edges: [...document.querySelectorAll(".edge")].map((e) => e.classList.contains("open")),
              bits: [...document.querySelectorAll(".bit")].map((e) => e.classList.contains("open")),
              things: [...document.querySelectorAll(".stage .thing")].map((e) => {
                const { matrix } = e.transform.baseVal[0];
                return [e.querySelector("title").textContent, matrix.e, matrix.f];
              }),
            })"""
        )
        expected = [t < STEPS and bool(replay.masks[t, i, j]) for i, j in pairs]
        assert shown["edges"] == shown["bits"] == expected
        places = {name: (x, y) for name, x, y in shown["things"]}
        for k in range(n):
            x, y = replay.things[k].places[t]
            assert places[f"agent {k}"] == (x, -y)
        total = float(visit.part("return").inner_text().replace("\u2212", "-"))
        assert total == pytest.approx(replay.rewards[:t].sum(), abs=0.0051 + 1e-4 * t)
        if t < STEPS:
            assert visit.part("edges").inner_text() == f"{sum(expected)} of {len(pairs)}"
        visit.page.keyboard.press("ArrowRight")
    assert visit.step == STEPS


def test_arrows_point_from_the_sender_to_the_receiver(visit, replays):
    choice = (TASKS[0], "meta", "best")
    visit.choose(*choice)
    places = [replays[choice].things[k].places[0] * [1, -1] for k in range(3)]
    pairs = [(i, j) for i in range(3) for j in range(3) if i != j]
    ends = visit.page.evaluate(
        """[...document.querySelectorAll(".edge")].map((e) => e.style.display === "none" ? null
          : [0, e.getTotalLength()].map((s) => {
              const p = e.getPointAtLength(s);
              return [p.x, p.y];
            }))"""
    )
    assert sum(end is not None for end in ends) >= 4
    for (i, j), end in zip(pairs, ends, strict=True):
        if end is not None:
            start, stop = np.array(end)
            assert np.linalg.norm(start - places[j]) < np.linalg.norm(start - places[i])
            assert np.linalg.norm(stop - places[i]) < np.linalg.norm(stop - places[j])


def test_it_plays_to_the_end_pauses_and_starts_over(visit):
    visit.part("play").click()
    assert visit.playing and visit.part("play").inner_text() == "Pause"
    visit.wait(lambda: visit.step > 2)
    visit.part("play").click()
    stopped = visit.step
    visit.page.wait_for_timeout(700)
    assert visit.step == stopped and not visit.playing
    visit.part("scrub").focus()
    visit.page.keyboard.press("End")
    visit.page.keyboard.press("ArrowLeft")
    visit.page.keyboard.press(" ")
    visit.wait(lambda: not visit.playing)
    assert visit.step == STEPS
    visit.page.keyboard.press(" ")
    assert visit.playing and visit.step < STEPS


def test_keyboard_reaches_and_drives_the_player(visit):
    page = visit.page
    reached = []
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.dataset.part || ''"))
        if reached[-1] == "scrub":
            break
    assert [r for r in reached if r] == ["task", "method", "seed", "play", "scrub"]
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline != "none"
    for key, expected in (
        ("End", STEPS), ("ArrowLeft", STEPS - 1), ("Home", 0), ("ArrowRight", 1), ("ArrowUp", 2), ("ArrowDown", 1),
        ("ArrowLeft", 0), ("ArrowLeft", 0),
    ):  # fmt: skip
        page.keyboard.press(key)
        assert visit.step == expected, key
    told = visit.part("scrub").get_attribute("aria-valuetext")
    assert told.startswith(f"step 0 of {STEPS}, ") and told.endswith("edges open")
    page.keyboard.press("Shift+Tab")
    page.keyboard.press(" ")  # on the button: once, not twice
    assert visit.playing
    page.keyboard.press(" ")
    assert not visit.playing
    page.keyboard.press("Enter")
    assert visit.playing


def test_keys_outside_the_player_are_left_alone(visit):
    visit.page.keyboard.press("End")
    assert visit.step == 0
    visit.part("task").focus()
    visit.page.keyboard.press("ArrowDown")
    assert visit.step == 0 and visit.part("task").input_value() == TASKS[1]


def test_the_standing_is_kept_when_the_method_changes(visit, replays):
    visit.choose(TASKS[0], "none", "worst")
    visit.part("method").select_option("meta")
    assert visit.part("seed").input_value() == "worst"
    assert visit.part("seed").locator("option:checked").inner_text() == "2 (worst)"
    first = replays[(TASKS[0], "meta", "worst")]
    assert visit.part("edges").inner_text() == f"{int(first.masks[0].sum())} of 6"


def test_touch_taps_and_drags(browser, address):
    visit = Visit(browser, address, "phone")
    visit.part("stage").scroll_into_view_if_needed()
    box = visit.part("stage").bounding_box()
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    visit.page.touchscreen.tap(*middle)
    assert visit.playing
    visit.page.touchscreen.tap(*middle)
    assert not visit.playing
    before = visit.step
    touch = visit.context.new_cdp_session(visit.page)

    def send(kind, x):
        points = [] if kind == "touchEnd" else [{"x": x, "y": middle[1]}]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    send("touchStart", middle[0])
    for share in np.linspace(0, 0.4, 9):
        send("touchMove", middle[0] + share * box["width"])
    send("touchEnd", 0)
    assert visit.step == pytest.approx(before + 0.4 * STEPS, abs=1) and not visit.playing
    for name in ("play", "task", "scrub"):  # a finger's width
        assert visit.part(name).bounding_box()["height"] >= 44
    visit.context.close()


def test_motion_is_not_forced_on_anyone(browser, address):
    for motion, moves in (("reduce", False), ("no-preference", True)):
        context = browser.new_context(reduced_motion=motion)
        page = context.new_page()
        page.goto(address)
        assert page.locator("#player").get_attribute("data-playing") == "false"
        time = page.evaluate("getComputedStyle(document.querySelector('.edge')).transitionDuration")
        assert (time not in ("", "0s")) == moves
        context.close()


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


def test_the_player_begins_with_the_episode_that_is_analysed(browser, address):
    visit = Visit(browser, address)
    learned = next(w for w in watched() if w.learned is not None)
    standing = next(p.standing for p in learned.playbacks if p.seed == learned.learned.seed)
    shown = [visit.part(name).input_value() for name in ("task", "method", "seed")]
    assert shown == [learned.task, learned.method, standing]
    heading = visit.page.locator("#eta h3").first.inner_text()
    assert f"seed {learned.learned.seed}" in heading
