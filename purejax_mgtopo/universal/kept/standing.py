"""How far a meta-training is, from its records alone. Starts no JAX."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from purejax_mgtopo.errors import RunError
from purejax_mgtopo.records.events import read_events
from purejax_mgtopo.records.folders import RECIPE, RULE
from purejax_mgtopo.universal.kept.record import figures_of, read_curve
from purejax_mgtopo.universal.recipe import TABLE

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
    try:
        document = json.loads((folder / RECIPE).read_text(encoding="utf-8-sig"))
        tasks = tuple(str(team["task"]) for team in document["teams"])
        steps = int(document[TABLE]["steps"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{folder / RECIPE} cannot be read: {error}") from None
    lines, events = read_curve(folder), list(read_events(folder))
    saved = [int(event["step"]) for event in events if event.get("event") == "checkpoint"]
    return MetaStanding(
        folder=folder,
        finished=(folder / RULE).exists(),
        tasks=tasks,
        step=max((int(line["step"]) for line in lines), default=0),
        steps=steps,
        saved=saved[-1] if saved else None,
        measures=figures_of(lines, RECENT),
        events=events,
    )
