"""Compiled programs on disk: JAX keeps no digest of them, warns of a damaged one for ever, and might run another."""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import json
import os
import warnings
from pathlib import Path
from typing import Any

DIGESTS = ".digests.json"
LIMIT = 2**29
"""Bytes that are looked at, at a start; what is beyond is left to JAX."""


def tend(folder: Path) -> None:
    """Remove entries that are not what they were, now and when JAX meets one; note what there is at the end."""
    if "://" in str(folder):
        return
    listed = _listed(folder)
    found = _digests(folder)
    for name in [name for name in found if listed.get(name, found[name]) != found[name]]:
        _remove(folder / name)
    doubtful = [folder / name for name in found if name not in listed]
    if folder not in _tended:  # once in a process
        _tended.add(folder)
        _on_damage(doubtful)
        atexit.register(note, folder)


_tended: set[Path] = set()


def note(folder: Path) -> None:
    """Write down what the entries are; one that was known before stays what it was."""
    known = _listed(folder)
    found = {name: known.get(name, digest) for name, digest in _digests(folder).items()}
    partial = folder / f"{DIGESTS}.{os.getpid()}.partial"
    with contextlib.suppress(OSError):
        if found and found != known:
            try:
                partial.write_text(json.dumps(found))
                os.replace(partial, folder / DIGESTS)
            finally:
                partial.unlink(missing_ok=True)


def _listed(folder: Path) -> dict[str, str]:
    try:
        found = json.loads((folder / DIGESTS).read_text())
        return {str(name): str(digest) for name, digest in found.items()}
    except (OSError, ValueError, AttributeError):
        return {}


def _digests(folder: Path) -> dict[str, str]:
    """SHA-256 of the entries by name."""
    found, size = {}, 0
    with contextlib.suppress(OSError):
        for path in sorted(folder.glob("*-cache")):
            with contextlib.suppress(OSError):
                size += path.stat().st_size
                if size > LIMIT:
                    break
                found[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()
    with contextlib.suppress(OSError):
        path.with_name(path.name.removesuffix("cache") + "atime").unlink()


def _on_damage(doubtful: list[Path]) -> None:
    """Remove what is doubtful, and say it in a line, where JAX warns of an entry that it cannot read."""
    show = warnings.showwarning

    def shown(message: Any, *rest: Any, **named: Any) -> None:
        if str(message).startswith("Error reading persistent compilation cache entry"):
            for path in doubtful:
                _remove(path)
            message = "a compiled program that was kept is damaged: it is compiled anew"
        show(message, *rest, **named)

    warnings.showwarning = shown
