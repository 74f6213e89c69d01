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
    learner.hidden = [64, 128]             # one run for each value: "meta, hidden=64", ...

A method may come more than once, under other names: ``methods = ["meta", "slow"]`` with ``preset = "meta"`` in
``[method.slow]``. ``learner_preset = "improved"``, at the top or in a method's table, takes that preset of the base
learner. ``import = ["my_module"]``
imports modules first, which register methods and tasks of their own. ``[[claim]]`` states what the results should show
(see `purejax_mgtopo.analysis.claims`); `mgtopo verdicts` tells whether they do.

Where several set the same thing, the method's table wins over the task's, the task's over [config], that over the
presets, and the command line over all. Nothing is ignored: a key or name that does not exist is refused with
the nearest that does.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import purejax_mgtopo
from purejax_mgtopo.analysis.claims import parse_claims
from purejax_mgtopo.config import Experiment, Means, with_learner, with_method
from purejax_mgtopo.errors import ConfigError, unknown_name
from purejax_mgtopo.machine.paths import expanded
from purejax_mgtopo.machine.startup import configure_platform
from purejax_mgtopo.plugins.registry import import_plugin
from purejax_mgtopo.training.recipe_runs import (
    MOST_RUNS,
    Recipe,
    RecipeRun,
    Setting,
    check_name,
    check_once,
)

FILE_NAME = "recipe.toml"
_KEYS = "question import tasks methods seeds learner_preset config task method claim".split()
_PRESET, _LEARNER = "preset", "learner_preset"

__all__ = ["Recipe", "RecipeRun", "Setting", "load_recipe", "parse_recipe", "parse_setting"]


def load_recipe(path: str | Path) -> Recipe:
    """The recipe in a TOML file, or in the ``recipe.toml`` of a folder.

    Raises ConfigError, in one line that names file and key.
    """
    file, home = _find(expanded(path))
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except (
        ValueError,
        RecursionError,
    ) as error:  # besides what is no TOML, a number of too many digits
        raise ConfigError(f"{file}: not valid TOML: {error}") from None
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from None
    return replace(parse_recipe(document, file), home=home)


def parse_recipe(document: Mapping[str, Any], path: Path) -> Recipe:
    """A recipe from parsed TOML; `path` names it in errors."""
    for key in document:
        if key not in _KEYS:
            raise _at(path, "", unknown_name("key", key, _KEYS))
    question = document.get("question", "")
    if not isinstance(question, str):
        raise ConfigError(f"{path}: question must be a string, not {question!r}")
    imports = document.get("import", [])
    imports = [imports] if isinstance(imports, str) else imports
    if not (isinstance(imports, list) and all(isinstance(name, str) for name in imports)):
        raise ConfigError(f'{path}: import must be a list of modules such as ["my_module"]')
    if imports:  # a plug-in may start JAX, and devices must stand by then
        config = document.get("config")
        devices = config.get("devices") if isinstance(config, dict) else None
        configure_platform(Means(devices=devices if isinstance(devices, int) else 0))
    for module in imports:
        import_plugin(module, str(path), beside=path.parent)
    tasks, methods = _names(document, "tasks", path), _names(document, "methods", path)
    if len(tasks) * len(methods) > MOST_RUNS:
        raise ConfigError(
            f"{path}: {len(tasks):,} tasks x {len(methods):,} methods are more than {MOST_RUNS:,} runs; "
            "split the recipe"
        )
    presets = _presets(document, methods, path)
    for method in methods:
        try:
            with_method(Experiment(), presets.get(method, method))
        except ConfigError as error:
            raise _at(path, "methods", error) from None

    settings = _settings(document.get("config", {}), path, "[config]")
    if "seeds" in document:
        if any(setting.name == "seeds" for setting in settings):
            raise ConfigError(f"{path}: seeds stands both at the top and in [config]; keep one")
        settings = (*settings, Setting("seeds", document["seeds"]))
    try:
        claims = parse_claims(document.get("claim", []), tasks, methods)
    except ConfigError as error:
        raise _at(path, "", error) from None
    return Recipe(
        path=path,
        question=question,
        tasks=tasks,
        methods=methods,
        settings=settings,
        task_settings=_tables(document, "task", tasks, path),
        method_settings=_tables(document, "method", methods, path),
        presets=presets,
        learner_preset=_learner(document, path, "") or "paper",
        learner_presets=_learners(document, methods, path),
        imports=tuple(imports),
        claims=claims,
    )


def parse_setting(text: str) -> Setting:
    """``learner.hidden=64`` as a Setting; the value is read as TOML, else as a plain string."""
    name, equals, value = text.partition("=")
    name, value = name.strip().lstrip("-").replace("-", "_"), value.strip()
    if not (equals and name and value):
        raise ConfigError(f"--set takes NAME=VALUE such as learner.hidden=64, not {text!r}")
    check_name(name, "--set")
    try:
        document = tomllib.loads(f"value = {value}")
    except (ValueError, RecursionError):
        return Setting(name, value)
    return Setting(name, document["value"])


def shipped_recipes() -> dict[str, Path]:
    """Recipes that come with the package, by their names: in a clone those beneath ``runs``."""
    package = Path(purejax_mgtopo.__file__).parent
    found = [*package.parent.glob(f"runs/*/{FILE_NAME}"), *package.glob(f"recipes/*/{FILE_NAME}")]
    return {file.parent.name: file for file in sorted(found)}


def _find(path: Path) -> tuple[Path, Path | None]:
    """A recipe's file; of a shipped one, which goes by its name alone, where results land: here."""
    if path.is_file():
        return path, None
    if path.is_dir() and (path / FILE_NAME).is_file():
        return path / FILE_NAME, None
    shipped = shipped_recipes()
    if path.parts == (path.name,) and path.name in shipped:
        return shipped[path.name], Path("results", path.name)
    problem = f"has no {FILE_NAME}" if path.is_dir() else "does not exist"
    known = sorted(
        {
            found.parent
            for base in (path, path.parent, path.parent / "runs", Path("runs"))
            for found in base.glob(f"*/{FILE_NAME}")
        }
    )
    names = {folder.name: str(folder) for folder in known} or {name: name for name in shipped}
    near = get_close_matches(path.name, names, n=1, cutoff=0.0)
    hint = f"did you mean {names[near[0]]}?" if near else f"give a folder that holds {FILE_NAME}"
    here = f"recipes here: {', '.join(str(folder) for folder in known)}; " if known else ""
    raise ConfigError(f"{path} {problem}; {hint} ({here}shipped: {', '.join(shipped)})")


def _names(document: Mapping[str, Any], key: str, path: Path) -> tuple[str, ...]:
    names = document.get(key)
    if not (isinstance(names, list) and names and all(isinstance(name, str) for name in names)):
        raise ConfigError(f'{path}: {key} must be a list of names such as {key} = ["..."]')
    repeated = [name for name, times in Counter(names).items() if times > 1]
    if repeated:
        name = min(repeated)
        hint = f'; under a second name, [method.{name}_2] says preset = "{name}"' * (
            key == "methods"
        )
        raise ConfigError(f"{path}: {key} lists {name!r} more than once{hint}")
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
    found = {}
    for name, table in tables.items():
        if key == "method" and isinstance(table, dict):
            table = {word: x for word, x in table.items() if word not in (_PRESET, _LEARNER)}
        found[name] = _settings(table, path, f"[{key}.{name}]")
    return found


def _presets(document: Mapping[str, Any], methods: tuple[str, ...], path: Path) -> dict[str, str]:
    """What words for methods mean, by the ``preset`` of their tables."""
    tables, found = document.get("method", {}), {}
    for name in methods:
        table = tables.get(name) if isinstance(tables, dict) else None
        if isinstance(table, dict) and _PRESET in table:
            if not isinstance(table[_PRESET], str):
                raise ConfigError(f"{path}: [method.{name}]: {_PRESET} must be a method's name")
            found[name] = table[_PRESET]
        if not name or "/" in name or name.startswith("."):
            raise ConfigError(f"{path}: methods: {name!r} cannot name a folder")
    return found


def _learners(document: Mapping[str, Any], methods: tuple[str, ...], path: Path) -> dict[str, str]:
    """The presets of the base learner that single methods have, by the ``learner_preset`` of their tables."""
    tables = document.get("method", {})
    named = {name: _learner(tables.get(name), path, f"[method.{name}]") for name in methods}
    return {name: learner for name, learner in named.items() if learner is not None}


def _learner(table: Any, path: Path, where: str) -> str | None:
    """The ``learner_preset`` of one table, if it has any."""
    name = table.get(_LEARNER) if isinstance(table, dict) else None
    if name is None:
        return None
    where = f"{where} {_LEARNER}".strip()
    if not isinstance(name, str):
        raise ConfigError(f"{path}: {where} must be a name, not {name!r}")
    try:
        with_learner(Experiment(), name)
    except ConfigError as error:
        raise _at(path, where, error) from None
    return name


def _settings(table: Any, path: Path, where: str) -> tuple[Setting, ...]:
    if not isinstance(table, dict):
        raise ConfigError(f"{path}: {where} must be a table of settings, not {table!r}")
    settings = tuple(_leaves(table))
    for setting in settings:
        check_name(setting.name, f"{path}: {where}")
    check_once(settings, f"{path}: {where}")
    return settings


def _leaves(table: Mapping[str, Any], prefix: str = "") -> Iterator[Setting]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield Setting(prefix + key, value)


def _at(path: Path, where: str, error: ConfigError) -> ConfigError:
    return ConfigError(f"{path}: {where}: {error}" if where else f"{path}: {error}")
