"""Where runs are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from purejax_mgtopo.errors import RunError

CONFIG = "config.json"
"""Stands in every run's folder."""


def find_runs(folders: Sequence[Path]) -> list[Path]:
    """Run folders at or beneath `folders`, in the order given, then by name; each once.

    Raises RunError for a folder that holds none.
    """
    found: dict[Path, None] = {}
    for folder in folders:
        if not folder.is_dir():
            raise RunError(f"{folder} is not a folder; give a run's or a sweep's results")
        runs = sorted(path.parent for path in folder.rglob(CONFIG))
        if not runs:
            raise RunError(
                f"{folder} holds no run (no {CONFIG} in or beneath it); "
                "give a run's folder or a sweep's results"
            )
        found |= {run: None for run in runs}
    unique: dict[Path, Path] = {}
    for run in found:
        unique.setdefault(run.resolve(), run)
    return list(unique.values())
