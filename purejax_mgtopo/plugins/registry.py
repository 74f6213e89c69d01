"""Rules, interpreters, critics and tasks that live outside of this package.

They join by any of three ways, and are then trained, resumed, evaluated, exported, reported and drawn like the rest:

    register_rule("coin", Coin)                      # in a module: `mgtopo train --import my_module --topology coin`
    import = ["my_module"]                           # in a recipe
    [project.entry-points."purejax_mgtopo.rules"]    # in an installed package's pyproject.toml
    coin = "my_package.coin:Coin"

A run writes down what its plug-ins are called, so that its folder is enough to go on wherever their modules can be
imported: installed, in the current folder or in PYTHONPATH. A module beside a recipe is found for the recipe alone.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.metadata
import importlib.util
import os
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from purejax_mgtopo.errors import ConfigError
from purejax_mgtopo.methods import CRITICS, MESSAGES, TASKS, TOPOLOGIES, AxisEntry

_TABLES = {
    "topology": ("rule", "purejax_mgtopo.rules", TOPOLOGIES),
    "messages": ("interpreter", "purejax_mgtopo.interpreters", MESSAGES),
    "critic": ("critic", "purejax_mgtopo.critics", CRITICS),
    "task": ("task", "purejax_mgtopo.tasks", TASKS),
}
"""By setting: what it chooses, the group of entry points, and the table."""
_OWN = {setting: frozenset(table) for setting, (_, _, table) in _TABLES.items()}
"""Names that are there without any plug-in."""
_FILES = "files"
_BESIDE: set[str] = set()
"""Folders in which modules are looked for because a recipe lies there."""


def register_rule(
    name: str, where: type | str, about: str = "", files: tuple[str, ...] = ()
) -> None:
    """Let ``--topology NAME`` be a rule: a class derived from `algorithm.part.Rule`, or ``"module:Class"``.

    Args:
        files: settings, by their dotted names, that name a file which the rule reads: what is in it is then part of
            what a run has to be gone on with.
    """
    _register("topology", name, where, about, files)


def register_interpreter(name: str, where: type | str, about: str = "") -> None:
    """Let ``--messages NAME`` be an interpreter: a class derived from `algorithm.part.Interpreter`, or its path."""
    _register("messages", name, where, about)


def register_critic(name: str, where: type | str, about: str = "") -> None:
    """Let ``--critic NAME`` be a critic: a class derived from `algorithm.critics.critic.Critic`, or its path."""
    _register("critic", name, where, about)


def register_task(name: str, where: Callable[[], Any] | str, about: str = "") -> None:
    """Let ``--task NAME`` be a task: what makes a `jax_mpe.Scenario` when called without arguments, or its path."""
    _register("task", name, where, about)


IMPORTING = threading.RLock()
"""Held by a thread that imports JAX, or what may import it: a second one would find its modules half made."""


def import_plugin(module: str, asked_by: str, beside: Path | None = None) -> None:
    """Import a module that registers its own; it may lie where the command runs, or `beside` a recipe.

    Raises ConfigError, in one line, where that fails.
    """
    folders = [os.getcwd(), *([str(beside.resolve())] if beside is not None else [])]
    new = [folder for folder in dict.fromkeys(folders) if folder not in sys.path]
    sys.path += new
    _BESIDE.update(folder for folder in new if folder != os.getcwd())
    try:
        with IMPORTING:
            importlib.import_module(module.removesuffix(".py"))
    except ConfigError as error:
        raise ConfigError(f"{asked_by}: import of {module}: {error}") from error
    except Exception as error:
        line = " ".join(str(error).split())
        raise ConfigError(
            f"{asked_by}: {module} cannot be imported: {type(error).__name__}: {line} (looked here and in PYTHONPATH)"
        ) from error


def beside_recipes(settings: Mapping[str, Any]) -> list[str]:
    """The folders of plug-ins that `settings` name and that were found beside a recipe alone, each once."""
    plugins = plugins_of(settings)
    paths = [path for setting in _TABLES for path in plugins.get(setting, {}).values()]
    found: dict[str, None] = {}
    for top in (path.partition(":")[0].partition(".")[0] for path in paths):
        with contextlib.suppress(ImportError, ValueError):  # no module, or one without a file
            spec = importlib.util.find_spec(top)
            homes = spec and (spec.submodule_search_locations or [spec.origin or ""])
            found |= {str(Path(home).parent): None for home in homes or ()}
    return [folder for folder in found if folder in _BESIDE and folder != os.getcwd()]


@functools.cache
def find_entry_points() -> None:
    """Register what installed packages offer; none of it is imported before it is used."""
    for setting, (_, group, table) in _TABLES.items():
        for point in importlib.metadata.entry_points(group=group):
            if point.name not in table:
                source = point.dist.name if point.dist is not None else point.value
                _register(setting, point.name, point.value, f"from the package {source}")


def plugins_of(settings: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Where the plug-ins are that a configuration names, by setting: ``{"topology": {"coin": "my_module:Coin"}}``.

    Of those that read files, ``"files"`` tells the settings that name them, with spaces between.
    """
    found: dict[str, dict[str, str]] = {}
    for setting, (_, _, table) in _TABLES.items():
        entry = table.get(settings.get(setting, ""))
        if entry is not None and entry.name not in _OWN[setting]:
            found[setting] = {entry.name: entry.path}
            if entry.files:
                found.setdefault(_FILES, {})[entry.name] = " ".join(entry.files)
    return found


def recall(plugins: Mapping[str, Mapping[str, str]]) -> None:
    """Register what a run has written down, unless the name is known already; nothing is imported yet."""
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    for setting, named in plugins.items():
        for name, path in named.items():
            if setting in _TABLES and name not in _TABLES[setting][2]:
                files = plugins.get(_FILES, {}).get(name, "")
                _register(setting, name, path, "", tuple(files.split()))


def _register(setting: str, name: str, where: Any, about: str, files: tuple[str, ...] = ()) -> None:
    kind, _, table = _TABLES[setting]
    if (
        not isinstance(name, str)
        or not name.replace("_", "").replace(".", "").replace("-", "").isalnum()
    ):
        raise ConfigError(f"{name!r} cannot name a {kind}: letters, digits, _, . and - can")
    if isinstance(where, str):
        path, found = where, None
        if path.count(":") != 1:
            raise ConfigError(f"{kind} {name!r}: give a class, or 'module:Class', not {where!r}")
    else:
        path, found = f"{where.__module__}:{where.__qualname__}", where
        about = about or " ".join((where.__doc__ or "").partition("\n\n")[0].split()).rstrip(".")
    before = table.get(name)
    if before is not None and before.path != path:
        raise ConfigError(
            f"{name!r} is a {kind} already ({before.path}); choose another name for {path}"
        )
    table[name] = AxisEntry(name, about or f"from {path}", path, files, found)
