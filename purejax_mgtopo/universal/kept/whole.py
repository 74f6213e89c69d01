"""Whether all that a meta-training keeps is what was written, the one proved by the other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from purejax_mgtopo.algorithm.topology.edgewise.weights import read_rule
from purejax_mgtopo.checkpoints.stored import Finding
from purejax_mgtopo.errors import RunError
from purejax_mgtopo.records.events import EVENTS, read_events
from purejax_mgtopo.records.folders import CURVE, METRICS, RECIPE, RULE, read_recipe
from purejax_mgtopo.records.seal import broken
from purejax_mgtopo.universal.kept.record import STATE, Line, measures_of, proved, read_state


def verify_meta_training(folder: Path) -> Iterator[Finding]:
    """Description, events, curve, table, saved state and rule: each that is there, and each that is missing."""
    problems = {path.name: problem for path, problem in broken(folder)}
    tasks = _tasks(folder, problems)
    step = _of_state(folder, problems)
    lines = _of_curve(folder, tasks, step, problems)
    has_table = (folder / METRICS).exists()  # of the first save, from before its state
    if step or has_table:
        _of_table(folder, lines, len(tasks) * step, problems)
    if (step or has_table) and not (folder / EVENTS).exists():
        problems.setdefault(EVENTS, "it is missing")
    if (folder / RULE).exists():
        try:
            read_rule(folder / RULE)
        except ValueError as error:  # a ConfigError is one
            problems.setdefault(RULE, str(error))
    for name in (RECIPE, EVENTS, CURVE, METRICS, STATE, RULE):
        if (folder / name).exists() or name in problems:
            yield Finding(folder / name, problems.pop(name, None))
    yield from (Finding(folder / name, problem) for name, problem in problems.items())


def _tasks(folder: Path, problems: dict[str, str]) -> list[str]:
    try:
        return list(read_recipe(folder).tasks)
    except RunError as error:
        problems.setdefault(RECIPE, str(error).removeprefix(f"{folder / RECIPE} "))
        return []


def _of_state(folder: Path, problems: dict[str, str]) -> int:
    """The updates that are saved; 0 where none are, or nobody can tell."""
    if not (folder / STATE).exists():
        if (folder / RULE).exists() or any(
            e.get("event") == "checkpoint" for e in read_events(folder)
        ):
            problems.setdefault(STATE, "it is missing")
        return 0
    try:
        arrays, proof = read_state(folder)
        if not proved(folder, proof):
            problems.setdefault(CURVE, f"it is not what it was when {STATE} was saved")
        return int(arrays["step"])
    except Exception as error:  # the damage decides which
        problems.setdefault(STATE, f"it cannot be read: {' '.join(str(error).split())}")
        return 0


def _of_curve(folder: Path, tasks: list[str], step: int, problems: dict[str, str]) -> list[Line]:
    """The lines of the curve, of which only the last may be torn, and none may be missing."""
    lines: list[Line] = []
    try:
        *whole, torn = (folder / CURVE).read_text(encoding="utf-8-sig").split("\n")
        lines = [json.loads(line) for line in whole]
        expected = [(1 + i // len(tasks), tasks[i % len(tasks)]) for i in range(len(lines))]
        if [(line["step"], line["task"]) for line in lines] != expected or (
            len(lines) < step * len(tasks)
        ):
            problems.setdefault(CURVE, "it lacks updates")
    except FileNotFoundError:
        if step:
            problems.setdefault(CURVE, "it is missing")
    except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError) as error:
        problems.setdefault(CURVE, f"it cannot be read: {error}")
    return lines


def _of_table(folder: Path, lines: list[Line], rows: int, problems: dict[str, str]) -> None:
    """The table is the curve as far as the state has come, or one save further, or the whole of it."""
    import pyarrow.parquet as parquet

    try:
        with open(folder / METRICS, "rb") as file:
            table = parquet.read_table(file, page_checksum_verification=True).to_pydict()
        count = len(table["step"])
        own = lines[:count]
        same = rows <= count <= len(lines) and all(
            table[name] == [line[name] for line in own] for name in ("step", "task")
        )
        for name in measures_of(own):
            told = np.array([np.nan if x[name] is None else x[name] for x in own], np.float32)
            same = same and np.array_equal(np.array(table[name], np.float32), told, equal_nan=True)
        if not same:
            problems.setdefault(METRICS, "it differs from the curve")
    except FileNotFoundError:
        problems.setdefault(METRICS, "it is missing")
    except (OSError, ValueError, KeyError) as error:
        why = " ".join(str(error).split())
        problems.setdefault(METRICS, f"it cannot be read: {why}")
