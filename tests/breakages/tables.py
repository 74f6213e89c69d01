"""Deliberate breakages: each is a line that was broken on purpose, and must turn a test red.

The table lies in ``tests/breakages``. A breakage is applied in a copy of the tree, never in the tree itself.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
TABLE = Path(__file__).parent
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

        paths = [str(folder), str(folder / "envs")]
        self._server = subprocess.Popen(
            [sys.executable, str(folder / "tests" / "breakages" / "server.py")],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths), "JAX_PLATFORMS": "cpu"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._moment = int(time.time())

    def close(self) -> None:
        """Nothing more is asked."""
        self._server.communicate()

    def pytest(self, names: Sequence[str]) -> tuple[int, str]:
        """Run tests of the copy, on its code: pytest's exit code, and the end of what it printed."""
        assert self._server.stdin is not None and self._server.stdout is not None
        self._server.stdin.write(json.dumps(list(names)) + "\n")
        self._server.stdin.flush()
        code, said = json.loads(self._server.stdout.readline())
        return code, said

    def _write(self, path: Path, text: str) -> None:
        path.write_text(text)
        # What is broken and mended within a second would look unchanged to the cache of its bytecode.
        self._moment += 2
        os.utime(path, (self._moment, self._moment))

    def survives(self, breakage: Breakage) -> str | None:
        """What is wrong if no test turns red under a breakage; None if one does."""
        path = self.folder / breakage.file
        whole = path.read_text()
        if whole.count(breakage.old) != 1:
            return "its old text is not there exactly once"
        self._write(path, whole.replace(breakage.old, breakage.new))
        try:
            code, said = self.pytest(breakage.red)
        finally:
            self._write(path, whole)
        if code == RED and (
            " failed" in said or " error" in said
        ):  # or what it needs cannot be made
            return None
        tail = " | ".join(said.strip().splitlines()[-3:])
        return f"no test turned red (pytest ended with {code}: {tail})"


def survivors(folder: Path, breakages: Sequence[Breakage]) -> Iterator[tuple[Breakage, str | None]]:
    """Each breakage with what is wrong, applied one after the other in one copy.

    Raises RuntimeError where the named tests fail on the unbroken copy.
    """
    with contextlib.closing(Copy(folder)) as copy:
        code, said = copy.pytest(sorted({name for each in breakages for name in each.red}))
        if code != GREEN:
            raise RuntimeError(f"tests fail on the unbroken copy:\n{said}")
        for breakage in breakages:
            yield breakage, copy.survives(breakage)
