"""What the command said on a bad disk, what is wrong with it, and what a disk still holds that lost power."""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from purejax_mgtopo.cli import main as cli

SECONDS = 30.0


class Said:
    """What the command wrote to the descriptors, libraries in C included."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "said"

    def of(self, words: Sequence[object]) -> tuple[int, str, float]:
        """Exit code, what was written, and seconds."""
        began = time.monotonic()
        with open(self._path, "w+", encoding="utf-8", errors="replace") as file:
            kept = [os.dup(1), os.dup(2)]
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
            try:
                code = cli.main([str(word) for word in words])
            except BaseException:
                code = 70
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                for old, new in zip(kept, (1, 2), strict=True):
                    os.dup2(old, new)
                    os.close(old)
        took = time.monotonic() - began
        return code, self._path.read_text(encoding="utf-8", errors="replace"), took


def judged(code: int, said: str, took: float) -> str | None:
    """What is wrong with how a command ended."""
    errors = [line for line in said.splitlines() if line.startswith("mgtopo: error:")]
    if took > SECONDS:
        return f"it took {took:.0f} s"
    if "Traceback" in said:
        return "traceback: " + said[said.index("Traceback") :][:1500]
    if code not in (0, 1):
        return f"exit code {code}: {said[-500:]}"
    if len(errors) != (code == 1):
        return f"{len(errors)} lines of error, exit code {code}: {said[-500:]}"
    if errors and any(word in errors[0] for word in ("OSError", "Error: [Errno")):
        return errors[0]
    return None


def identity(path: Path) -> str:
    """As the shim calls it."""
    found = os.stat(path)
    return str(found.st_ino)


def remembered(folder: Path, synced: Path, cut: int, target: Path) -> None:
    """Make of `folder`, as `target`, what a disk holds that lost power after so many calls."""

    def latest(part: str, name: str) -> Path | None:
        """What was last synced of it; of those with one number, as after another was removed, the name tells."""
        found = [
            (int(path.name.rpartition(".")[2]), path)
            for path in (synced / part).glob(f"{name}.*")
            if not path.name.endswith(".part")
        ]
        return max(((n, path) for n, path in found if n <= cut), default=(0, None))[1]

    def rebuild(name: str, place: Path) -> None:
        listing = latest("folders", name)
        for line in listing.read_text().splitlines() if listing else ():
            kind, child, file = line.split(" ", 2)
            if kind == "d":
                (place / file).mkdir()
                rebuild(child, place / file)
            else:
                content = latest("files", child)
                (place / file).write_bytes(content.read_bytes() if content else b"")

    tops = {
        path.name.rpartition(".")[0] for path in (synced / "folders").glob(f"{identity(folder)}-*")
    }
    for name in tops:
        rebuild(name, target)
