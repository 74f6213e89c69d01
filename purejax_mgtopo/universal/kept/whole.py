"""Whether all that a meta-training keeps is what was written, the one proved by the other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from purejax_mgtopo.algorithm.topology.edgewise.weights import read_rule
from purejax_mgtopo.checkpoints.stored import Finding
from purejax_mgtopo.errors import RunError
from purejax_mgtopo.records.events import CURVE, EVENTS, Line, read_events
from purejax_mgtopo.records.folders import METRICS, RECIPE, RULE, read_recipe
from purejax_mgtopo.records.seal import broken
from purejax_mgtopo.universal.kept.record import STATE, measures_of, proved, read_state

_ETA = "eta."
"""Begins the names of the rule's arrays in a saved state."""


def verify_meta_training(folder: Path) -> Iterator[Finding]:
    """Description, events, curve, table, saved state and rule: each that is there, and each that is missing."""
    problems = {path.name: problem for path, problem in broken(folder)}
    tasks = _tasks(folder, problems)
    step, eta = _of_state(folder, problems)
    lines = _of_curve(folder, tasks, step, problems)
    has_table = (folder / METRICS).exists()  # of the first save, from before its state
    if step or has_table:
        _of_table(folder, lines, step, problems)
    if (step or has_table) and not (folder / EVENTS).exists():
        problems.setdefault(EVENTS, "it is missing")
    if (folder / RULE).exists():
        _of_rule(folder, eta, problems)
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


def _of_state(folder: Path, problems: dict[str, str]) -> tuple[int, dict[str, NDArray] | None]:
    """The updates that are saved and the rule after them by its arrays' names; 0 and None where nobody can tell."""
    if not (folder / STATE).exists():
        if (folder / RULE).exists() or any(
            e.get("event") == "checkpoint" for e in read_events(folder)
        ):
            problems.setdefault(STATE, "it is missing")
        return 0, None
    try:
        arrays, proof = read_state(folder)
        if not proved(folder, proof):
            problems.setdefault(CURVE, f"it is not what it was when {STATE} was saved")
        rule = {name[len(_ETA) :]: x for name, x in arrays.items() if name.startswith(_ETA)}
        return int(arrays["step"]), rule
    except Exception as error:  # the damage decides which
        problems.setdefault(STATE, f"it cannot be read: {' '.join(str(error).split())}")
        return 0, None


def _of_curve(folder: Path, tasks: list[str], step: int, problems: dict[str, str]) -> list[Line]:
    """The lines of the curve, of which only the last may be torn, and none may be missing."""
    lines: list[Line] = []
    try:
        *whole, torn = (folder / CURVE).read_text(encoding="utf-8-sig").split("\n")
        lines = [json.loads(line) for line in whole]
        # Where nobody can say which tasks there are, the first update says it.
        tasks = tasks or [line["task"] for line in lines if line["step"] == lines[0]["step"]]
        expected = [(1 + i // len(tasks), tasks[i % len(tasks)]) for i in range(len(lines))]
        if [(line["step"], line["task"]) for line in lines] != expected or (
            len(lines) < step * max(1, len(tasks))
        ):
            problems.setdefault(CURVE, "it lacks updates")
    except FileNotFoundError:
        if step:
            problems.setdefault(CURVE, "it is missing")
    except (OSError, ValueError, KeyError, TypeError) as error:
        problems.setdefault(CURVE, f"it cannot be read: {error}")
    return lines


def _of_table(folder: Path, lines: list[Line], step: int, problems: dict[str, str]) -> None:
    """The table is the curve as far as the state has come, or one save further, or the whole of it.

    A curve that is damaged proves nothing against its table.
    """
    import pyarrow.parquet as parquet

    try:
        with open(folder / METRICS, "rb") as file:
            table = parquet.read_table(file, page_checksum_verification=True).to_pydict()
        if CURVE in problems:
            return
        rows, count = sum(line["step"] <= step for line in lines), len(table["step"])
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


def _of_rule(folder: Path, eta: dict[str, NDArray] | None, problems: dict[str, str]) -> None:
    """The rule is that of the last saved state, where that can be read."""
    try:
        read_rule(folder / RULE)
    except ValueError as error:  # a ConfigError is one
        problems.setdefault(RULE, str(error))
        return
    with np.load(folder / RULE, allow_pickle=False) as file:
        rule = {name: file[name] for name in file.files if name != "header"}
    if eta is not None and not (
        rule.keys() == eta.keys() and all(np.array_equal(rule[name], eta[name]) for name in eta)
    ):
        problems.setdefault(RULE, f"it is not the rule of {STATE}")
