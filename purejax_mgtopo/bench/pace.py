"""How far a part of the benchmark is, how long it will take, and when it has to stop."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")
MEASUREMENTS = 60
"""A part ends, with what it has, after the time of so many measurements of `--seconds` each."""


class Pace:
    """A part's clock.

    Args:
        note: prints a line.
        seconds: that the part may take.
        now: the time in seconds.
    """

    def __init__(
        self,
        note: Callable[[str], None],
        seconds: float,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.note, self.seconds, self._now = note, seconds, now
        self._began = now()

    @property
    def left(self) -> float:
        """Seconds until the part has to stop."""
        return self.seconds - (self._now() - self._began)

    def over(self, things: Iterable[T], name: Callable[[T], str] = str) -> Iterator[T]:
        """The things in turn, at least the first; says before each how far we are, and at the end what was left out."""
        todo = list(things)
        began = self._now()
        for done, thing in enumerate(todo):
            each = (self._now() - began) / done if done else 0.0
            if done and self.left < each / 2:
                out = ", ".join(dict.fromkeys(name(x) for x in todo[done:]))
                self.note(f"out of time (--seconds): left out {out}")
                return
            line = f"{done + 1} of {len(todo)}: {name(thing)}"
            if done:
                line += f"; {_clock(min(each * (len(todo) - done), max(self.left, 0.0)))} left"
            self.note(line)
            yield thing


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
