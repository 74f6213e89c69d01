"""Whether all that a run keeps is what was written: its records, its checkpoints, and the one by the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from purejax_mgtopo.checkpoints.stored import (
    BadCheckpoint,
    Finding,
    latest_steps,
    read_meta,
    verify,
    wave_folders,
    wave_number,
)
from purejax_mgtopo.population.waves import Wave
from purejax_mgtopo.records.events import EVENTS, prefix_digest, read_events, saved_waves
from purejax_mgtopo.records.metrics import Metrics
from purejax_mgtopo.records.record import CHECKPOINTS, METRICS, read_config, tables
from purejax_mgtopo.records.seal import broken


def verify_run(folder: Path) -> Iterator[Finding]:
    """Every table, the events, and every checkpoint; and each that is missing. Raises RunError for what is no run."""
    config = read_config(folder)
    problems = {path: problem for path, problem in broken(folder)}
    metrics = Metrics(config)
    try:
        metrics.joined(tables(folder))
    except FileNotFoundError:
        problems[folder / METRICS] = "it is missing"
    except (OSError, ValueError, KeyError) as error:
        problems[folder / METRICS] = f"it cannot be read: {' '.join(str(error).split())}"
    if not (folder / EVENTS).exists():
        problems[folder / EVENTS] = "it is missing"
    for wave in wave_folders(folder / CHECKPOINTS):
        for path in latest_steps(wave):
            for name, problem in _judged_by(path, folder, metrics):
                problems.setdefault(folder / name, problem)
    for name in (METRICS, EVENTS):
        yield Finding(folder / name, problems.pop(folder / name, None))
    yield from (Finding(path, problem) for path, problem in problems.items())
    kept = {wave_number(wave) for wave in wave_folders(folder / CHECKPOINTS) if latest_steps(wave)}
    for index in sorted(saved_waves(read_events(folder)) - kept):
        yield Finding(folder / CHECKPOINTS / f"wave_{index}", "all of its checkpoints are missing")
    yield from verify(folder / CHECKPOINTS)


def _judged_by(checkpoint: Path, folder: Path, metrics: Metrics) -> Iterator[tuple[str, str]]:
    """Records that are not those from before a checkpoint, as that tells."""
    try:
        meta = read_meta(checkpoint)
    except BadCheckpoint:
        return
    proof: Mapping[str, Any] = meta.get("records") or {}
    before = f"it is not what it was when {checkpoint.parent.name}/{checkpoint.name} was saved"
    if "events" in proof:
        found = prefix_digest(folder / EVENTS, proof["events_bytes"])
        if found["events"] != proof["events"]:
            yield EVENTS, before
    if "rows" in proof:
        part = metrics.until(Wave(**meta["wave"]), meta["episode"])
        if part.digest(final=False) != proof["rows"]:
            yield METRICS, before
