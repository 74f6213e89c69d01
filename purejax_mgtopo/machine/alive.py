"""Whether a process that said who it is still lives, as far as this machine can tell."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def identity() -> dict[str, Any]:
    """Who this process is: its number, and the start of the machine for which that number holds."""
    return {"pid": os.getpid(), "boot": _boot(), "host": platform.node()}


def is_gone(told: Mapping[str, Any] | None) -> bool:
    """Whether the process ran on this machine, since it was started, and is no more; False where that is not known."""
    told = told or {}
    if not told.get("boot") or told["boot"] != _boot() or told.get("host") != platform.node():
        return False
    try:
        os.kill(int(told["pid"]), 0)
    except ProcessLookupError:
        return True
    except (OSError, KeyError, TypeError, ValueError, OverflowError):
        return False
    return _is_dead(int(told["pid"]))


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _is_dead(pid: int) -> bool:
    """Whether it waits only for its parent to hear that it has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (OSError, IndexError):
        return False
