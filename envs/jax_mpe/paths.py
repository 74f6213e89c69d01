"""Paths as people write them."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path


def expanded(path: str | os.PathLike[str]) -> Path:
    """`path`, with the home folder for a leading ``~``, which no shell expands within quotes or behind a ``=``.

    Raises:
        ValueError: in one line, for the home of a user that there is not, or of one who has none, and for an empty
            string, which Python would take for the current folder.
    """
    if not os.fspath(path):
        raise ValueError("an empty path names nothing; write . for the current folder")
    try:
        return Path(path).expanduser()
    except RuntimeError:
        who = Path(path).parts[0]
        raise ValueError(
            f"{path}: there is no home folder {who} here; write the path out"
        ) from None


def written_out(name: str) -> str:
    """`name` with stray bytes as UTF-8 has them: in the locale C, Python understands no others of a file's name."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return os.fsencode(name).decode(errors="backslashreplace")
    return name


def show_any_name() -> None:
    """Let no name end a command because the terminal cannot show it."""
    for stream in (sys.stdout, sys.stderr):
        if getattr(stream, "errors", "") in ("strict", "surrogateescape"):
            with contextlib.suppress(AttributeError):
                stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
