"""What every preset costs beside `none`: speed, memory and the time until it trains, at two numbers of agents.

`none` is measured again after every preset, from programs that are compiled already, and a preset's speed is told
relative to the two of `none` around it: other load on the machine hits both.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from typing import Any

from purejax_mgtopo.bench.pace import Pace
from purejax_mgtopo.methods import ALIASES, METHODS

BASE = "none"
PRESETS = tuple(name for name in METHODS if name not in ALIASES)


def measure(
    tasks: tuple[str, ...],
    point: Callable[[str, str, str], dict[str, Any]],
    pace: Pace,
    keep: Callable[[Any], None],
    presets: tuple[str, ...] = PRESETS,
) -> list[dict[str, Any]]:
    """A row for each preset and task.

    Args:
        tasks: names of tasks.
        point: trains a task by a preset for a moment, with compiled programs in the folder that is named last; answers
            as `scaling.Point` does.
        pace: the part's clock.
        keep: takes the rows so far.
        presets: names of methods, `none` first.
    """
    rows: list[dict[str, Any]] = []
    around: dict[str, dict[str, Any]] = {}
    wanted = [(task, preset) for task in tasks for preset in presets]
    with tempfile.TemporaryDirectory() as shared:
        for task, preset in pace.over(wanted, lambda pair: f"{pair[1]} on {pair[0]}"):
            with tempfile.TemporaryDirectory() as empty:
                found = point(task, preset, empty)
            if task not in around:
                around[task] = point(task, BASE, shared)
            before, around[task] = around[task], point(task, BASE, shared)
            beside = (before["episodes_per_second"] + around[task]["episodes_per_second"]) / 2
            rows.append(
                {
                    "task": task,
                    "method": preset,
                    "episodes_per_second": found["episodes_per_second"],
                    "relative": found["episodes_per_second"] / beside,
                    "kept_mb": found["state_bytes"] / 1e6,
                    "computing_mb": found["bytes_per_lane"] / 1e6,
                    "compile_seconds": found["compile_seconds"],
                }
            )
            keep(rows)
    return rows
