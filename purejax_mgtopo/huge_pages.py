"""Memory in pages of 2 MB, where Linux gives them to those who ask ("madvise", the usual setting).

Training on a CPU walks through tens of megabytes in every episode, and in pages of 4 KB the processor cannot keep track
of them all. Measured on two cores in five pairs of runs: 11, 5, 3, 1, -4 % faster. glibc asks for huge pages if told to
before a process starts. So the command starts itself anew, once, in the same process, before it has done or imported
anything.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

SETTING = Path("/sys/kernel/mm/transparent_hugepage/enabled")
VARIABLE, TUNABLE = "GLIBC_TUNABLES", "glibc.malloc.hugetlb"


def restart_with_huge_pages() -> None:
    """Replace this program by itself with huge pages; returns if there is nothing to gain, or it cannot be done."""
    try:
        variable = tunables(SETTING.read_text(), os.environ)
    except OSError:  # not Linux
        return
    if variable is None or not sys.executable:
        return
    os.environ[VARIABLE] = variable
    try:
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    except OSError:  # it works without
        return


def tunables(setting: str, environment: Mapping[str, str]) -> str | None:
    """What glibc is to be told, the user's own wishes included; None to leave things as they are.

    Args:
        setting: the kernel's, with the choice in brackets, as in ``always [madvise] never``.
        environment: of this process.
    """
    told = environment.get(VARIABLE, "")
    if "[madvise]" not in setting or TUNABLE in told:
        return None
    return ":".join(filter(None, (told, f"{TUNABLE}=1")))
