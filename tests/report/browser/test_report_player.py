"""The report's player, in a real browser."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from browsed import STEPS, TASKS, Visit, watched
from synthetic_runs import write_sweep

from purejax_mgtopo.report.page import render
from purejax_mgtopo.report.report import build_report


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


def test_the_player_begins_with_the_episode_that_is_analysed(browser, address):
    visit = Visit(browser, address)
    learned = next(w for w in watched() if w.learned is not None)
    standing = next(p.standing for p in learned.playbacks if p.seed == learned.learned.seed)
    shown = [visit.part(name).input_value() for name in ("task", "method", "seed")]
    assert shown == [learned.task, learned.method, standing]
    heading = visit.page.locator("#eta h3").first.inner_text()
    assert f"seed {learned.learned.seed}" in heading


@pytest.fixture
def fled(tmp_path, browser):
    """A page on which one agent runs away, and the others stay."""
    own, other = (
        w for w in watched() if (w.task, w.method) in ((TASKS[0], "meta"), (TASKS[0], "full"))
    )
    (first, *rest) = own.playbacks
    runaway = first.things[0]
    places = runaway.places.copy()
    places[-3:] = (9000, -400)
    things = (dataclasses.replace(runaway, places=places), *first.things[1:])
    far = dataclasses.replace(own, playbacks=(dataclasses.replace(first, things=things), *rest))
    write_sweep(tmp_path / "results", TASKS[:1], ("full", "meta"), "Who flees?")
    report = build_report([tmp_path / "results"], episodes=False)
    path = tmp_path / "report.html"
    path.write_text(render(dataclasses.replace(report, watched=(far, other))), encoding="utf-8")
    visit = Visit(browser, path.as_uri())
    yield visit, own.method, first
    visit.context.close()


def test_who_flees_waits_at_the_rim_and_the_arena_stays_as_it_is(fled):
    visit, method, playback = fled
    seen = {}
    for name in ("full", "meta"):
        visit.choose(TASKS[0], name, playback.standing)
        seen[name] = visit.part("stage").get_attribute("viewBox")
    assert seen["full"] == seen["meta"]
    visit.choose(TASKS[0], method, playback.standing)
    visit.part("scrub").focus()
    look = """() => [...document.querySelectorAll(".stage .thing.outside")].map((e) => {
        const { matrix } = e.transform.baseVal[0], box = e.ownerSVGElement.viewBox.baseVal;
        return [e.querySelector("title").textContent, matrix.e, matrix.f, box.x + box.width];
    })"""
    visit.page.keyboard.press("Home")
    assert visit.page.evaluate(look) == []
    visit.page.keyboard.press("End")
    ((name, x, y, right),) = visit.page.evaluate(look)
    assert name == "agent 0" and 900 < x < right and y == 400
    assert not visit.complaints
