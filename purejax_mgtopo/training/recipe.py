"""A recipe says what a sweep runs: tasks x methods x seeds, with overrides. TOML in, `Config`s out.

    question = "Does learned topology beat full and no communication?"
    tasks = ["toy_follow_holder"]
    methods = ["none", "full", "meta"]     # presets, or "topology+messages"
    seeds = 8
    [config]                               # every run; nested tables or dotted names
    learner.discount = 0.0
    [task.toy_follow_holder]               # the runs of one task
    episodes = 2000
    [method.meta]                          # the runs of one method
    meta.learning_rate = 5e-4

Where several set the same thing, the method's table wins over the task's, the task's over [config],
and the command line over all. Nothing is ignored: a key or name that does not exist is refused with
the nearest that does.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from purejax_mgtopo.config import Config, Experiment, flatten, override, with_method
from purejax_mgtopo.errors import ConfigError, unknown_name
from purejax_mgtopo.machine.paths import expanded

FILE_NAME = "recipe.toml"
MOST_RUNS = 10_000
"""More are a mistake, or more than one sweep can hold in its picture."""
_KEYS = ("question", "tasks", "methods", "seeds", "config", "task", "method")
_AXES = (
    "task",
    "topology",
    "messages",
    "critic",
)  # what `tasks` and `methods` say; nothing else may


@dataclass(frozen=True)
class Setting:
    """One override: a setting by its dotted name, and its value."""

    name: str
    value: Any


@dataclass(frozen=True)
class RecipeRun:
    """One run of a sweep; the recipe's own word for the method names its folder and its curve."""

    task: str
    method: str
    config: Config

    @property
    def name(self) -> str:
        """Task and method, as progress shows the run."""
        return f"{self.task}/{self.method}"

    @property
    def folder(self) -> Path:
        """The run's folder, relative to that of the sweep's results, and within it."""
        place = Path(self.task, self.method)
        if (
            place.is_absolute() or ".." in place.parts
        ):  # a task may end in a file that lies anywhere
            digest = hashlib.sha256(self.task.encode()).hexdigest()[:8]
            name = self.task.partition("@")[0].replace("/", "_").strip(".")
            return Path(f"{name}@{Path(self.task).stem.strip('.')}-{digest}", self.method)
        return place


@dataclass(frozen=True)
class Recipe:
    """A parsed recipe. `path` is its file; results land beside it."""

    path: Path
    question: str
    tasks: tuple[str, ...]
    methods: tuple[str, ...]
    settings: tuple[Setting, ...]
    task_settings: Mapping[str, tuple[Setting, ...]]
    method_settings: Mapping[str, tuple[Setting, ...]]

    def runs(self, changes: Iterable[Setting] = ()) -> tuple[RecipeRun, ...]:
        """Every run, tasks first; `changes` come from the command line and apply last."""
        changes = tuple(changes)
        for change in changes:
            _check_name(change.name, "command line")
        _check_once(changes, "command line")
        runs = tuple(
            RecipeRun(task, method, self._config(task, method, changes))
            for task in self.tasks
            for method in self.methods
        )
        known: dict[Experiment, RecipeRun] = {}
        for run in runs:
            experiment = run.config.experiment
            told = known.setdefault(replace(experiment, task=_one_word(experiment.task)), run)
            if told is not run:  # its seeds would count twice
                raise ConfigError(
                    f"{self.path}: {told.name} and {run.name} are the same run; leave one out"
                )
        return runs

    def _config(self, task: str, method: str, changes: tuple[Setting, ...]) -> Config:
        layers = (
            *self.settings,
            *self.task_settings.get(task, ()),
            *self.method_settings.get(method, ()),
            *changes,
        )
        try:
            # Merged before they are checked: two layers may only make sense together.
            merged = {"task": task} | {setting.name: setting.value for setting in layers}
            return override(Config(with_method(Experiment(), method)), merged)
        except ConfigError as error:
            raise ConfigError(f"{self.path}: {task}/{method}: {error}") from None


def load_recipe(path: str | Path) -> Recipe:
    """The recipe in a TOML file, or in the ``recipe.toml`` of a folder.

    Raises ConfigError, in one line that names file and key.
    """
    file = _find(expanded(path))
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except (
        ValueError,
        RecursionError,
    ) as error:  # besides what is no TOML, a number of too many digits
        raise ConfigError(f"{file}: not valid TOML: {error}") from None
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from None
    return parse_recipe(document, file)


def parse_recipe(document: Mapping[str, Any], path: Path) -> Recipe:
    """A recipe from parsed TOML; `path` names it in errors."""
    for key in document:
        if key not in _KEYS:
            raise _at(path, "", unknown_name("key", key, _KEYS))
    question = document.get("question", "")
    if not isinstance(question, str):
        raise ConfigError(f"{path}: question must be a string, not {question!r}")
    tasks, methods = _names(document, "tasks", path), _names(document, "methods", path)
    if len(tasks) * len(methods) > MOST_RUNS:
        raise ConfigError(
            f"{path}: {len(tasks):,} tasks x {len(methods):,} methods are more than {MOST_RUNS:,} runs; "
            "split the recipe"
        )
    for method in methods:
        try:
            with_method(Experiment(), method)
        except ConfigError as error:
            raise _at(path, "methods", error) from None

    settings = _settings(document.get("config", {}), path, "[config]")
    if "seeds" in document:
        if any(setting.name == "seeds" for setting in settings):
            raise ConfigError(f"{path}: seeds stands both at the top and in [config]; keep one")
        settings = (*settings, Setting("seeds", document["seeds"]))
    return Recipe(
        path=path,
        question=question,
        tasks=tasks,
        methods=methods,
        settings=settings,
        task_settings=_tables(document, "task", tasks, path),
        method_settings=_tables(document, "method", methods, path),
    )


def parse_setting(text: str) -> Setting:
    """``learner.hidden=64`` as a Setting; the value is read as TOML, else as a plain string."""
    name, equals, value = text.partition("=")
    name, value = name.strip(), value.strip()
    if not (equals and name and value):
        raise ConfigError(f"--set takes NAME=VALUE such as learner.hidden=64, not {text!r}")
    _check_name(name, "--set")
    try:
        document = tomllib.loads(f"value = {value}")
    except (ValueError, RecursionError):
        return Setting(name, value)
    return Setting(name, document["value"])


def _find(path: Path) -> Path:
    if path.is_file():
        return path
    if path.is_dir() and (path / FILE_NAME).is_file():
        return path / FILE_NAME
    problem = f"has no {FILE_NAME}" if path.is_dir() else "does not exist"
    known = sorted(
        {
            found.parent
            for base in (path, path.parent, path.parent / "runs", Path("runs"))
            for found in base.glob(f"*/{FILE_NAME}")
        }
    )
    if not known:
        raise ConfigError(
            f"{path} {problem}; give a recipe file or a folder that holds {FILE_NAME}"
        )
    names = {folder.name: folder for folder in known}
    near = get_close_matches(path.name, names, n=1, cutoff=0.0)
    hint = f"did you mean {names[near[0]]}?" if near else ""
    others = ", ".join(str(folder) for folder in known)
    raise ConfigError(f"{path} {problem}; {hint} (recipes here: {others})")


def _names(document: Mapping[str, Any], key: str, path: Path) -> tuple[str, ...]:
    names = document.get(key)
    if not (isinstance(names, list) and names and all(isinstance(name, str) for name in names)):
        raise ConfigError(f'{path}: {key} must be a list of names such as {key} = ["..."]')
    repeated = [name for name, times in Counter(names).items() if times > 1]
    if repeated:
        raise ConfigError(f"{path}: {key} lists {min(repeated)!r} more than once")
    return tuple(names)


def _tables(
    document: Mapping[str, Any], key: str, names: tuple[str, ...], path: Path
) -> dict[str, tuple[Setting, ...]]:
    """The ``[task.NAME]`` or ``[method.NAME]`` tables, whose names must be among `names`."""
    tables = document.get(key, {})
    if not isinstance(tables, dict):
        raise ConfigError(
            f"{path}: {key} must be tables such as [{key}.{names[0]}]; did you mean {key}s?"
        )
    for name in tables:
        if name not in names:
            raise _at(path, f"[{key}.{name}]", unknown_name(key, name, names))
    return {name: _settings(table, path, f"[{key}.{name}]") for name, table in tables.items()}


def _settings(table: Any, path: Path, where: str) -> tuple[Setting, ...]:
    if not isinstance(table, dict):
        raise ConfigError(f"{path}: {where} must be a table of settings, not {table!r}")
    settings = tuple(_leaves(table))
    for setting in settings:
        _check_name(setting.name, f"{path}: {where}")
    _check_once(settings, f"{path}: {where}")
    return settings


def _check_once(settings: Iterable[Setting], where: str) -> None:
    """The settings of one place: layers may overrule each other, but not themselves."""
    known: dict[str, Any] = {}
    for setting in settings:
        if setting.name in known:
            raise ConfigError(
                f"{where}: {setting.name} is given twice, as {known[setting.name]!r} and "
                f"{setting.value!r}; keep one"
            )
        known[setting.name] = setting.value


def _leaves(table: Mapping[str, Any], prefix: str = "") -> Iterable[Setting]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield Setting(prefix + key, value)


def _check_name(name: str, where: str) -> None:
    known = flatten(Config())
    if name not in known:
        raise ConfigError(f"{where}: {unknown_name('setting', name, known)}")
    if name in _AXES:
        raise ConfigError(f"{where}: {name} is set by the recipe's `tasks` and `methods`, not here")


def _one_word(task: str) -> str:
    """One word for all that mean the same task: with the prey file that its name may end in."""
    name, _, prey = task.partition("@")
    if prey.endswith(".npz"):
        prey = str(expanded(prey).resolve())
    return f"{name}@{prey or 'shipped'}"


def _at(path: Path, where: str, error: ConfigError) -> ConfigError:
    return ConfigError(f"{path}: {where}: {error}" if where else f"{path}: {error}")
