"""When records reach the disk, and how much of a run that may take."""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as parquet
import pytest
from fake_population import small

from purejax_mgtopo.records import record
from purejax_mgtopo.records.metrics import LEADING, Evaluation
from purejax_mgtopo.records.record import RunRecord

SEEDS = np.arange(3, dtype=np.int32)


def evaluation(episode: int) -> Evaluation:
    columns = {name: np.float32(SEEDS + episode) for name in LEADING}
    return Evaluation(episode, 25 * episode, SEEDS, np.ones(3, bool), columns)


def test_the_table_is_written_seldom_where_that_is_dear(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock that moves while something is written, three seconds a table: at most one part in twenty."""
    clock = SimpleNamespace(now=1000.0, time=time.time)
    clock.monotonic = lambda: clock.now

    def write(path: Path, content: bytes) -> None:
        clock.now += 3.0
        path.write_bytes(content)

    def rows() -> int:
        return parquet.read_table(tmp_path / "metrics.parquet").num_rows

    with RunRecord(tmp_path, small(), None) as run:
        monkeypatch.setattr(record, "time", clock)
        monkeypatch.setattr(record, "write_atomically", write)
        run.flush()
        clock.now += 59.0
        run.evaluation(evaluation(20))
        assert rows() == 0
        clock.now += 2.0
        run.evaluation(evaluation(40))
        assert rows() == 6
        run.evaluation(evaluation(60))
        assert rows() == 6
        run.flush()
        assert rows() == 9


def test_a_flush_outlasts_a_power_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events are handed to the disk itself as they stand; once they are closed, there is no more to say."""
    synced: list[tuple[int, int]] = []

    def fsync(descriptor: int) -> None:
        found = os.fstat(descriptor)
        synced.append((found.st_ino, found.st_size))

    with RunRecord(tmp_path, small(), None) as run:
        monkeypatch.setattr(os, "fsync", fsync)
        run.event("chunk", episode=20)
        run.flush()
        found = (tmp_path / "events.jsonl").stat()
        assert (found.st_ino, found.st_size) in synced
    synced.clear()
    run.flush()
    assert synced and found.st_ino not in [inode for inode, _ in synced]
