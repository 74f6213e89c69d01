"""Says so when nothing has moved for long; a run that hangs without a word costs a night."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

from purejax_mgtopo.training.progress import TimeSource, duration

PATIENCE = 300.0  # seconds, at least: a first compilation may take minutes
FACTOR = 20.0  # times the longest step so far


class Watchdog:
    """Calls `say` with one line when no `beat` came for long, and again each time that doubles.

    It never ends a run: only a person can tell a deadlock from a slow machine. What it can add is
    how much processor time this process used meanwhile, since a deadlocked one uses none.

    Args:
        say: shows one line.
        fewer: what makes a step shorter.
        patience: least seconds of silence before the first line; `FACTOR` times the longest step
            counts if longer.
        clock, cpu_clock: wall and processor seconds.
        poll: real seconds between looks; None starts no thread (call `look` yourself).
    """

    def __init__(
        self,
        say: Callable[[str], None],
        *,
        fewer: str = "a smaller chunk_episodes",
        patience: float = PATIENCE,
        clock: TimeSource = time.monotonic,
        cpu_clock: TimeSource = time.process_time,
        poll: float | None = 1.0,
    ) -> None:
        self._say, self._fewer, self._patience, self._poll = say, fewer, patience, poll
        self._clock, self._cpu_clock = clock, cpu_clock
        self._longest = 0.0
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._restart()

    def __enter__(self) -> Watchdog:
        self._restart()
        if self._poll is not None:
            threading.Thread(target=self._watch, args=(self._poll,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()

    def beat(self) -> None:
        """Note that something moved."""
        with self._lock:
            self._longest = max(self._longest, self._clock() - self._since)
            self._restart()

    def look(self) -> None:
        """Speak if it is time to."""
        with self._lock:
            silence = self._clock() - self._since
            if silence < self._limit():
                return
            self._spoken += 1
            line = self._line(silence, self._cpu_clock() - self._cpu_since)
        self._say(line)

    def _limit(self) -> float:
        return max(self._patience, FACTOR * self._longest) * 2**self._spoken

    def _restart(self) -> None:
        self._since, self._cpu_since, self._spoken = self._clock(), self._cpu_clock(), 0

    def _watch(self, poll: float) -> None:
        while not self._over.wait(poll):
            self.look()

    def _line(self, silence: float, cpu: float) -> str:
        begin = f"nothing has moved for {duration(silence)}"
        if cpu > 0.05 * silence:
            return (
                f"{begin}, but the processor is busy ({cpu / silence:.0%} of one core): probably "
                f"a long compilation or chunk; wait, or start again with {self._fewer}"
            )
        return (
            f"{begin} and the processor is idle: unless an accelerator is at work, XLA's thread "
            "pool has probably deadlocked, which seeds under vmap can cause on CPU; end this run "
            f"(Ctrl-C twice, or 'kill -9 {os.getpid()}') and start again with seed_axis = map"
        )
