"""Requests to stop that are heard at once, even while the main thread sits inside a compiled program.

Ctrl-C, and what schedulers send before they take a machine away: SIGTERM, SIGUSR1. Python runs signal handlers in the
main thread, between bytecodes: while XLA computes a chunk, nothing would answer for a minute, and in a deadlock never.
The C-level handler does write to a wake-up descriptor immediately, so a thread that reads it can answer the first
press and obey the second.
"""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable
from typing import Any

HEARD = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class StopRequest:
    """Within it, the first signal sets `requested` and calls `on_first`; Ctrl-C after that calls `on_second`."""

    def __init__(self, on_first: Callable[[], None], on_second: Callable[[], None]) -> None:
        self._requested = threading.Event()
        self._on_first, self._on_second = on_first, on_second
        self._undo: Callable[[], None] = lambda: None
        self.signal: signal.Signals | None = None
        """The first signal that came."""

    @property
    def requested(self) -> bool:
        """Whether a signal has come."""
        return self._requested.is_set()

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
                    self._on_first()
                elif number == signal.SIGINT:
                    self._on_second()
