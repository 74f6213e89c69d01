"""Where a run's mirror is, and by which names: the project, the group of a sweep, and W&B's limits on names."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

from purejax_mgtopo.config import Config
from purejax_mgtopo.errors import RunError
from purejax_mgtopo.records.record import SWEEP, find_runs

STATE = "wandb.json"
"""Stands in the run's folder, and says which W&B run it has."""
TAG, LABEL = 64, 128
"""Letters that W&B takes of a tag or a job type, and of a name or a group. The whole stands in the config."""


def named_project(folder: Path, config: Config) -> str:
    """The project that the user or the recipe names; empty where neither does."""
    return (
        config.means.wandb_project or os.environ.get("WANDB_PROJECT") or recipe_name(folder) or ""
    )


def cut(text: str, limit: int, ending: str = "") -> str:
    """At most `limit` letters, `ending` among them."""
    room = limit - len(ending)
    return (text if len(text) <= room else text[: room - 3] + "...") + ending


def sent_to(sweep: Path) -> tuple[str, str]:
    """The project, and the group in it, of a sweep's runs. Raises RunError for a folder that holds no mirrored run."""
    for run in find_runs([sweep]):
        with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):
            kept = json.loads((run / STATE).read_text(encoding="utf-8"))
            group = os.environ.get("WANDB_RUN_GROUP") or recipe_name(run) or ""
            return str(kept.get("project") or ""), group
    raise RunError(f"no run in {sweep} has a W&B mirror; `mgtopo wandb-rebuild {sweep}` writes one")


def recipe_name(folder: Path) -> str | None:
    """The recipe's folder, of the sweep that `folder` is a run of."""
    for above in folder.resolve().parents[:3]:
        with contextlib.suppress(OSError, ValueError, KeyError):
            return str(json.loads((above / SWEEP).read_text(encoding="utf-8"))["recipe"])
    return None
