"""What `mgtopo meta-train` leaves on disk: written by the means of a run's records, and read by the same commands.

    recipe.json      what was asked, and what results depend on besides: versions, commit, devices; written once
    policies/        the runs that made frozen teams, as a sweep leaves them
    events.jsonl     one line for the start, every update, every saved state, and the end, each with its time
    curve.jsonl      one line per update and task: what was measured, the same bits whenever it is done again
    metrics.parquet  the curve as a table, as far as the state has come; `glossary` says what the columns mean
    state.npz        the whole state of meta-training, whence it goes on, and the proof of the curve from before it
    universal.npz    in the end the rule

Files are replaced as a whole or appended to by whole lines, so that a kill at any time leaves them readable. Whoever
writes holds the folder's lock. Starts no JAX.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from purejax_mgtopo.config import flatten
from purejax_mgtopo.errors import RunError
from purejax_mgtopo.records.events import (
    CURVE,
    EVENTS,
    Line,
    end_with_a_line,
    event_line,
    figures_of,
    prefix_digest,
    read_curve,
    read_events,
    seconds_told,
)
from purejax_mgtopo.records.files import (
    clear_disk_errors,
    make_folder,
    remove_leftovers,
    strict_json,
    sync,
    write_atomically,
)
from purejax_mgtopo.records.fingerprint import changed, recorded, unfit
from purejax_mgtopo.records.folders import LOCK, METRICS, RECIPE, RULE, holds_something
from purejax_mgtopo.records.glossary import META_TABLE, UNKNOWN
from purejax_mgtopo.records.locks import lock
from purejax_mgtopo.records.metrics import parquet_bytes
from purejax_mgtopo.records.provenance import provenance
from purejax_mgtopo.records.seal import break_seal, seal
from purejax_mgtopo.universal.recipe import MetaRecipe, with_defaults

POLICIES, STATE = "policies", "state.npz"
SEALED = (RECIPE, EVENTS, CURVE, METRICS, STATE, RULE)
"""All that is left; the last two have digests of their own, but of their arrays alone."""
_PROOF = "records"
"""The array of a saved state that proves the curve, JSON as text; in those of older versions there is none."""


class MetaRecord:
    """The files of one meta-training while it is made: a context manager, holding its lock.

    Raises RunError for a folder that is in use, or in which something else was begun.
    """

    def __init__(self, folder: Path, recipe: MetaRecipe) -> None:
        self.folder, self._recipe = folder, recipe
        self._open = contextlib.ExitStack()
        self._lines: list[Line] = []
        self.changes: list[str] = []
        """What results depend on and is not as it was when this was begun."""
        self.begun: Mapping[str, Any] = {}
        """By which versions, commit and command it was begun, and when."""
        self.resumed = False
        """Whether it was begun before."""
        self._proof: Mapping[str, Any] = {}

    def __enter__(self) -> MetaRecord:
        with self._open as stack, clear_disk_errors(self.folder):
            if holds_something(self.folder) and not (self.folder / RECIPE).exists():
                raise RunError(f"{self.folder} holds a run; choose another folder")
            make_folder(self.folder)
            if not stack.enter_context(lock(self.folder / LOCK)):
                raise RunError(f"{self.folder} is in use by another mgtopo; wait for it")
            if (self.folder / RECIPE).exists():
                self._refuse_another()
            self._open = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # The first error is the one to hear of.
        with contextlib.suppress(OSError) if kind else clear_disk_errors(self.folder):
            self._open.close()

    @property
    def finished(self) -> bool:
        """Whether the rule is there."""
        return (self.folder / RULE).exists()

    def begin(self, depends: Mapping[str, Any]) -> None:
        """Note what was asked, where that is new, and open the files.

        Args:
            depends: what results depend on besides the recipe, as a run's fingerprint.

        Raises RunError where a state that was saved under other circumstances cannot go on under these.
        """
        path = self.folder / RECIPE
        self.resumed = path.exists()
        with clear_disk_errors(self.folder):
            if not self.resumed:
                self.begun = provenance()
                means = flatten(self._recipe.configs[0].means)
                document = self._recipe.told() | {"means": means, "provenance": self.begun}
                content = strict_json(document | {"fingerprint": depends}, indent=1)
                write_atomically(path, content.encode())
            then = recorded(path)
            if problem := unfit(then, depends):
                raise RunError(f"{self.folder} cannot be gone on with: {problem}")
            self.changes = changed(then, depends)
            remove_leftovers(self.folder, "*")
            break_seal(self.folder)
            self._open.callback(self._seal)
            end_with_a_line(self.folder / EVENTS)
            self._started = time.monotonic() - seconds_told(self.folder / EVENTS)
            self._events, self._curve = self._appending(EVENTS), self._appending(CURVE)
            sync(self.folder)  # it lists them from now on
        if not self.resumed:
            self.event("start", steps=self._recipe.settings.steps)

    def event(self, kind: str, **fields: Any) -> None:
        """Append one line to the events."""
        line = event_line(kind, time.monotonic() - self._started, **fields)
        with clear_disk_errors(self.folder):
            self._events.write(line)
            self._events.flush()

    def update(self, step: int, told: Mapping[str, Mapping[str, float]], wall: float) -> None:
        """An update is done, after `wall` seconds: what each task measured, by the tasks' names."""
        lines = [strict_json({"step": step, "task": task, **each}) for task, each in told.items()]
        with clear_disk_errors(self.folder):
            self._curve.write("".join(f"{line}\n" for line in lines))
            self._curve.flush()
        self._lines += map(json.loads, lines)  # as they will be read back: null for NaN
        self.event("update", step=step, wall=round(wall, 4))

    def save(self, step: int, arrays: Mapping[str, NDArray]) -> None:
        """Make all durable: the curve first, then its table, and then the state, which knows of no more than they."""
        began = time.monotonic()
        with clear_disk_errors(self.folder):
            os.fsync(self._curve.fileno())
            write_atomically(self.folder / METRICS, self._table())
            proof = strict_json(prefix_digest(self.folder / CURVE))
            content = io.BytesIO()
            kept: dict[str, Any] = {**arrays, _PROOF: np.array(proof)}
            np.savez(content, **kept)
            write_atomically(self.folder / STATE, content.getvalue())
            self.event("checkpoint", step=step, wall=round(time.monotonic() - began, 3))
            os.fsync(self._events.fileno())

    def saved(self) -> dict[str, NDArray] | None:
        """The arrays of the saved state; None where none is saved. Raises RunError for a damaged one."""
        if not (self.folder / STATE).exists():
            return None
        try:
            arrays, self._proof = read_state(self.folder)
            return arrays
        except Exception as error:  # the damage decides which
            raise self.damaged(error) from None

    def damaged(self, error: Exception) -> RunError:
        """What to say of a state that cannot be gone on with."""
        why = " ".join(str(error).split())
        return RunError(
            f"{self.folder / STATE} is damaged ({why}); remove it to begin anew, with the same teams"
        )

    def rewind(self, step: int) -> None:
        """Go back to where the saved state stands, after `step` updates; what came after it will come again.

        Raises RunError when the curve from before is not what the state proves.
        """
        if step and not proved(self.folder, self._proof):
            raise RunError(
                f"{self.folder / CURVE} is not what it was when the state of update {step:,} was saved: put the "
                f"original back, or remove {self.folder / STATE} to begin anew, with the same teams"
            )
        self._lines = [line for line in read_curve(self.folder) if line["step"] <= step]
        events = [
            event
            for event in read_events(self.folder / EVENTS)
            if event.get("event") not in ("update", "checkpoint") or event["step"] <= step
        ]
        with clear_disk_errors(self.folder):
            # First the table, which may be behind the curve and never ahead of it.
            if step:
                write_atomically(self.folder / METRICS, self._table())
            else:
                (self.folder / METRICS).unlink(missing_ok=True)
            for name, kept in ((CURVE, self._lines), (EVENTS, events)):
                text = "".join(strict_json(line) + "\n" for line in kept)
                write_atomically(self.folder / name, text.encode())
            for file in (self._events, self._curve):
                file.close()
            self._events, self._curve = self._appending(EVENTS), self._appending(CURVE)

    def finish(self, rule: bytes, step: int) -> None:
        """The rule is learned."""
        with clear_disk_errors(self.folder):
            write_atomically(self.folder / RULE, rule)
            self.event("end", step=step)
            os.fsync(self._events.fileno())

    def figures(self) -> dict[str, dict[str, float]]:
        """Means of each task's measures over the last updates."""
        return figures_of(self._lines)

    def _refuse_another(self) -> None:
        """Raise RunError where another recipe was begun here."""
        path, asked = self.folder / RECIPE, json.loads(strict_json(self._recipe.told()))
        try:
            before = json.loads(path.read_text(encoding="utf-8-sig"))
            self.begun = before.get("provenance") or {}
            told = with_defaults(before)
        except (ValueError, AttributeError, KeyError, TypeError):
            raise RunError(f"{path} is damaged; choose another folder") from None
        if told != asked:
            raise RunError(f"{self.folder} was begun with another recipe; choose another folder")

    def _table(self) -> bytes:
        return as_table(self._lines, self._recipe.told())

    def _appending(self, name: str) -> IO[str]:
        file = open(self.folder / name, "a", encoding="utf-8")
        return self._open.enter_context(file)

    def _seal(self) -> None:
        seal(self.folder, [name for name in SEALED if (self.folder / name).exists()])


def read_state(folder: Path) -> tuple[dict[str, NDArray], dict[str, Any]]:
    """The arrays of a saved state, and its proof of the curve, empty where it has none.

    Raises OSError, ValueError and what NumPy does for a damaged one.
    """
    with np.load(folder / STATE, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    proof = arrays.pop(_PROOF, None)
    return arrays, {} if proof is None else json.loads(str(proof))


def proved(folder: Path, proof: Mapping[str, Any]) -> bool:
    """Whether the curve begins as it did when a state with this proof was saved."""
    return not proof or prefix_digest(folder / CURVE, proof["events_bytes"]) == proof


def measures_of(lines: Sequence[Line]) -> list[str]:
    """The names of what a curve tells of each update and task."""
    return [name for name in lines[0] if name not in ("step", "task")] if lines else []


def as_table(lines: Sequence[Line], told: Mapping[str, Any]) -> bytes:
    """A curve as Parquet: ``step`` and ``task``, then a column of float32 for each measure; null becomes NaN."""
    import pyarrow as pa

    columns: list[tuple[str, Any, Any]] = [
        ("step", pa.int64(), [line["step"] for line in lines]),
        ("task", pa.string(), [line["task"] for line in lines]),
    ]
    for name in measures_of(lines):
        values = [np.nan if line[name] is None else line[name] for line in lines]
        columns.append((name, pa.float32(), np.array(values, np.float32)))
    glossary = {name: META_TABLE.get(name, UNKNOWN) for name, _, _ in columns}
    metadata = {"recipe": strict_json(told), "glossary": json.dumps(glossary)}
    return parquet_bytes(columns, metadata)
