"""A report in a real browser: what is on the page, and a visit to it."""

from __future__ import annotations

import html.parser
import re

import numpy as np

from purejax_mgtopo.report.model import ClaimTrack, LearnedAdvantage, Playback, Thing, Watched

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


QUESTION = "Is <talking> worth it & why?"


class Page(html.parser.HTMLParser):
    """Tags, identifiers, links and text of a page; every tag must be closed."""

    VOID = {"meta", "link", "br", "input"}

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict]] = []
        self.text: list[str] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        if not {"style", "script"} & set(self.open):
            self.text.append(data)

    @property
    def words(self):
        return re.sub(r"\s+", " ", "".join(self.text))
