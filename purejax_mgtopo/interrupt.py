"""Ctrl-C that is heard at once, even while the main thread sits inside a compiled program.

Python runs signal handlers in the main thread, between bytecodes: while XLA computes a chunk,
nothing would answer for a minute, and in a deadlock never. The C-level handler does write to a
wake-up descriptor immediately, so a thread that reads it can answer the first press and obey the
second.
"""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable
from typing import Any


class StopRequest:
    """Within it, the first Ctrl-C sets `requested` and calls `on_first`, the second `on_second`."""

    def __init__(self, on_first: Callable[[], None], on_second: Callable[[], None]) -> None:
        self._requested = threading.Event()
        self._on_first, self._on_second = on_first, on_second
        self._undo: Callable[[], None] = lambda: None

    @property
    def requested(self) -> bool:
        return self._requested.is_set()

    def __enter__(self) -> StopRequest:
        in_main = threading.current_thread() is threading.main_thread()
        if not in_main or signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
            return (
                self  # signals are the main thread's; and nohup's wish not to be interrupted holds
            )
        reader, writer = socket.socketpair()
        writer.setblocking(False)
        old_descriptor = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        old_handler = signal.signal(signal.SIGINT, self._handle)
        listener = threading.Thread(target=self._listen, args=(reader,), daemon=True)

        def undo() -> None:
            signal.signal(signal.SIGINT, old_handler)
            signal.set_wakeup_fd(old_descriptor)
            writer.close()  # ends the listener
            listener.join(timeout=1)
            reader.close()

        self._undo = undo
        listener.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._undo()

    def _handle(self, *_: Any) -> None:
        self._requested.set()  # the listener may be a moment late; the main thread must not be

    def _listen(self, reader: socket.socket) -> None:
        presses = 0
        while received := reader.recv(64):
            for _ in range(received.count(signal.SIGINT)):
                presses += 1
                self._requested.set()
                if presses == 1:
                    self._on_first()
                elif presses == 2:
                    self._on_second()
