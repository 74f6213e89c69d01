"""Paths as people write them."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def expanded(path: str | os.PathLike[str]) -> Path:
    """`path`, with the home folder for a leading ``~``: a shell leaves that alone in ``--out=~/x``."""
    with contextlib.suppress(RuntimeError):  # nobody of that name
        return Path(path).expanduser()
    return Path(path)
