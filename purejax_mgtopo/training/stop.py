"""Requests to stop that are heard at once, even while the main thread sits inside a compiled program.

Ctrl-C, what schedulers send before they take a machine away (SIGTERM, SIGUSR1), and what a terminal that is closed
sends (SIGHUP). They are heard from before a program is built until the last picture is drawn. Python runs signal
handlers in the main thread, between bytecodes: while XLA computes a chunk, nothing would answer for a minute, and in a
deadlock never. The C-level handler does write to a wake-up descriptor immediately, so a thread that reads it can answer
the first press and obey the second.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

from purejax_mgtopo.errors import RunError
from purejax_mgtopo.machine import processes

_NAMES = ("SIGINT", "SIGTERM", "SIGUSR1", "SIGHUP")
HEARD = tuple(getattr(signal, name) for name in _NAMES if hasattr(signal, name))


class Stopped(RunError):
    """A request to stop came before training began: nothing was written."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__("stopped before training began; nothing is lost: call the same again")
        self.signal = number


class StopRequest:
    """Within it, the first signal sets `requested` and calls `on_first`; Ctrl-C after that calls `on_second`."""

    def __init__(
        self,
        on_first: Callable[[], None] | None = None,
        on_second: Callable[[], None] | None = None,
    ) -> None:
        self._requested = threading.Event()
        self.on_first, self.on_second = on_first or _announce, on_second or _quit
        self._undo: Callable[[], None] = lambda: None
        self.signal: signal.Signals | None = None
        """The first signal that came."""

    @property
    def requested(self) -> bool:
        """Whether a signal has come."""
        return self._requested.is_set()

    @property
    def requested_anywhere(self) -> bool:
        """Whether a signal has come to any process of the run; all ask at the same moment."""
        return bool(processes.gather([self.requested]).any())

    @contextlib.contextmanager
    def answered_by(
        self, on_first: Callable[[], None], on_second: Callable[[], None]
    ) -> Iterator[None]:
        """Let others answer for a while."""
        before = self.on_first, self.on_second
        self.on_first, self.on_second = on_first, on_second
        try:
            yield
        finally:
            self.on_first, self.on_second = before

    def refuse_to_begin(self) -> None:
        """Raise Stopped if a signal has come."""
        if self.requested_anywhere:
            raise Stopped(self.signal or signal.SIGTERM)

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is not threading.main_thread():
            return self  # signals are the main thread's
        # Who set one to be ignored, as nohup and background shells do, shall have it ignored.
        heard = [number for number in HEARD if signal.getsignal(number) is not signal.SIG_IGN]
        reader, writer = socket.socketpair()
        writer.setblocking(False)
        old_descriptor = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        old_handlers = {number: signal.signal(number, self._handle) for number in heard}
        listener = threading.Thread(target=self._listen, args=(reader,), daemon=True)

        def undo() -> None:
            for number, handler in old_handlers.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(old_descriptor)
            writer.close()  # ends the listener
            listener.join(timeout=1)
            reader.close()

        self._undo = undo
        listener.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._undo()

    def _handle(self, number: int, *_: Any) -> None:
        # The listener may be a moment late; the main thread must not be.
        self.signal = self.signal or signal.Signals(number)
        self._requested.set()

    def _listen(self, reader: socket.socket) -> None:
        announced = False
        while received := reader.recv(64):
            for number in received:
                if number not in HEARD:
                    continue
                self.signal = self.signal or signal.Signals(number)
                self._requested.set()
                if not announced:
                    announced = True
                    self.on_first()
                elif number == signal.SIGINT:
                    self.on_second()


_listening: list[StopRequest] = []
"""The request of this process, while anybody listens."""


@contextlib.contextmanager
def heard() -> Iterator[StopRequest]:
    """Listen, with whoever listens already: a command, the sweep within it and each of its runs hear the same."""
    if _listening:
        yield _listening[0]
        return
    with StopRequest() as stop:
        _listening.append(stop)
        try:
            yield stop
        finally:
            _listening.clear()


def _announce() -> None:
    _say("stopping before the next step; press Ctrl-C again to quit at once")


def _quit() -> None:
    _say("quit; what was recorded stays as it is")
    os._exit(130)


def _say(line: str) -> None:
    with contextlib.suppress(OSError, ValueError, AttributeError):  # nobody may be reading
        print(line, file=sys.stderr, flush=True)
