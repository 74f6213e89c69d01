"""Paths as people write them."""

from __future__ import annotations

import os
from pathlib import Path

from purejax_mgtopo.errors import ConfigError


def expanded(path: str | os.PathLike[str]) -> Path:
    """`path`, with the home folder for a leading ``~``: a shell leaves that alone in ``--out=~/x``.

    Raises ConfigError for the home of a user that there is not, or of one who has none.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        who = Path(path).parts[0]
        raise ConfigError(
            f"{path}: there is no home folder {who} here; write the path out"
        ) from None
