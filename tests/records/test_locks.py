"""One writer at a time, on file systems with locks and without; who looks is never in a writer's way."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_population import FakePopulation, FakeStore, Notes, small
from stand_ins import train

from purejax_mgtopo.errors import RunError
from purejax_mgtopo.records import locks
from purejax_mgtopo.records.files import write_atomically
from purejax_mgtopo.records.folders import LOCK, Status, status
from purejax_mgtopo.records.record import RunRecord


@pytest.fixture(params=[None, errno.ENOTSUP, errno.ENOLCK, errno.ENOSYS, errno.EINVAL])
def disk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int | None:
    """What the file system answers to a lock; None where it has them."""
    if request.param is not None:

        def refuse(*_: object) -> None:
            raise OSError(request.param, os.strerror(request.param))

        monkeypatch.setattr(fcntl, "flock", refuse)
    return request.param


def test_a_second_writer_is_refused(disk: int | None, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with RunRecord(run, small(), None):
        assert status(run) is Status.RUNNING
        with pytest.raises(RunError, match="in use by another mgtopo"):
            RunRecord(run, small(), None, resume=True).__enter__()
        assert status(run) is Status.RUNNING
    assert status(run) is Status.UNFINISHED
    with RunRecord(run, small(), None, resume=True):
        assert status(run) is Status.RUNNING
    assert sorted(path.name for path in run.glob(f"{LOCK}*")) == [LOCK]


def test_the_owner_that_is_gone_is_succeeded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process's number may be given again: its beginning tells."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOTSUP, "")

    monkeypatch.setattr(fcntl, "flock", refuse)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    host = json.loads(json.dumps({"host": os.uname().nodename}))
    elsewhere = {"host": "another", "pid": os.getpid(), "started": locks._started(os.getpid())}
    for owner, free, age in (
        (host | {"pid": gone.pid, "started": "1"}, True, 0.0),
        (host | {"pid": os.getpid(), "started": "1"}, True, 0.0),
        (host | {"pid": os.getpid(), "started": locks._started(os.getpid())}, False, 0.0),
        (elsewhere, False, 0.0),
        (elsewhere, True, 2 * locks.STALE),
    ):
        path = tmp_path / ".lock.owner"
        path.write_text(json.dumps(owner))
        os.utime(path, (time.time() - age,) * 2)
        assert locks.in_use(tmp_path / ".lock") is not free
        with locks.lock(tmp_path / ".lock") as found:
            assert found is free, owner
        path.unlink(missing_ok=True)


def test_of_many_that_come_at_once_one_writes(disk: int | None, tmp_path: Path) -> None:
    entered, over, count = [], threading.Event(), 8
    ready = threading.Barrier(count, timeout=20)

    def come() -> None:
        ready.wait()
        with locks.lock(tmp_path / ".lock") as free:
            entered.append(free)
            over.wait(30)

    threads = [threading.Thread(target=come, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    end = time.monotonic() + 30
    while len(entered) < count and time.monotonic() < end:
        time.sleep(0.01)
    over.set()
    for thread in threads:
        thread.join(10)
    assert sorted(entered) == [False] * (count - 1) + [True]


def test_looking_takes_no_exclusive_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, kinds, real = tmp_path / "run", [], fcntl.flock
    train(small(), run, reporter=Notes(), population=FakePopulation, store=FakeStore({}))
    (run / "events.jsonl").write_text("")

    def note(file: object, kind: int) -> None:
        kinds.append(kind)
        real(file, kind)  # type: ignore[arg-type]

    monkeypatch.setattr(fcntl, "flock", note)
    assert status(run) is Status.UNFINISHED
    assert kinds == [fcntl.LOCK_SH | fcntl.LOCK_NB]


def test_many_who_look_see_the_same_and_keep_nobody_out(tmp_path: Path) -> None:
    run, over = tmp_path / "run", threading.Event()
    with RunRecord(run, small(), None):
        pass
    seen: set[Status] = set()

    def look() -> None:
        while not over.is_set():
            seen.add(status(run))

    lookers = [threading.Thread(target=look, daemon=True) for _ in range(4)]
    for looker in lookers:
        looker.start()
    time.sleep(0.5)
    assert seen == {Status.UNFINISHED}
    for _ in range(5):
        with RunRecord(run, small(), None, resume=True):
            pass
    over.set()
    for looker in lookers:
        looker.join(10)


def test_a_lock_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "run" / LOCK).mkdir(parents=True)
    with pytest.raises(RunError, match="cannot write to .*: Is a directory"):
        RunRecord(tmp_path / "run", small(), None).__enter__()


def kill_while_writing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a kill leaves it: whole and not yet in its place."""
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", lambda *_: None)
        patch.setattr(Path, "unlink", lambda *_, **__: None)
        patch.setattr(os, "getpid", lambda: 4_000_000)
        write_atomically(path, b"x")


def test_what_a_kill_left_half_written_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    with RunRecord(run, small(), None):
        pass
    (run / "figures").mkdir()
    (run / "checkpoints" / "wave_0").mkdir(parents=True)
    names = ["metrics.parquet", "events.jsonl", "figures/curves.png"]
    for name in [*names, "checkpoints/wave_0/8.files.json"]:
        kill_while_writing(run / name, monkeypatch)
    mine = run / "notes.partial"
    mine.write_text("somebody's own")
    assert len(list(run.rglob("*.partial"))) == 5
    with RunRecord(run, small(), None, resume=True):
        assert list(run.rglob("*.partial")) == [mine]


@pytest.mark.parametrize("act", [lambda path: path.write_bytes(b"y")])
def test_a_table_of_a_sweep_or_report_too(
    act: Callable[[Path], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever writes a file anew removes what was left of it, unless that may still be being written."""
    target = tmp_path / "report.html"
    kill_while_writing(target, monkeypatch)
    living = tmp_path / f".report.html.{os.getppid()}.partial"
    act(living)
    other = tmp_path / ".another.html.4000000.partial"
    act(other)
    write_atomically(target, b"page")
    assert sorted(tmp_path.iterdir()) == sorted([target, living, other])
