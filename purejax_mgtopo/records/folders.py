"""Run folders: what lies in one, found without changing it."""

from __future__ import annotations

import enum
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from purejax_mgtopo.config import Config, Means, override
from purejax_mgtopo.errors import RunError
from purejax_mgtopo.machine.paths import can_be_said, expanded, straight
from purejax_mgtopo.plugins.registry import recall
from purejax_mgtopo.records.events import CURVE, EVENTS, read_events
from purejax_mgtopo.records.files import strict_json, write_atomically
from purejax_mgtopo.records.locks import in_use
from purejax_mgtopo.settings import completed, flatten

CONFIG, METRICS, LOCK = "config.json", "metrics.parquet", ".lock"
FIGURES, CHECKPOINTS = "figures", "checkpoints"
SWEEP = "sweep.json"
"""Stands above the runs of a sweep, and describes it."""
RECIPE, RULE = "recipe.json", "universal.npz"
"""What a meta-training has beside curve, events, table and lock: what was asked, and in the end the rule.

See `universal.kept.record`."""


class Status(enum.Enum):
    """What a run's folder holds."""

    ABSENT = "no run"
    FINISHED = "a finished run"
    UNFINISHED = "a run that was interrupted"
    RUNNING = "a run in progress"


UNFIT = frozenset("*?[\\")
"""Orbax looks for its files by patterns, folder and all, and TensorStore takes a backslash for a slash."""


def refuse_unfit(folder: Path) -> None:
    """Raise RunError if checkpoints would not be written to `folder`, or not as a whole, because of its name."""
    place = straight(folder)
    found = [character for character in sorted(UNFIT) if character in str(place)]
    if found:
        raise RunError(
            f"checkpoints cannot be written to {place}: with {' '.join(found)} in its path some would land elsewhere; "
            "choose or rename a folder so that its path has none of these"
        )
    if not can_be_said(place):
        raise RunError(
            f"checkpoints cannot be written to {place}: its name cannot be said in this locale; choose one such as "
            "LC_ALL=C.UTF-8, or another folder"
        )


def refuse_existing(folder: Path) -> None:
    """Raise RunError if anything of ours is in `folder` already, for results are never overwritten, or if its name is
    unfit for checkpoints.
    """
    refuse_unfit(folder)
    if not holds_something(folder):
        return
    found = status(folder)
    way_out = "choose another folder, or move this one away"
    if found is Status.UNFINISHED:
        way_out = f"go on with it by `mgtopo resume {folder}`, or choose another folder"
    raise RunError(f"{folder} already holds {found.value}; {way_out}")


def status(folder: Path) -> Status:
    """What is in `folder`, without changing it."""
    if not holds_something(folder):
        return Status.ABSENT
    if any(event.get("event") == "end" for event in read_events(folder)):
        return Status.FINISHED
    return Status.RUNNING if in_use(folder / LOCK) else Status.UNFINISHED


def find_runs(folders: Sequence[Path]) -> list[Path]:
    """Run folders at or beneath `folders`, in the order given, then by name; each once.

    Raises RunError for a folder that holds none.
    """
    found: dict[Path, None] = {}
    for folder in map(expanded, folders):
        if not folder.is_dir():
            raise RunError(f"{folder} is not a folder; give a run's or a sweep's results")
        runs = sorted(path.parent for path in folder.rglob(CONFIG))
        if not runs:
            raise RunError(
                f"{folder} holds no run (no {CONFIG} in or beneath it); "
                "give a run's folder or a sweep's results"
            )
        found |= {run: None for run in runs}
    return each_once(found)


def each_once(folders: Iterable[Path]) -> list[Path]:
    """The folders in the order given, each by the first of its spellings: what counts twice makes intervals narrow."""
    unique: dict[Path, Path] = {}
    for folder in folders:
        unique.setdefault(folder.resolve(), folder)
    return list(unique.values())


def find_trainings(folders: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Runs and meta-trainings at or beneath `folders`, each once; the runs that made a meta-training's teams are runs.

    Raises RunError for a folder that holds neither.
    """
    found: dict[Path, Path] = {}
    with_runs = []
    for given in folders:
        folder = expanded(given)
        own = [
            path.parent for path in sorted(folder.rglob(RECIPE)) if is_meta_training(path.parent)
        ]
        found |= {path.resolve(): path for path in own if path.resolve() not in found}
        if not own or any(folder.rglob(CONFIG)):
            with_runs.append(folder)
    return find_runs(with_runs), list(found.values())


def is_meta_training(folder: Path) -> bool:
    """Whether a meta-training was begun there."""
    try:
        return "meta_train" in json.loads((folder / RECIPE).read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, TypeError):
        return (folder / CURVE).exists()


def read_config(folder: Path) -> Config:
    """The configuration a run was made with; settings that it did not have yet are today's defaults."""
    try:
        document = json.loads((folder / CONFIG).read_text(encoding="utf-8-sig"))
        recall(document.get("plugins") or {})
        return override(Config(), completed(document["settings"]))
    except (FileNotFoundError, NotADirectoryError):
        raise RunError(f"{folder} is not a run: it has no {CONFIG}") from None
    # ConfigError is a ValueError.
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(f"{folder / CONFIG} cannot be read: {error}") from None


def write_means(folder: Path, means: Means) -> None:
    """Write down by which means the run in `folder` goes on, and beside them what of them was otherwise until then.

    Whoever does so holds the run's lock. Raises OSError.
    """
    before, now = flatten(read_config(folder).means), flatten(means)
    others = {name: value for name, value in now.items() if value != before[name]}
    if others:
        path = folder / CONFIG
        document = json.loads(path.read_text(encoding="utf-8-sig"))
        document["settings"] |= others
        earlier = {name: before[name] for name in others}
        document["means_before"] = [*document.get("means_before", []), earlier]
        write_atomically(path, strict_json(document, indent=2).encode())


@dataclass(frozen=True)
class MetaAsked:
    """What was asked of a meta-training, of what those need who only read its records."""

    tasks: tuple[str, ...]
    """In the order in which each update tells of them."""
    steps: int
    """Updates of the rule in all."""
    means: Means


def read_recipe(folder: Path) -> MetaAsked:
    """What was asked of the meta-training in `folder`; means that it did not tell of yet are today's defaults.

    Raises RunError, in one line that names the file, where that is missing or damaged.
    """
    path = folder / RECIPE
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))
        tasks = tuple(str(team["task"]) for team in document["teams"])
        steps = int(document["meta_train"]["steps"])
        return MetaAsked(tasks, steps, override(Means(), dict(document.get("means") or {})))
    except KeyError as error:
        raise RunError(f"{path} cannot be read: it lacks {error}") from None
    # ConfigError is a ValueError.
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise RunError(f"{path} cannot be read: {error}") from None


def tables(folder: Path) -> list[Path]:
    """The first process's table, then those of the others."""
    stem, suffix = METRICS.split(".")
    return [folder / METRICS, *sorted(folder.glob(f"{stem}.*[0-9].{suffix}"))]


def numbered(name: str, process: int) -> str:
    """A file's name in one of several processes; the first one's has no number."""
    stem, dot, suffix = name.rpartition(".")
    return name if not process else f"{stem}.{process}{dot}{suffix}"


def holds_something(folder: Path) -> bool:
    """Whether anything of ours lies there."""
    return any((folder / name).exists() for name in (CONFIG, EVENTS, METRICS, CHECKPOINTS))
