"""What a person sees while runs go on: one live bar in a terminal, a few plain lines anywhere else.

Episodes are those of one seed, everywhere, and so is the speed: ``45 episodes/s x 8 seeds``. What is shown of returns
is the training's; those of evaluations are in the records, the report and `mgtopo status`.
"""

from __future__ import annotations

import math
import sys
import time
from typing import IO, TYPE_CHECKING, Any, Protocol

from purejax_mgtopo.machine.streams import enduring
from purejax_mgtopo.training.account import Account, Terms, Tick, TimeSource, duration

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

__all__ = [
    "BarReporter",
    "LineReporter",
    "Reporter",
    "SilentReporter",
    "Terms",
    "Tick",
    "duration",
    "make_reporter",
]


RUN = Terms()


class Reporter(Protocol):
    """Shows runs one after another: part, begin, compiled, tick ..., end. `note` may come at any time.

    `compiled` comes with the first chunk, whose call compiles the program; `part` from sweeps alone.
    """

    def part(self, number: int, of: int, later: int) -> None:
        """The run that begins next is the `number`-th `of` so many; in those after it, all seeds together have
        `later` episodes to go."""

    def begin(self, name: str, episodes: int, seeds: int, terms: Terms = RUN) -> None:
        """A run starts, and its program is about to be compiled.

        Args:
            terms: what episodes, seeds and returns are called, where they are others than a run's.
        """

    def compiled(self, seconds: float) -> None:
        """The first chunk is done, compilation included, after `seconds`."""

    def tick(self, tick: Tick) -> None:
        """A chunk is done."""

    def end(self, outcome: str) -> None:
        """The run is over; `outcome` says how."""

    def note(self, line: str) -> None:
        """Show one line beside the progress."""

    def close(self) -> None:
        """No more runs follow."""


def make_reporter(stream: IO[str] | None = None) -> Reporter:
    """A bar where `stream` (default: stderr) is a terminal, plain lines otherwise."""
    stream = enduring(sys.stderr if stream is None else stream)
    return BarReporter(stream) if stream.isatty() else LineReporter(stream)


class SilentReporter(Reporter):
    """A reporter that shows nothing."""

    def part(self, number: int, of: int, later: int) -> None: ...
    def begin(self, name: str, episodes: int, seeds: int, terms: Terms = RUN) -> None: ...
    def compiled(self, seconds: float) -> None: ...
    def tick(self, tick: Tick) -> None: ...
    def end(self, outcome: str) -> None: ...
    def note(self, line: str) -> None: ...
    def close(self) -> None: ...


class LineReporter(Reporter):
    """One line in `every` seconds at most, besides the first and last: for logs and pipes."""

    def __init__(
        self, stream: IO[str], every: float = 5.0, clock: TimeSource = time.monotonic
    ) -> None:
        self._stream, self._every, self._clock = stream, every, clock
        self._run = Account(clock)
        self._last: float | None = None

    def part(self, number: int, of: int, later: int) -> None:
        self._run.part(number, of, later)

    def begin(self, name: str, episodes: int, seeds: int, terms: Terms = RUN) -> None:
        self._run.begin(name, episodes, seeds, terms)
        self._last = None
        part = f"{self._run.words}; " if self._run.words else ""
        self._say(f"{part}compiling for {self._run.all_lanes} ...")

    def compiled(self, seconds: float) -> None:
        chunk = self._run.terms.chunk
        self._say(f"compiled, and the first {chunk} done, after {seconds:.1f} s")

    def tick(self, tick: Tick) -> None:
        run, now = self._run, self._clock()
        run.hear(tick)
        due = self._last is None or now - self._last >= self._every
        if not due and not run.whole:
            return
        self._last = now
        running = not run.whole and not math.isnan(tick.seconds_left)
        told = [
            run.place,
            run.worth,
            f"edges {tick.edge_rate:.0%}",
            run.speed,
            f"{duration(tick.seconds_left)} left" if running else "",
            f"{tick.non_finite} non-finite" if tick.non_finite else "",
            f"({run.words})" if run.words and running else "",
        ]
        self._say("  ".join(part for part in told if part))

    def end(self, outcome: str) -> None:
        self._run.end()
        self._say(outcome)

    def note(self, line: str) -> None:
        print(line, file=self._stream, flush=True)

    def close(self) -> None:
        pass

    def _say(self, line: str) -> None:
        self.note(f"{self._run.name}: {line}")


class BarReporter(Reporter):
    """One live bar, of the run under way, in a terminal of any size; a plain line for each that has ended."""

    def __init__(
        self, stream: IO[str], width: int | None = None, clock: TimeSource = time.monotonic
    ) -> None:
        from rich.console import Console

        self._console = Console(
            file=stream,
            width=width,
            force_terminal=True,
            highlight=False,
            markup=False,
            emoji=False,
        )
        self._run = Account(clock)
        self._live: Live | None = None

    def part(self, number: int, of: int, later: int) -> None:
        self._run.part(number, of, later)

    def begin(self, name: str, episodes: int, seeds: int, terms: Terms = RUN) -> None:
        from rich.live import Live

        self._run.begin(name, episodes, seeds, terms)
        self._stop()
        # A new one for each run: it would go up by as many lines as the last one had.
        self._live = Live(
            console=self._console,
            get_renderable=self._shown,
            refresh_per_second=4,
            transient=True,
            vertical_overflow="crop",
        )
        self._live.start(refresh=True)

    def compiled(self, seconds: float) -> None:
        pass

    def tick(self, tick: Tick) -> None:
        self._run.hear(tick)

    def end(self, outcome: str) -> None:
        if not self._stop():
            return
        run, tick = self._run, self._run.tick
        told = [run.name, duration(run.seconds)]
        if tick is not None:
            told += [run.worth, f"edges {tick.edge_rate:.0%}"]
            told += [f"{tick.non_finite} non-finite"] if tick.non_finite else []
        if not run.whole:
            told.append(f"{run.count.strip()}: {outcome}" if tick is not None else outcome)
        run.end()
        self.note("  ".join(told))

    def note(self, line: str) -> None:
        self._console.print(line, markup=False, soft_wrap=True)

    def close(self) -> None:
        self._stop()

    def _stop(self) -> bool:
        """Take the bar away; whether there was one."""
        live, self._live = self._live, None
        if live is not None:
            live.stop()
        return live is not None

    def _shown(self) -> RenderableType:
        """At most three lines, none of which is wider than the terminal: what, how far, how well."""
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        run, tick = self._run, self._run.tick
        what = [run.name, run.words]
        lines: list[Any] = [
            Text("  ".join(x for x in what if x), no_wrap=True, overflow="ellipsis")
        ]
        wide = self._console.width
        grid = Table.grid(padding=(0, 1))
        bar = ProgressBar(
            total=None if tick is None else 1.0, completed=run.share, width=max(8, wide // 5)
        )
        if tick is None:
            grid.add_row(bar, Text(f"compiling … {duration(run.seconds)}", no_wrap=True))
            return Group(*lines, grid)
        left = "" if math.isnan(tick.seconds_left) else f"{duration(tick.seconds_left)} left"
        grid.add_row(bar, Text(f"{run.count}  {left}", no_wrap=True, overflow="ellipsis"))
        well = [run.worth, f"edges {tick.edge_rate:.0%}", run.speed]
        last = Text("  ".join(x for x in well if x), no_wrap=True, overflow="ellipsis")
        if tick.non_finite:
            last.append(f"  {tick.non_finite} non-finite", style="red")
        return Group(*lines, grid, last)
