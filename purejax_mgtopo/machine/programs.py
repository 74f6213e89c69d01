"""Programs that were compiled for what is over, and the memory that they hold until they are let go.

A compiled program is kept by what was traced for it, in circles that Python finds late, because it counts objects and
not bytes. Before the fifth of some small runs a process held 2.8 GB and 8,100 mappings, and 0.5 GB and 1,200 where each
run had let go of those before it. Linux allows 65,530 mappings; a sweep met that at its 26th run, where LLVM ends the
process.
"""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from pathlib import Path

MOST_BYTES = 2 * 2**30
"""Bytes that a process may hold before it lets go of what it compiled."""
SHARE = 4
"""Nor may it have more than one in so many of the mappings that the system allows."""
USUAL_MAPPINGS = 65_530
"""What Linux allows a process, unless it is told otherwise."""


def let_go_if_many() -> bool:
    """Before something else is compiled: forget all compiled programs where they hold much; whether that was done.

    Those that are called again are compiled again, or read from the cache on disk.
    """
    if "jax" not in sys.modules or not _many():
        return False
    sys.modules["jax"].clear_caches()
    gc.collect()
    if sys.platform == "linux":  # glibc keeps what was freed until it is asked
        getattr(ctypes.CDLL(None), "malloc_trim", lambda _: None)(0)
    return True


def _many() -> bool:
    """Where nobody says how much is held, it is too much."""
    try:
        held = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        if held > MOST_BYTES:
            return True
        mappings = Path("/proc/self/maps").read_bytes().count(b"\n")
    except OSError:
        return True
    return mappings > _allowed() / SHARE


def _allowed() -> int:
    try:
        return int(Path("/proc/sys/vm/max_map_count").read_text())
    except (OSError, ValueError):
        return USUAL_MAPPINGS
