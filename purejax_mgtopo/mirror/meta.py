"""The W&B mirror of a meta-training: each update's measures, task by task, against the number of updates.

Like a run's it is written from the records alone, its step is the number of updates, and it can be written anew.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from purejax_mgtopo.config import Means
from purejax_mgtopo.errors import RunError
from purejax_mgtopo.machine.paths import expanded
from purejax_mgtopo.mirror.access import MirrorMode, Say, import_wandb
from purejax_mgtopo.mirror.feed import LogEntry
from purejax_mgtopo.mirror.mirror import mode_for, mode_to_rebuild
from purejax_mgtopo.mirror.places import LABEL, cut, group_of, kind_and_tags, named_project, titled
from purejax_mgtopo.mirror.wandb_run import Mirror, log_entries
from purejax_mgtopo.records.events import (
    CURVE,
    EVENTS,
    NewLines,
    figures_of,
    measures_a_task,
    read_curve,
)
from purejax_mgtopo.records.folders import RECIPE, RULE, Status, read_recipe, status

STEP = "update"
"""What everything is drawn against: updates of the rule."""
WORD = "meta-train"
_GROUPS = {"return": "1_priced_return", "edge_rate": "2_edges_open", "correction": "3_size_of_f"}
_OTHERS, _PROGRESS, _FINAL = "4_learning", "5_progress", "6_final"
"""W&B lists charts by the alphabet, and the returns should be first."""


def open_meta_mirror(
    folder: Path, means: Means, tasks: Sequence[str], say: Say
) -> MetaMirror | None:
    """The mirror of a meta-training that is about to go on, or None where there is to be none."""
    if means.wandb == "off":  # nor is W&B imported
        return None
    mode = mode_for(means, named_project(folder, means), say)
    return None if mode is None else MetaMirror(folder, means, tasks, say, mode)


def rebuild_meta(folder: Path, say: Say) -> str:
    """Write the mirror anew from the records of a meta-training, as another W&B run; answers where it is.

    Raises RunError where that is impossible: it is under way or its description damaged, W&B is switched off or fails.
    """
    folder = expanded(folder)
    if status(folder) is Status.RUNNING:
        raise RunError(f"{folder} is in use by another mgtopo; rebuild when it has ended")
    if not (folder / CURVE).exists() or not (folder / EVENTS).exists():
        raise RunError(f"{folder} has no curve yet; there is nothing to mirror")
    asked = read_recipe(folder)
    mode = mode_to_rebuild(asked.means, say)
    mirror = MetaMirror(folder, asked.means, asked.tasks, say, mode, anew=True)
    mirror.close(finished=(folder / RULE).exists())
    return mirror.place


class MetaMirror(Mirror):
    """Follows a meta-training while it goes on, and can also write itself from records alone. Its methods never raise.

    Args:
        tasks: those that each update tells of, in order.
        anew: a W&B run of its own in place of the one that `folder` has; failing raises RunError.
    """

    def __init__(
        self,
        folder: Path,
        means: Means,
        tasks: Sequence[str],
        say: Say,
        mode: MirrorMode,
        anew: bool = False,
    ) -> None:
        self._tasks = tuple(tasks)
        self._curve, self._events = NewLines(folder / CURVE), NewLines(folder / EVENTS)
        self._rows: dict[int, dict[str, float]] = {}
        """What was measured in updates that are not logged yet."""
        self._step = 0
        super().__init__(folder, means, say, mode, anew)

    def _document(self) -> Mapping[str, Any]:
        document = json.loads((self._folder / RECIPE).read_text(encoding="utf-8-sig"))
        return document | (document.get("provenance") or {})

    def _labels(self, document: Mapping[str, Any], name: str, seed: int | None) -> dict[str, Any]:
        asked = ("meta_train", "teams", "versions", "device", "git", "started", "command")
        return kind_and_tags(WORD, [WORD, *self._tasks]) | {
            "group": group_of(self._folder) or None,
            "name": cut(titled(f"{WORD}/{self._folder.resolve().name}"), LABEL),
            "config": {key: document.get(key) for key in asked} | {"tasks": list(self._tasks)},
        }

    def _define(self, run: Any) -> None:
        run.define_metric(STEP, summary="last")
        run.define_metric("*", step_metric=STEP, step_sync=False, summary="none")
        keys = self._leading()
        keys += [f"{_PROGRESS}/updates_per_second", f"{_PROGRESS}/hours", *map(_final, keys)]
        for key in keys:  # by its whole name: of two patterns that match, W&B takes any
            run.define_metric(key, step_metric=STEP, step_sync=False, summary="last")

    def _leading(self) -> list[str]:
        """What stands in W&B's table of runs."""
        return [_key(measure, task) for measure in _GROUPS for task in self._tasks]

    def _opened(self, name: str) -> None:
        self._since = self._run.step - 1

    def _catch_up(self) -> None:
        log_entries(self._run, self._new())

    def _new(self) -> Iterator[LogEntry]:
        """Rows of the updates that are new in the records: an update's event is written after its lines."""
        for line in filter(measures_a_task, self._curve.take()):
            row = self._rows.setdefault(int(line["step"]), {})
            for measure, value in line.items():
                if measure not in ("step", "task") and value is not None:
                    row[_key(measure, line["task"])] = value
        for event in self._events.take():
            if event.get("event") == "update":
                step, speed = int(event["step"]), 1 / max(event["wall"], 1e-9)
                row = self._rows.setdefault(step, {})
                row[f"{_PROGRESS}/updates_per_second"] = speed
                row[f"{_PROGRESS}/hours"] = event["seconds"] / 3600
                # An older version has told of earlier ones in the curve alone.
                for known in sorted(known for known in self._rows if known <= step):
                    yield from self._taken(known)

    def _taken(self, step: int) -> Iterator[LogEntry]:
        row, self._step = self._rows.pop(step), step
        if step > self._since:
            yield LogEntry(step, {STEP: step, **row})

    def _log_results(self) -> None:
        """What there is at the end: means over the last updates, and where the rule is."""
        wandb = import_wandb()
        means = {
            _final(_key(measure, task)): own[measure]
            for task, own in figures_of(read_curve(self._folder)).items()
            for measure in _GROUPS
            if measure in own
        }
        self._run.log({STEP: self._step} | means, step=self._step + 1, commit=True)
        rule = (self._folder / RULE).resolve()
        if rule.exists():
            artifact = wandb.Artifact(f"rule-{self._run.id}", type="rule")
            artifact.add_reference(rule.as_uri(), checksum=False)  # it has a digest of its own
            self._run.log_artifact(artifact)


def _final(key: str) -> str:
    """Under which name W&B is told the mean of a measure over the last updates."""
    return f"{_FINAL}/{key[2:]}"


def _key(measure: str, task: str) -> str:
    """Under which name W&B is told a task's measure."""
    return f"{_GROUPS.get(measure, f'{_OTHERS}/{measure}')}/{task}"
