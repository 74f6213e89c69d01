"""A bit of every byte that a run keeps is flipped, and `verify` names each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from resume_cases import Notes, tiny
from stand_ins import train

from purejax_mgtopo.checkpoints.stored import BadCheckpoint, check_files, latest_steps
from purejax_mgtopo.checkpoints.whole import verify_run
from purejax_mgtopo.errors import RunError
from purejax_mgtopo.records.record import CHECKPOINTS
from purejax_mgtopo.records.seal import broken

DRAWN = "figures"
"""What can be drawn again, and is no record."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with one checkpoint."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    train(tiny("none", seeds=1, **{"checkpoint.keep": 1}), folder, reporter=Notes())
    return folder


def kept(run: Path) -> list[Path]:
    """Every file with something in it."""
    files = [path for path in sorted(run.rglob("*")) if path.is_file() and path.stat().st_size]
    return [path for path in files if path.relative_to(run).parts[0] != DRAWN]


@contextmanager
def flipped(path: Path, position: int) -> Iterator[None]:
    """A bit is another while it is open."""
    with open(path, "r+b", buffering=0) as file:
        file.seek(position)
        (byte,) = file.read(1)
        for value in (byte ^ 1 << position % 8, byte):
            file.seek(position)
            file.write(bytes([value]))
            if value != byte:
                yield


def named(run: Path) -> bool:
    """Whether `verify` finds anything."""
    try:
        return bool([finding for finding in verify_run(run) if finding.problem])
    except RunError as error:
        assert "\n" not in str(error)
        return True


def noticed(run: Path, path: Path) -> bool:
    """Whether the first of `verify`'s looks at such a file finds it out, or else all of them."""
    if path.is_relative_to(run / CHECKPOINTS):
        try:
            for step in latest_steps(run / CHECKPOINTS / "wave_0"):
                check_files(step)
        except BadCheckpoint:
            return True
    elif any(broken(run)):
        return True
    return named(run)


def test_one_flipped_byte_of_each_file_is_named(run: Path) -> None:
    assert not named(run)
    files = kept(run)
    names = {path.relative_to(run).as_posix() for path in files}
    assert {"config.json", "events.jsonl", "metrics.parquet"} < names and len(names) > 15
    for path in files:
        with flipped(path, path.stat().st_size // 2):
            assert named(run), path
    assert not named(run)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_every_flipped_byte_of_every_file_is_noticed(run: Path) -> None:
    silent, tried = [], 0
    for path in kept(run):
        for position in range(path.stat().st_size):
            tried += 1
            with flipped(path, position):
                if not noticed(run, path):
                    silent.append((path.relative_to(run).as_posix(), position))
    print(f"{tried} bytes of {len(kept(run))} files flipped, {len(silent)} silent: {silent[:20]}")
    assert not silent
