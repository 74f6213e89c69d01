"""Output that may fail and must not matter: a reader that is gone, a log on a full disk, a terminal that was closed."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

_FOR_GOOD = (errno.EPIPE, errno.EIO, errno.EBADF, errno.ENXIO)


class Enduring:
    """A text stream in front of another, whose errors end nothing; what cannot be written is lost."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write if that is possible."""
        self._try(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        """Flush if that is possible."""
        self._try(self._stream.flush)

    def give_up(self) -> None:
        """Let nothing be left that fails when the process ends."""
        try:
            self._stream.flush()
        except (OSError, ValueError):
            self._into_nothing()

    def _try(self, act: Callable[[], object]) -> None:
        try:
            act()
        except ValueError:  # closed
            pass
        except OSError as error:
            if (
                error.errno in _FOR_GOOD
            ):  # a disk may have room again, but a reader does not come back
                self._into_nothing()

    def _into_nothing(self) -> None:
        """Let all that writes to its descriptor, libraries in C as well, write to nowhere from now on."""
        with contextlib.suppress(OSError, ValueError):
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, self._stream.fileno())
            os.close(nothing)
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def enduring(stream: Any) -> Any:
    """`stream`, made enduring; one that writes to nowhere in place of None, as Python has for a closed descriptor."""
    if stream is None:
        stream = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - as long as the process
    return stream if isinstance(stream, Enduring) else Enduring(stream)


@contextlib.contextmanager
def enduring_streams(*names: str) -> Iterator[None]:
    """Within it, ``stderr``, ``stdout`` or both are enduring."""
    fill_standard_descriptors()
    before = {name: getattr(sys, name) for name in names}
    now = {name: enduring(stream) for name, stream in before.items()}
    for name, stream in now.items():
        setattr(sys, name, stream)
    try:
        yield
    finally:
        for name, stream in before.items():
            now[name].give_up()
            if stream is not None:
                setattr(sys, name, stream)


def show_any_name() -> None:
    """Let no name end a command because the terminal cannot show it."""
    for stream in (sys.stdout, sys.stderr):
        if getattr(stream, "errors", "") in ("strict", "surrogateescape"):
            with contextlib.suppress(AttributeError):
                stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


def fill_standard_descriptors() -> None:
    """Open those that were closed onto nowhere, lest a checkpoint get the number to which libraries print."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != descriptor:
                os.dup2(opened, descriptor)
                os.close(opened)


def leave_within(seconds: float, code: int) -> None:
    """End this process with `code` if it has not ended by then, whatever still waits in it."""

    def leave() -> None:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError, AttributeError):
                stream.flush()
        os._exit(code)

    timer = threading.Timer(seconds, leave)
    timer.daemon = True
    timer.start()
