"""What happened in a run, or in a meta-training, line by line, and what follows from it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from purejax_mgtopo.machine.alive import identity
from purejax_mgtopo.records.files import strict_json, write_atomically
from purejax_mgtopo.records.glossary import META_LAST

EVENTS, CURVE = "events.jsonl", "curve.jsonl"
Line = Mapping[str, Any]
"""What a curve tells of one update and task: ``step``, ``task``, and measures, None where nothing is known."""


def read_events(folder: Path) -> Iterator[dict[str, Any]]:
    """The events of a run's folder, or of one such file; a line torn by a kill is left out."""
    path = folder / EVENTS if folder.is_dir() else folder
    with contextlib.suppress(FileNotFoundError):
        for line in path.read_text(encoding="utf-8-sig", errors="replace").splitlines():
            with contextlib.suppress(ValueError):
                event = json.loads(line)
                if isinstance(event, dict):
                    yield event


class NewLines:
    """The lines of a file that grows: each is given once, and one that is still being written waits."""

    def __init__(self, path: Path) -> None:
        self._path, self._offset = path, 0

    def take(self) -> Iterator[dict[str, Any]]:
        """Those that are new."""
        with open(self._path, "rb") as file:
            file.seek(self._offset)
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in whole.splitlines():
            with contextlib.suppress(ValueError):
                event = json.loads(line)
                if isinstance(event, dict):
                    yield event


def measures_a_task(line: Mapping[str, Any]) -> bool:
    """Whether a line tells which update and which task it is of, as each of a meta-training's curve does."""
    return type(line.get("step")) is int and isinstance(line.get("task"), str)


def read_curve(folder: Path) -> list[Line]:
    """The lines of the curve; one that a kill has cut is none, nor is one without its update and its task."""
    return [line for line in read_events(folder / CURVE) if measures_a_task(line)]


def figures_of(lines: Sequence[Line], count: int = META_LAST) -> dict[str, dict[str, float]]:
    """Means of each task's measures over the last `count` updates, of what is known of them."""
    last = max((line["step"] for line in lines), default=0) - count
    known: dict[str, dict[str, list[float]]] = {}
    for line in lines:
        if line["step"] > last:
            for name, value in line.items():
                if name not in ("step", "task") and value is not None:
                    known.setdefault(line["task"], {}).setdefault(name, []).append(value)
    return {
        task: {name: float(np.mean(values)) for name, values in own.items()}
        for task, own in known.items()
    }


def event_line(kind: str, seconds: float, /, **fields: Any) -> str:
    """One line for what has just happened; whoever begins, or goes on, says which process that is.

    Args:
        seconds: since training began, without interruptions.
    """
    who = {"process": identity()} if kind in ("start", "resumed") else {}
    when = {"time": time.time(), "seconds": round(seconds, 3)}
    return strict_json({"event": kind, **when, **who, **fields}) + "\n"


def seconds_told(path: Path) -> float:
    """How long training had gone on, without interruptions, at the latest event."""
    return max((event.get("seconds", 0.0) for event in read_events(path)), default=0.0)


def prefix_digest(path: Path, size: int | None = None) -> dict[str, Any]:
    """The SHA-256 of a file of events, or of its first `size` bytes, and how many these are."""
    content = b""
    with contextlib.suppress(FileNotFoundError):
        content = path.read_bytes()[:size]
    return {"events": hashlib.sha256(content).hexdigest(), "events_bytes": len(content)}


def end_with_a_line(path: Path) -> None:
    """Cut off a line that a kill has torn."""
    with contextlib.suppress(FileNotFoundError):
        content = path.read_bytes()
        if content and not content.endswith(b"\n"):
            write_atomically(path, content[: content.rfind(b"\n") + 1])


def all_lost(folder: Path) -> bool:
    """Whether a run was given up because no seed of it was finite any longer."""
    last: dict[str, Any] = {}
    for last in read_events(folder):  # noqa: B007 - the last of them
        pass
    return bool(last.get("all_lost"))


def saved_waves(events: Iterator[dict[str, Any]]) -> set[int]:
    """Waves with a checkpoint that had reached the disk: one is awaited before the next, and before a run ends."""
    begun: set[int] = set()
    saved: set[int] = set()
    for event in events:
        if event.get("event") == "checkpoint":
            wave = event.get("wave", 0)
            saved |= begun & {wave} | {other for other in begun if other < wave}
            begun.add(wave)
        elif event.get("event") == "unsaved":
            begun.discard(event.get("wave", 0))
        elif event.get("event") in ("interrupted", "end"):
            saved |= begun
    return saved


def ends_unsaved(folder: Path) -> bool:
    """Whether the last checkpoint of some wave could not be saved, as the run has said."""
    unsaved: set[int] = set()
    for event in read_events(folder):
        if event.get("event") == "unsaved":
            unsaved.add(event.get("wave", 0))
        elif event.get("event") == "checkpoint":
            unsaved.discard(event.get("wave", 0))
    return bool(unsaved)
