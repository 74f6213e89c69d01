"""Locks on a run's folder, which a kill frees, on file systems with locks and without."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from purejax_mgtopo.records.files import make_anew

TRIES, PAUSE = 20, 0.05
"""Whoever only looks holds a shared lock for an instant: a writer asks again."""
BEAT, STALE = 10.0, 60.0
"""Without locks a writer shows in so many seconds that it lives, and is given up after so many without."""
_READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)


@contextlib.contextmanager
def lock(path: Path) -> Iterator[bool]:
    """Hold a lock file, which a kill frees; yields False when another process has it. Raises OSError."""
    try:
        file = open(path, "ab")  # noqa: SIM115 - closed below
    except OSError as error:
        if error.errno not in _READ_ONLY:
            raise
        yield True  # nobody is writing into such a folder
        return
    with file:
        for _ in range(TRIES):
            locked = _flock(file, exclusive=True)
            if locked is not False:
                break
            time.sleep(PAUSE)
        if locked is not None:
            yield locked
            return
        with _owned(_owner_of(path)) as free:
            yield free


def in_use(path: Path) -> bool:
    """Whether another process holds that lock file; takes nothing that would keep one from it."""
    try:
        with open(path, "rb") as file:
            locked = _flock(file, exclusive=False)
    except OSError:
        locked = True
    if locked is False:
        return True
    return _lives(_owner_of(path))


def _flock(file: Any, exclusive: bool) -> bool | None:
    """Whether the lock was free; None where the system, or the file system, has none."""
    try:
        import fcntl
    except ImportError:  # not a Unix
        return None
    kind = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        return None
    return True


def _owner_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.owner")


@contextlib.contextmanager
def _owned(path: Path) -> Iterator[bool]:
    """Hold a file that says who owns it, where the file system has no locks."""
    own = {"host": socket.gethostname(), "pid": os.getpid(), "started": _started(os.getpid())}
    content = json.dumps(own | {"sign": secrets.token_hex(8)}).encode()
    for _ in range(2):
        if make_anew(path, content):
            break
        if _lives(path):
            yield False
            return
        with contextlib.suppress(FileNotFoundError):  # left by a kill
            path.replace(path.with_name(f"{path.name}.{secrets.token_hex(4)}"))
    time.sleep(PAUSE)  # of two that took it from a dead one, the later has it
    if _read(path) != content:
        yield False
        return
    over = threading.Event()

    def beat() -> None:
        while not over.wait(BEAT):
            with contextlib.suppress(OSError):
                os.utime(path)

    threading.Thread(target=beat, daemon=True).start()
    try:
        yield True
    finally:
        over.set()
        if _read(path) == content:
            with contextlib.suppress(OSError):
                path.unlink()
        for left in path.parent.glob(f"{path.name}.*"):
            with contextlib.suppress(OSError):
                left.unlink()


def _lives(path: Path) -> bool:
    """Whether the owner that a file names is at work: here by its process, elsewhere by its last sign of life."""
    try:
        owner = json.loads(_read(path) or b"{}")
        here = owner["host"] == socket.gethostname()
        if here:
            return _started(int(owner["pid"])) == owner["started"] is not None
        age = time.time() - path.stat().st_mtime
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return age < STALE


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _started(pid: int) -> str | None:
    """When a process of this machine began, which tells it from others of its number; None if it is gone."""
    with contextlib.suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    try:
        os.kill(pid, 0)
    except PermissionError:
        pass
    except (OSError, OverflowError):
        return None
    return "?"
