"""Deliberate breakages: each is a line that was broken on purpose, and must turn a test red.

The table lies in ``tests/breakages``. A breakage is applied in a copy of the tree, never in the tree itself.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "tests" / "breakages"
COPIED = ("purejax_mgtopo", "envs", "tests", "runs", "pyproject.toml", "README.md", "LICENSE")
RED, GREEN = 1, 0
"""How pytest ends where a test fails, and where all pass."""


@dataclass(frozen=True)
class Breakage:
    """One line to break."""

    table: str
    file: str
    old: str
    """Stands in the file exactly once."""
    new: str
    red: tuple[str, ...]
    """Tests of which one must fail."""

    @property
    def name(self) -> str:
        """What to call it: the file, and what is broken in it."""
        return f"{self.file}: {' '.join(self.old.split())[:60]}"


def read_breakages() -> list[Breakage]:
    """The whole table."""
    found = []
    for path in sorted(TABLE.glob("*.toml")):
        for entry in tomllib.loads(path.read_text())["broken"]:
            entry["red"] = tuple(f"tests/{name}" for name in entry["red"])
            found.append(Breakage(table=path.stem, **entry))
    return found


class Copy:
    """A copy of the tree, to break."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(source, folder / name)

    def pytest(self, names: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Run tests of the copy, on its code."""
        paths = [str(self.folder), str(self.folder / "envs")]
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(paths),
            # A file that is broken and mended within a second looks unchanged to a cache of its bytecode.
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        words = ["-m", "pytest", "-q", "-x", "-n", "0", "-p", "no:cacheprovider", *names]
        return subprocess.run(
            [sys.executable, *words],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
        )

    def survives(self, breakage: Breakage) -> str | None:
        """What is wrong if no test turns red under a breakage; None if one does."""
        path = self.folder / breakage.file
        whole = path.read_text()
        if whole.count(breakage.old) != 1:
            return "its old text is not there exactly once"
        path.write_text(whole.replace(breakage.old, breakage.new))
        try:
            done = self.pytest(breakage.red)
        finally:
            path.write_text(whole)
        if done.returncode == RED and "failed" in done.stdout.splitlines()[-1]:
            return None
        tail = " | ".join(done.stdout.strip().splitlines()[-3:])
        return f"no test turned red (pytest ended with {done.returncode}: {tail})"


def survivors(folder: Path, breakages: Sequence[Breakage]) -> Iterator[tuple[Breakage, str | None]]:
    """Each breakage with what is wrong, applied one after the other in one copy.

    Raises RuntimeError where the named tests fail on the unbroken copy.
    """
    copy = Copy(folder)
    names = sorted({name for breakage in breakages for name in breakage.red})
    whole = copy.pytest(names)
    if whole.returncode != GREEN:
        raise RuntimeError(f"tests fail on the unbroken copy:\n{whole.stdout[-3000:]}")
    for breakage in breakages:
        yield breakage, copy.survives(breakage)
