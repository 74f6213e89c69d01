"""Where a run's mirror is, and by which names: the project, the group of a sweep, and W&B's limits on names."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from purejax_mgtopo.config import Config, Means
from purejax_mgtopo.errors import RunError
from purejax_mgtopo.machine.paths import expanded
from purejax_mgtopo.records.record import SWEEP, find_runs

STATE = "wandb.json"
"""Stands in the run's folder, and says which W&B run it has."""
TAG, LABEL = 64, 128
"""Letters that W&B takes of a tag or a job type, and of a name, a group or a project. The whole stands in the
config."""


_NOT_IN_PROJECTS = "/\\#?%:"


def named_project(folder: Path, means: Means) -> str:
    """The project that the user or the recipe names, as W&B takes it; empty where neither does."""
    names = (means.wandb_project, os.environ.get("WANDB_PROJECT"), recipe_name(folder))
    return next((found for name in names if (found := project_name(name or ""))), "")


def project_name(text: str) -> str:
    """What a project is called, as W&B takes it: without the letters that it refuses, and no longer than it allows."""
    return cut("".join("_" if x in _NOT_IN_PROJECTS else x for x in text.strip()), LABEL)


def cut(text: str, limit: int, ending: str = "") -> str:
    """At most `limit` letters, `ending` among them."""
    room = limit - len(ending)
    return (text if len(text) <= room else text[: room - 3] + "...") + ending


def labels(
    folder: Path, config: Config, document: Mapping[str, Any], name: str, seed: int | None
) -> dict[str, Any]:
    """Name, group, tags and settings of a W&B run: the program's, or the one of a seed.

    Args:
        document: the run's config.json.
        name: the id of the program's W&B run.
    """
    experiment, word = config.experiment, run_word(folder, config)
    title = titled(f"{experiment.task}/{word}")
    tags = [experiment.task, experiment.topology, experiment.messages]
    origin = {key: document.get(key) for key in ("versions", "device", "git", "started", "command")}
    settings = {**asdict(experiment), **asdict(config.means), **origin}
    settings |= {"method": word, "sweep_id": sweep_id(folder)}
    return kind_and_tags(experiment.method, tags if seed is None else [*tags, "seed"]) | {
        "group": group_of(folder) or None
        if seed is None
        else cut(title, LABEL, f" by seed {name}"),
        "name": cut(title, LABEL, "" if seed is None else f"/{seed}"),
        "config": settings | ({} if seed is None else {"seed": seed}),
    }


def titled(title: str) -> str:
    """The name of a W&B run, at whatever length: what the environment says, or else this title."""
    return os.environ.get("WANDB_NAME") or title


def kind_and_tags(kind: str, tags: Sequence[str]) -> dict[str, Any]:
    """Job type and tags of a W&B run, as W&B takes them: the environment's beat `kind` and stand before `tags`."""
    own = (cut(tag, TAG) for tag in tags if tag)
    return {
        "job_type": cut(os.environ.get("WANDB_JOB_TYPE") or kind, TAG),
        "tags": list(dict.fromkeys([*tags_of_environment(), *own])),
    }


def tags_of_environment() -> list[str]:
    """The tags that the environment asks for, as W&B takes them."""
    told = (tag.strip() for tag in os.environ.get("WANDB_TAGS", "").split(","))
    return [cut(tag, TAG) for tag in told if tag]


def sent_to(sweep: Path) -> tuple[str, str]:
    """The project, and the group in it, of a sweep's runs. Raises RunError for a folder that holds no mirrored run."""
    for run in find_runs([sweep]):
        with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):
            kept = json.loads((run / STATE).read_text(encoding="utf-8-sig"))
            return str(kept.get("project") or ""), group_of(run)
    raise RunError(f"no run in {sweep} has a W&B mirror; `mgtopo wandb-rebuild {sweep}` writes one")


def home(folder: Path) -> Path:
    """The folder beneath which W&B writes what the run in `folder` tells it."""
    return expanded(os.environ.get("WANDB_DIR") or folder)


def group_of(folder: Path) -> str:
    """The group of the W&B run of `folder`, as W&B takes it; empty where it has none."""
    return cut(os.environ.get("WANDB_RUN_GROUP") or recipe_name(folder) or "", LABEL)


def recipe_name(folder: Path) -> str | None:
    """The recipe's folder, of the sweep that `folder` is a run of."""
    found = _sweep_above(folder)
    return None if found is None else str(found[1]["recipe"])


def sweep_id(folder: Path) -> str:
    """What no other sweep has, of that which left `folder` or a run there; nothing where an older version left it."""
    found = _sweep_above(folder / "run")
    return "" if found is None else str(found[1].get("id") or "")


def run_word(folder: Path, config: Config) -> str:
    """What a run is called among those of its sweep: ``meta, hidden=64`` where settings take several values."""
    found = _sweep_above(folder)
    if found is not None:
        home, document = found
        own = str(folder.resolve().relative_to(home))
        with contextlib.suppress(KeyError, TypeError):
            for run in document["runs"]:
                if run["folder"] == own:
                    return str(run["method"])
    return config.experiment.method


def _sweep_above(folder: Path) -> tuple[Path, Mapping[str, Any]] | None:
    """The folder and the description of the sweep that `folder` is a run of."""
    for above in folder.resolve().parents[:3]:
        with contextlib.suppress(OSError, ValueError):
            document = json.loads((above / SWEEP).read_text(encoding="utf-8-sig"))
            if isinstance(document, dict) and "recipe" in document:
                return above, document
    return None
