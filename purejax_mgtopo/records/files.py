"""Writing files so that a kill at any instant leaves them whole, and telling clearly when they cannot be written."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from purejax_mgtopo.errors import RunError


def write_atomically(path: Path, content: bytes) -> None:
    """Replace `path` by `content` as a whole: after a crash it holds the old bytes or the new."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with open(partial, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # the rename itself: not every file system syncs folders
        descriptor = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


SOFTWARE = "purejax_mgtopo"
"""What pictures and pages say that made them."""
_SIGNS = (
    f"Software\0{SOFTWARE}".encode(),
    f'<meta name="generator" content="{SOFTWARE}">'.encode(),
    # Pages from before they named their maker.
    b'script-src \'unsafe-inline\'; img-src data:">\n<meta name="color-scheme" content="light dark">\n<link',
)


def is_foreign(path: Path) -> bool:
    """Whether something lies at `path` that is no picture or page of ours; only those may be replaced."""
    if not os.path.lexists(path):
        return False
    try:
        with open(path, "rb") as file:
            head = file.read(4096)
    except OSError:
        return True
    return not any(sign in head for sign in _SIGNS)


def spared(path: Path) -> Path:
    """`path`, or the first of ``name_2``, ``name_3``, ... where nothing foreign would be replaced."""
    names = (path.with_name(f"{path.stem}_{n}{path.suffix}") for n in itertools.count(2))
    return next(name for name in itertools.chain([path], names) if not is_foreign(name))


@contextlib.contextmanager
def lock(path: Path) -> Iterator[bool]:
    """Hold a lock file, which a kill frees; yields False when another process has it."""
    try:
        import fcntl
    except ImportError:  # not a Unix: go without
        yield True
        return
    try:
        file = open(path, "ab")  # noqa: SIM115 - closed below
    except OSError:
        yield True  # a read-only folder: nobody is writing into it
        return
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        except OSError:  # a file system without locks
            pass
        yield True


@contextlib.contextmanager
def clear_disk_errors(folder: Path) -> Iterator[None]:
    """Raise RunError, in one line, for what the disk refuses."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise RunError(f"cannot write to {error.filename or folder}: {reason}") from error


def strict_json(document: Any, indent: int | None = None) -> str:
    """NaN and infinities become null, NumPy scalars plain numbers."""

    def plain(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [plain(item) for item in value]
        if isinstance(value, np.generic):
            value = value.item()
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return json.dumps(plain(document), indent=indent, allow_nan=False)
