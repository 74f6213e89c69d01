"""What runs are called where several are shown: by method, and by the settings in which they differ."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from purejax_mgtopo.config import Experiment
from purejax_mgtopo.machine.paths import expanded
from purejax_mgtopo.records.folders import UNFIT

MOST_SETTINGS = 3
"""More in a name would say less than the folder does."""


_SHIPPED_PREY = ("3", "6")
"""Sizes of predator_prey for which trained prey lie beside the environments; others fall back to scripted ones."""


def task_key(task: str) -> str:
    """One word for all names that mean the same task; to compare by, not to show.

    A name may go on with its prey, where it has any, and without a word these are the shipped ones. Predators that see
    as many landmarks as there are see all of them and all prey, however many more their name says.
    """
    name, _, prey = task.partition("@")
    if prey.endswith(".npz"):
        prey = str(expanded(prey).resolve())
    prey = prey or "shipped"
    if hunt := re.fullmatch(r"predator_prey_N([0-9]+)_l([0-9]+)", name):
        agents, visible = hunt.groups()
        if int(visible) > max(1, int(agents) // 3):
            name = f"predator_prey_N{agents}_l{agents}"
        if prey == "shipped" and agents not in _SHIPPED_PREY:
            prey = "scripted"
    return name if prey == "shipped" else f"{name}@{prey}"


def task_folder(task: str) -> Path:
    """Where runs of a task lie, within a sweep's results."""
    place = Path(task)
    # A task may end in a file that lies anywhere and is called anything.
    if place.is_absolute() or ".." in place.parts or not UNFIT.isdisjoint(task):
        name = task.partition("@")[0].replace("/", "_").strip(".")
        return Path(f"{_plain(name)}@{_plain(place.stem.strip('.'))}-{_digest(task)}")
    return place


def fit(word: str) -> str:
    """A word as part of a path beneath which checkpoints can lie, told apart from others that look the same then."""
    return word if UNFIT.isdisjoint(word) else f"{_plain(word)}-{_digest(word)}"


def _plain(word: str) -> str:
    return "".join("_" if character in UNFIT else character for character in word)


def _digest(word: str) -> str:
    return hashlib.sha256(word.encode(errors="surrogateescape")).hexdigest()[:8]


def told_tasks(tasks: Sequence[str]) -> list[str]:
    """Each by the name that came first of all that mean the same task."""
    first: dict[str, str] = {}
    return [first.setdefault(task_key(task), task) for task in tasks]


@dataclass(frozen=True)
class NamedRun:
    """A run of a task by what it is called so far, with all that can tell it from others."""

    name: str
    folder: Path
    settings: Mapping[str, Any]


def word_for(folder: Path, experiment: Experiment) -> str:
    """What the run in `folder` is called alone: in a sweep's results the recipe's word, else its method."""
    place = task_folder(experiment.task).parts
    if folder.parts[-1 - len(place) : -1] != place:
        return experiment.method
    first, *values = folder.name.split(",")
    return ", ".join([first, *(value.strip() for value in values)])


def told_apart(runs: Sequence[NamedRun]) -> list[str]:
    """The names of a task's runs: those of one name get the settings in which they differ, or else what tells their
    folders apart."""
    called = [_by_settings(run, [r for r in runs if r.name == run.name]) for run in runs]
    names = []
    for run in called:
        alike = [r.folder.resolve().parts for r in called if r.name == run.name]
        name = run.name
        if len(alike) > 1:
            start = _common(alike)
            end = _common([parts[start:][::-1] for parts in alike])
            own = run.folder.resolve().parts
            name = f"{name} ({'/'.join(own[start : len(own) - end]) or run.folder})"
        names.append(name)
    # A method's folder may by chance be called like another told apart.
    if len(set(names)) < len(names):
        names = [f"{run.name} ({run.folder})" for run in called]
    return names


def setting_text(value: Any) -> str:
    """A setting's value in the name of a run: short where that is the very value, so that no two are called alike."""
    if not isinstance(value, float):
        return str(value)
    short = f"{value:g}"
    return short if float(short) == value else repr(value)


def _by_settings(run: NamedRun, alike: Sequence[NamedRun]) -> NamedRun:
    """`run`, called by the settings in which it differs from others of its name, where few say it all."""
    theirs = [other.settings for other in alike]
    names = [x for x in run.settings if len({str(other.get(x)) for other in theirs}) > 1]
    labels = {tuple(str(other.get(name)) for name in names) for other in theirs}
    if not names or len(names) > MOST_SETTINGS or len(labels) < len(alike):
        return run
    last = [name.rpartition(".")[2] for name in names]
    words = [
        f"{short if last.count(short) == 1 else name}={setting_text(run.settings[name])}"
        for name, short in zip(names, last, strict=True)
    ]
    return replace(run, name=", ".join([run.name, *words]))


def _common(paths: Sequence[Sequence[str]]) -> int:
    """How many parts all paths begin with."""
    return sum(
        1
        for _ in itertools.takewhile(lambda parts: len(set(parts)) == 1, zip(*paths, strict=False))
    )
