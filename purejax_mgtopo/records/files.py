"""Writing files so that a kill at any instant leaves them whole, and telling clearly when they cannot be written."""

from __future__ import annotations

import contextlib
import errno
import glob
import itertools
import json
import math
import os
import re
import secrets
import tempfile
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
        with contextlib.suppress(OSError):  # the first error is the one to hear of
            partial.unlink(missing_ok=True)
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.partial"):
        _remove_if_left(left)
    sync(path.parent)


def _remove_if_left(partial: Path) -> None:
    """Remove what a process that is gone has left half written."""
    number = partial.name.split(".")[-2]
    with contextlib.suppress(OSError):
        try:
            os.kill(int(number), 0)
        except (ProcessLookupError, OverflowError):
            partial.unlink()
        except ValueError:  # none of ours
            return


def make_anew(path: Path, content: bytes) -> bool:
    """Make a file, whole from the first instant; False where there is one already. Raises OSError."""
    # Whoever comes at the same time, a thread or another machine's process of this number, must not write into ours.
    partial = path.with_name(f".{path.name}.{os.getpid()}{secrets.randbelow(10**9):09d}.partial")
    try:
        partial.write_bytes(content)
        try:
            os.link(partial, path)
        except FileExistsError:
            return False
        except OSError:  # a file system without links
            try:
                with open(path, "xb") as file:
                    file.write(content)
            except FileExistsError:
                return False
    finally:
        partial.unlink(missing_ok=True)
    return True


def remove_leftovers(folder: Path, *patterns: str) -> None:
    """Remove what kills have left half written; nobody may be writing these files now."""
    for pattern in patterns:
        for path in folder.glob(f"{pattern}.partial"):
            if re.fullmatch(r"\..+\.\d+\.partial", path.name):
                with contextlib.suppress(OSError):
                    path.unlink()


def sync(path: Path) -> None:
    """Make a file's content, or a folder's list of names, survive a loss of power. Raises OSError."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise


_CANNOT_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES, errno.EPERM)
"""What file systems answer that do not sync such a thing by itself, and folders that may not be read."""


def sync_tree(folder: Path) -> None:
    """Make all beneath `folder`, and it itself, survive a loss of power. Raises OSError."""
    for place, _, files in os.walk(folder, topdown=False, onerror=_raise):
        for name in files:
            sync(Path(place, name))
        sync(Path(place))


def make_folder(path: Path) -> None:
    """Make a folder, and those above it, so that they survive a loss of power. Raises OSError."""
    new = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in new:
        sync(folder.parent)


def _raise(error: OSError) -> None:
    raise error


SOFTWARE = "purejax_mgtopo"
"""What pictures, pages and the numbers behind them say that made them."""
_SIGNS = (
    f"Software\0{SOFTWARE}".encode(),
    f"/Creator ({SOFTWARE})".encode(),
    f'{{"made by": "{SOFTWARE}"'.encode(),
    f"<dc:title>{SOFTWARE}</dc:title>".encode(),
    f'<meta name="generator" content="{SOFTWARE}">'.encode(),
    # Pages from before they named their maker.
    b'script-src \'unsafe-inline\'; img-src data:">\n<meta name="color-scheme" content="light dark">\n<link',
)


def is_foreign(path: Path) -> bool:
    """Whether something lies at `path` that we did not draw or write as a page; only what we did may be replaced."""
    if not os.path.lexists(path):
        return False
    try:
        with open(path, "rb") as file:
            head = file.read(4096)
            file.seek(max(0, os.path.getsize(path) - 65536))
            ends = (
                head + file.read()
            )  # a PDF names its maker at its end, before the table of its objects
    except OSError:
        return True
    return not any(sign in ends for sign in _SIGNS)


def spared(path: Path) -> Path:
    """`path`, or the first of ``name_2``, ``name_3``, ... where nothing foreign would be replaced."""
    names = (path.with_name(f"{path.stem}_{n}{path.suffix}") for n in itertools.count(2))
    return next(name for name in itertools.chain([path], names) if not is_foreign(name))


_REFUSALS = ("ENOSPC", "EDQUOT", "EROFS", "EIO", "EACCES", "EMFILE", "ENFILE", "ESTALE", "EPERM")


def disk_says(error: BaseException) -> str | None:
    """The system's own words for what a disk refused, however deep a library has buried them; None for other errors."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    known = (os.strerror(getattr(errno, name)) for name in _REFUSALS if hasattr(errno, name))
    # The longest: "Too many open files in system" holds the words for too many of this process.
    return max((words for words in known if words in str(error)), key=len, default=None)


@contextlib.contextmanager
def clear_disk_errors(folder: Path) -> Iterator[None]:
    """Raise RunError, in one line, for what the disk refuses."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise RunError(f"cannot write to {error.filename or folder}: {reason}") from error


def make_ready_for(path: Path) -> None:
    """Make the folder of a file that will be written, before what goes into it is computed. Raises RunError where it
    cannot be."""
    if path.is_dir():
        raise RunError(f"{path} is a folder; say a file")
    with clear_disk_errors(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path.parent).close()


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
