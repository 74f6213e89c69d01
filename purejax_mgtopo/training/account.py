"""How far a run is, and the sweep that it is a part of, in numbers and in words; episodes and speeds are a seed's."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

TimeSource = Callable[[], float]


@dataclass(frozen=True)
class Tick:
    """Where a run stands after a chunk; means are over the seeds that are still finite."""

    episode: int
    """Training episodes done of each seed of this wave."""
    train_return: float
    edge_rate: float
    rate: float
    """Training episodes per second, all seeds together; NaN while it is not known yet."""
    seconds_left: float
    """Seconds until the run ends at this rate; NaN while it is not known yet."""
    non_finite: int
    """Seeds frozen because they left the finite numbers."""
    wave: int = 0
    """Which of the `waves` is under way, counted from 0."""
    waves: int = 1
    seeds: int = 0
    """Seeds of this wave; 0 for all that the run has."""


@dataclass(frozen=True)
class Terms:
    """What a reporter calls that which it counts and shows, each for one of it; these are a run's."""

    step: str = "episode"
    lane: str = "seed"
    """What takes every step."""
    chunk: str = "chunk"
    """Steps between two ticks."""
    worth: str = "training return"


class Account:
    """What a reporter has heard of the run under way, and of the sweep that it is a part of."""

    def __init__(self, clock: TimeSource) -> None:
        self._clock = clock
        self.number, self.of, self._later = 0, 0, 0
        self._before, self._busy = 0, 0.0
        """Episodes of all seeds, and seconds, of the runs before this one."""
        self.name, self.episodes, self.seeds = "", 0, 0
        self.terms = Terms()
        self.began, self.tick, self._skipped = 0.0, None, 0

    tick: Tick | None

    def part(self, number: int, of: int, later: int) -> None:
        """A sweep tells which of its runs comes next."""
        self.number, self.of, self._later = number, of, later

    def begin(self, name: str, episodes: int, seeds: int, terms: Terms) -> None:
        """A run starts."""
        self.name, self.episodes, self.seeds, self.terms = name, episodes, seeds, terms
        self.began, self.tick = self._clock(), None

    def hear(self, tick: Tick) -> None:
        """A chunk is done."""
        self.tick = tick

    def end(self) -> None:
        """The run is over."""
        self._before += self._done
        self._busy += self.seconds if self._done else 0.0

    @property
    def seconds(self) -> float:
        """How long the run has taken until now."""
        return self._clock() - self.began

    @property
    def _done(self) -> int:
        if self.tick is None or math.isnan(self.tick.rate):
            return 0
        share = (self.tick.wave + self.tick.episode / max(1, self.episodes)) / self.tick.waves
        return round(share * self.episodes * self.seeds)

    @property
    def words(self) -> str:
        """``run 7 of 40, about 3 h left``; nothing for a run of no sweep."""
        if self.of < 2:
            return ""
        left = self._all_left
        return f"run {self.number} of {self.of}" + ("" if math.isnan(left) else f", {about(left)}")

    @property
    def _all_left(self) -> float:
        """Seconds until the sweep ends, where later runs are as fast as those until now."""
        tick = self.tick
        if tick is None or math.isnan(tick.seconds_left):
            if not self._before:
                return math.nan
            rest = (self.episodes * self.seeds + self._later) * self._busy / self._before
            return max(0.0, rest - self.seconds)
        pace = (self._busy + self.seconds) / max(1, self._before + self._done)
        if not self._before:  # compiling, and what was done before a stop, would weigh too much
            pace = 1 / tick.rate
        return tick.seconds_left + self._later * pace

    @property
    def count(self) -> str:
        """Episodes of a seed, and the wave where there are several."""
        return f"{self._counted} {self.terms.step}s{self._wave}"

    @property
    def place(self) -> str:
        """The same in a sentence."""
        return f"{self.terms.step} {self._counted.strip()}{self._wave}"

    @property
    def _counted(self) -> str:
        done = 0 if self.tick is None else self.tick.episode
        return f"{done:>{len(f'{self.episodes:,}')},}/{self.episodes:,}"

    @property
    def _wave(self) -> str:
        tick = self.tick
        return f", wave {tick.wave + 1} of {tick.waves}" if tick and tick.waves > 1 else ""

    @property
    def all_lanes(self) -> str:
        """``8 seeds``."""
        return counted(self.seeds, self.terms.lane)

    @property
    def worth(self) -> str:
        """``training return -12.34``."""
        return "" if self.tick is None else f"{self.terms.worth} {self.tick.train_return:.2f}"

    @property
    def share(self) -> float:
        """How much of the run is done, from 0 to 1."""
        tick = self.tick
        if tick is None:
            return 0.0
        return (tick.wave + tick.episode / max(1, self.episodes)) / tick.waves

    @property
    def speed(self) -> str:
        """Episodes of each seed in a second; nothing while it is not known."""
        tick = self.tick
        if tick is None or math.isnan(tick.rate):
            return ""
        seeds, terms = tick.seeds or self.seeds, self.terms
        pace = f"{significant(tick.rate / seeds)} {terms.step}s/s"
        return f"{pace} x {counted(seeds, terms.lane)}"

    @property
    def whole(self) -> bool:
        """Whether the last episode of the last wave is done."""
        tick = self.tick
        return tick is not None and self.share >= 1


def about(seconds: float) -> str:
    """``about 3 h left``, in the unit that a person would take."""
    for unit, length in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length or unit == "h" and seconds >= length:
            return f"about {seconds / length:.0f} {unit} left"
    return "about a minute left" if seconds > 40 else "under a minute left"


def significant(number: float) -> str:
    """A speed with the digits that matter."""
    return f"{number:,.0f}" if number >= 10 else f"{number:.2g}"


def seeds_in_words(count: int) -> str:
    """``1 seed``, ``8 seeds``."""
    return counted(count, "seed")


def counted(count: int, word: str) -> str:
    """``1 lifetime``, ``8 lifetimes``."""
    return f"{count} {word}{'s' * (count != 1)}"


def duration(seconds: float) -> str:
    """``1:02:03``, ``2:03``; a dash where it is not known."""
    if not 0 <= seconds < 1e9:
        return "-"
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
