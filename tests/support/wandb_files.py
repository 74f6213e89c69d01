"""Reads the file that W&B writes offline, without W&B's own reader: framed like LevelDB's log, records are protobuf."""

from __future__ import annotations

import contextlib
import json
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BLOCK, HEAD = 32 * 1024, 7


@dataclass(frozen=True)
class WrittenRun:
    """What one file tells of its W&B run."""

    id: str
    project: str
    name: str
    group: str
    job_type: str
    tags: tuple[str, ...]
    config: dict[str, Any]
    commit: str
    rows: tuple[dict[str, Any], ...]
    """History in the order written, with ``_step``; nested keys joined by dots."""
    axes: dict[str, str]
    """Metric, or glob, to the metric it is drawn against."""
    artifacts: dict[str, list[str]]
    """By type, the references they hold."""
    exit_code: int | None
    summary: frozenset[str] = frozenset()
    """Keys of the table of runs; nested ones joined by dots."""


def offline_runs(folder: Path, wait: float = 20.0) -> list[WrittenRun]:
    """All finished runs that `wandb sync` would find beneath a run's folder; another process may still be writing."""
    paths = sorted(folder.glob("wandb/offline-run-*/*.wandb"))
    until = time.monotonic() + wait
    while True:
        with contextlib.suppress(AttributeError):  # not even its description is there yet
            runs = [read_run(path) for path in paths]
            if all(run.exit_code is not None for run in runs):
                return runs
        assert time.monotonic() < until, f"W&B does not finish {paths}"
        time.sleep(0.05)


def values(row: dict[str, Any]) -> dict[str, Any]:
    """What we logged, without what W&B adds: times, and the random names of files it uploads."""
    return {
        key: value
        for key, value in row.items()
        if key not in ("_runtime", "_timestamp") and not key.endswith("artifact_path")
    }


def read_run(path: Path) -> WrittenRun:
    from wandb.proto.wandb_internal_pb2 import Record

    described: Any = None
    config: dict[str, Any] = {}
    rows, axes, artifacts, code = [], {}, {}, None
    summary: set[str] = set()
    for data in read_log(path):
        record = Record()
        record.ParseFromString(data)
        match record.WhichOneof("record_type"):
            case "run":
                described = record.run
                config |= {
                    item.key: json.loads(item.value_json) for item in record.run.config.update
                }
            case "history":
                rows.append(
                    {
                        item.key or ".".join(item.nested_key): json.loads(item.value_json)
                        for item in record.history.item
                    }
                )
            case "summary":
                update = record.summary.update
                summary |= {item.key or ".".join(item.nested_key) for item in update}
            case "metric":
                axes[record.metric.name or record.metric.glob_name] = record.metric.step_metric
            case "artifact":
                refs = [entry.ref for entry in record.artifact.manifest.contents]
                artifacts.setdefault(record.artifact.type, []).extend(refs)
            case "exit":
                code = record.exit.exit_code
    return WrittenRun(
        id=described.run_id,
        project=described.project,
        name=described.display_name,
        group=described.run_group,
        job_type=described.job_type,
        tags=tuple(described.tags),
        config=config,
        commit=described.git.commit,
        rows=tuple(rows),
        axes=axes,
        artifacts=artifacts,
        exit_code=code,
        summary=frozenset(key for key in summary if not key.startswith("_")),
    )


def read_log(path: Path) -> Iterator[bytes]:
    """The records' bytes. Raises AssertionError for a damaged one; a torn end is where a kill came."""
    data = path.read_bytes()
    assert data[:4] == b":W&B", data[:4]
    at, parts = HEAD, []
    while at + HEAD <= len(data):
        if BLOCK - at % BLOCK < HEAD:
            at += BLOCK - at % BLOCK
            continue
        checksum = int.from_bytes(data[at : at + 4], "little")
        size = int.from_bytes(data[at + 4 : at + 6], "little")
        kind = data[at + 6]
        body = data[at + HEAD : at + HEAD + size]
        if len(body) < size or kind == 0:
            return
        assert checksum == zlib.crc32(bytes([kind]) + body), f"damaged at {at}"
        parts.append(body)
        at += HEAD + size
        if kind in (1, 4):  # whole, or the last part
            yield b"".join(parts)
            parts = []
