"""What a person sees while a run goes on: a bar in a terminal, a few plain lines anywhere else."""

from __future__ import annotations

import math
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Protocol

from purejax_mgtopo.machine.streams import enduring

if TYPE_CHECKING:
    from rich.progress import TaskID

TimeSource = Callable[[], float]


@dataclass(frozen=True)
class Tick:
    """Where a run stands after a chunk; means are over the seeds that are still finite."""

    episode: int
    """Training episodes done, per seed."""
    train_return: float
    edge_rate: float
    rate: float
    """Training episodes per second, all seeds together; NaN while it is not known yet."""
    seconds_left: float
    """Seconds until the run ends at this rate; NaN while it is not known yet."""
    non_finite: int
    """Seeds frozen because they left the finite numbers."""


class Reporter(Protocol):
    """Shows runs one after another: begin, compiled, tick ..., end. `note` may come at any time.

    `compiled` comes with the first chunk, whose call compiles the program.
    """

    def begin(self, name: str, episodes: int, seeds: int) -> None:
        """A run starts, and its program is about to be compiled."""

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

    def begin(self, name: str, episodes: int, seeds: int) -> None: ...
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
        self._name, self._episodes = "", 0
        self._last: float | None = None

    def begin(self, name: str, episodes: int, seeds: int) -> None:
        self._name, self._episodes, self._last = name, episodes, None
        self._say(f"compiling for {seeds} seed{'s' * (seeds != 1)} ...")

    def compiled(self, seconds: float) -> None:
        self._say(f"compiled, and the first chunk done, after {seconds:.1f} s")

    def tick(self, tick: Tick) -> None:
        now = self._clock()
        due = self._last is None or now - self._last >= self._every
        if not due and tick.episode < self._episodes:
            return
        self._last = now
        rate = "" if math.isnan(tick.rate) else f"  {tick.rate:,.0f} episodes/s"
        running = tick.episode < self._episodes and not math.isnan(tick.seconds_left)
        left = f"  {duration(tick.seconds_left)} left" if running else ""
        lost = f"  {tick.non_finite} non-finite" if tick.non_finite else ""
        self._say(
            f"episode {tick.episode:,}/{self._episodes:,}  return {tick.train_return:.2f}"
            f"  edges {tick.edge_rate:.0%}{rate}{left}{lost}"
        )

    def end(self, outcome: str) -> None:
        self._say(outcome)

    def note(self, line: str) -> None:
        print(line, file=self._stream, flush=True)

    def close(self) -> None:
        pass

    def _say(self, line: str) -> None:
        self.note(f"{self._name}: {line}")


class BarReporter(Reporter):
    """One bar per run, in a terminal. Bars of finished runs stay above the current one."""

    WIDE = 110  # columns from which there is room for words

    def __init__(self, stream: IO[str], width: int | None = None) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        self._console = Console(
            file=stream,
            width=width,
            force_terminal=True,
            highlight=False,
            markup=False,
            emoji=False,
        )
        self._wide = self._console.width >= self.WIDE
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24 if self._wide else 8),
            TextColumn("{task.fields[text]}", markup=False),
            TextColumn("{task.fields[lost]}", markup=False, style="red"),
            console=self._console,
            refresh_per_second=4,
        )
        self._task: TaskID | None = None
        self._episodes, self._began = 0, 0.0
        self._tick: Tick | None = None
        self._ticking: threading.Event | None = None

    def begin(self, name: str, episodes: int, seeds: int) -> None:
        self._episodes = episodes
        room = 34 if self._wide else 15
        if len(name) > room:  # of "task/method", the method is what tells the bars apart
            task, _, method = name.rpartition("/")
            name = f"{task[: max(3, room - len(method) - 2)]}…/{method}"
        self._began, self._tick = time.monotonic(), None
        self._progress.start()
        # Without a total the bar pulses: nobody knows how long compiling takes.
        self._task = self._progress.add_task(name, total=None, text="compiling …", lost="")
        self._count_up(self._task)

    def compiled(self, seconds: float) -> None:
        self._stop_counting()
        self._update(total=self._episodes, completed=0, text=f"compiled after {seconds:.1f} s")

    def tick(self, tick: Tick) -> None:
        self._tick = tick
        self._update(
            completed=tick.episode,
            text=self._text(tick, duration(tick.seconds_left)),
            lost=f"{tick.non_finite} non-finite" if tick.non_finite else "",
        )

    def end(self, outcome: str) -> None:
        self._stop_counting()
        if self._task is not None:
            if self._tick is None:
                self._update(total=self._episodes, text=outcome)
            else:
                took = duration(time.monotonic() - self._began)
                self._update(text=self._text(self._tick, took, after="in total"))
            self._progress.stop_task(self._task)
            self._progress.refresh()
            self._task = None

    def note(self, line: str) -> None:
        self._console.print(line, markup=False, soft_wrap=True)

    def close(self) -> None:
        self._stop_counting()
        self._progress.stop()

    def _text(self, tick: Tick, time: str, after: str = "left") -> str:
        width = len(f"{self._episodes:,}")
        rate = "-" if math.isnan(tick.rate) else f"{tick.rate:,.0f}"
        if self._wide:
            text = (
                f"{tick.episode:>{width},}/{self._episodes:,}  return {tick.train_return:8.2f}  "
                f"edges {tick.edge_rate:4.0%}  {rate:>6} episodes/s  {time:>5} {after}"
            )
        else:
            text = (
                f"{tick.episode:>{width},}/{self._episodes:,} {tick.train_return:8.2f} "
                f"{tick.edge_rate:4.0%} {rate:>5} ep/s {time:>5}"
            )
        return text

    def _update(self, **changes: Any) -> None:
        if self._task is not None:
            self._progress.update(self._task, **changes)

    def _count_up(self, task: TaskID) -> None:
        """Show how long compiling has taken, from a thread: the main one is inside the compiler."""
        started, over = time.monotonic(), threading.Event()

        def run() -> None:
            while not over.wait(0.5):
                text = f"compiling … {duration(time.monotonic() - started)}"
                self._progress.update(task, text=text)

        self._ticking = over
        threading.Thread(target=run, daemon=True).start()

    def _stop_counting(self) -> None:
        if self._ticking is not None:
            self._ticking.set()
            self._ticking = None


def duration(seconds: float) -> str:
    """``1:02:03``, ``2:03``; a dash where it is not known."""
    if not 0 <= seconds < 1e9:
        return "-"
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
