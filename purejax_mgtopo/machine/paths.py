"""Paths as people write them."""

from __future__ import annotations

import os
from pathlib import Path

from purejax_mgtopo.errors import ConfigError


def expanded(path: str | os.PathLike[str]) -> Path:
    """`path`, with the home folder for a leading ``~``: a shell leaves that alone in ``--out=~/x``.

    Raises ConfigError for the home of a user that there is not, or of one who has none, and for an empty string, which
    Python would take for the current folder.
    """
    if not os.fspath(path):
        raise ConfigError("an empty path names nothing; write . for the current folder")
    try:
        return Path(path).expanduser()
    except RuntimeError:
        who = Path(path).parts[0]
        raise ConfigError(
            f"{path}: there is no home folder {who} here; write the path out"
        ) from None


def can_be_said(path: Path) -> bool:
    """Whether every character of `path` was understood: in the locale C, Python takes others in as stray bytes."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def straight(path: Path) -> Path:
    """`path`, absolute and without ``..``, which libraries take away from the name although a link leads elsewhere."""
    return path.resolve() if ".." in path.parts else path.absolute()


def written_out(path: Path) -> str:
    """`path` as text that any file can hold: what was not understood of it, as UTF-8 has it."""
    return str(path) if can_be_said(path) else os.fsencode(path).decode(errors="backslashreplace")
