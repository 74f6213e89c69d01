"""Keeps to itself what Orbax and TensorStore print about saves that fail: `checkpoint` raises it, in one line."""

from __future__ import annotations

import logging
import sys
from typing import Any


def silence_orbax() -> None:
    """Call before the first save; calling again changes nothing."""
    # Orbax tells every step of a save, and prints the traceback of what it raises besides.
    logging.getLogger("absl").setLevel(logging.CRITICAL)
    # On a full disk each of its hundred tasks fails, and asyncio would print as many tracebacks.
    logging.getLogger("asyncio").addFilter(_not_of_orbax)
    # TensorStore's threads still answer the tasks that were given up, and print that nobody listens any more.
    if sys.unraisablehook is not _print_unless_late:
        global _print
        _print, sys.unraisablehook = sys.unraisablehook, _print_unless_late


def _not_of_orbax(record: logging.LogRecord) -> bool:
    return "orbax" not in record.getMessage()


_print = sys.unraisablehook


def _print_unless_late(unraisable: Any) -> None:
    error = unraisable.exc_value
    if not (isinstance(error, RuntimeError) and str(error) == "Event loop is closed"):
        _print(unraisable)
