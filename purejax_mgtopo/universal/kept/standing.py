"""How far a meta-training is, from its records alone. Starts no JAX."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from purejax_mgtopo.records.events import figures_of, read_curve, read_events
from purejax_mgtopo.records.folders import RULE, read_recipe

RECENT = 20
"""Updates whose means are told."""


@dataclass(frozen=True)
class MetaStanding:
    """A meta-training's records, in numbers; what they do not say yet is missing."""

    folder: Path
    finished: bool
    """The rule is there."""
    tasks: tuple[str, ...]
    step: int
    """Updates of the rule that are done, saved or not."""
    steps: int
    saved: int | None
    """Updates at the last saved state."""
    measures: Mapping[str, Mapping[str, float]]
    """Means over the latest updates, by task and measure."""
    events: Sequence[dict[str, Any]]


def read_standing(folder: Path) -> MetaStanding:
    """How far the meta-training in `folder` is. Raises RunError where its description cannot be read."""
    asked = read_recipe(folder)
    lines, events = read_curve(folder), list(read_events(folder))
    saved = [int(event["step"]) for event in events if event.get("event") == "checkpoint"]
    return MetaStanding(
        folder=folder,
        finished=(folder / RULE).exists(),
        tasks=asked.tasks,
        step=max((int(line["step"]) for line in lines), default=0),
        steps=asked.steps,
        saved=saved[-1] if saved else None,
        measures=figures_of(lines, RECENT),
        events=events,
    )
