"""What rules and interpreters say of the scalars that they measure.

A member's class needs JAX, and whoever looks up a word should not wait for that: where the class is not there already,
its source is read, and not run. It says what is asked for in a dictionary under ``measures`` or ``outer_measures`` of
the class or of a base of it, or under a name that stands there. Who gives names alone says nothing of them.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Mapping
from importlib.machinery import PathFinder
from importlib.util import find_spec, resolve_name
from typing import Any

from purejax_mgtopo.methods import MESSAGES, TOPOLOGIES, AxisEntry

_ATTRIBUTES = ("measures", "outer_measures")


def meanings_of(topology: str, messages: str) -> dict[str, str]:
    """A sentence for each measure of a rule and an interpreter that they say something of."""
    members = (TOPOLOGIES.get(topology), MESSAGES.get(messages))
    return {
        name: sentence
        for member in members
        if member is not None
        for name, sentence in meanings(member).items()
    }


def all_meanings() -> dict[str, dict[str, list[str]]]:
    """All that the members of both tables measure: by name, each sentence and who says it, such as ``rule meta``."""
    found: dict[str, dict[str, list[str]]] = {}
    source = _Source()
    for kind, table in (("rule", TOPOLOGIES), ("interpreter", MESSAGES)):
        for member in table.values():
            for name, sentence in meanings(member, source).items():
                found.setdefault(name, {}).setdefault(sentence, []).append(f"{kind} {member.name}")
    return found


def meanings(member: AxisEntry, source: _Source | None = None) -> dict[str, str]:
    """A sentence for each measure that a member says something of."""
    module, _, name = member.path.partition(":")
    found = member.found or getattr(sys.modules.get(module), name, None)
    if found is None:
        return written(member.path, source)
    told: dict[str, str] = {}
    for attribute in _ATTRIBUTES:
        said: Any = getattr(found, attribute, ())
        told |= said if isinstance(said, Mapping) else {}
    return told


def written(path: str, source: _Source | None = None) -> dict[str, str]:
    """What the class at ``module:Class`` says by its source alone; nothing where that cannot be read."""
    module, _, name = path.partition(":")
    source = source or _Source()
    told: dict[str, str] = {}
    try:
        for attribute in _ATTRIBUTES:
            told |= source.of_class(module, name, attribute)
    except Exception:  # a stranger's source may be anything, and a missing sentence stops nobody
        return {}
    return told


class _Source:
    """Modules as they are written, each read once."""

    def __init__(self) -> None:
        self._modules: dict[str, dict[str, ast.AST]] = {}

    def of_class(self, module: str, name: str, attribute: str) -> dict[str, str]:
        """A dictionary that a class, or the first base that has one, writes out under a name."""
        home, node = self._defined(module, name)
        if not isinstance(node, ast.ClassDef):
            return {}
        own = _named(node.body).get(attribute)
        if own is not None:
            return self._dictionary(home, own)
        bases = (base.id for base in node.bases if isinstance(base, ast.Name))
        told = (self.of_class(home, base, attribute) for base in bases)
        return next((each for each in told if each), {})

    def _defined(self, module: str, name: str) -> tuple[str, ast.AST | None]:
        """What a module calls so, and the module in which that is written."""
        if module not in self._modules:
            self._modules[module] = _named(ast.parse(_text(module)).body)
        node = self._modules[module].get(name)
        if not isinstance(node, ast.ImportFrom):
            return module, node
        there = "." * node.level + (node.module or "")
        if node.level:
            there = resolve_name(there, module.rpartition(".")[0])
        known_as = {alias.asname or alias.name: alias.name for alias in node.names}
        return self._defined(there, known_as[name])

    def _dictionary(self, module: str, node: ast.AST | None) -> dict[str, str]:
        if isinstance(node, ast.Name):
            return self._dictionary(*self._defined(module, node.id))
        told: dict[str, str] = {}
        if isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if key is None:  # **another
                    told |= self._dictionary(module, value)
                else:
                    told[ast.literal_eval(key)] = ast.literal_eval(value)
        return told


def _named(statements: list[ast.stmt]) -> dict[str, ast.AST]:
    """What statements define: a class, what is assigned, or the import that a name comes from."""
    found: dict[str, ast.AST] = {}
    for node in statements:
        if isinstance(node, ast.ClassDef):
            found[node.name] = node
        elif isinstance(node, ast.ImportFrom):
            found |= dict.fromkeys((alias.asname or alias.name for alias in node.names), node)
        elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = (target.id for target in targets if isinstance(target, ast.Name))
            found |= dict.fromkeys(names, node.value)
    return found


def _text(module: str) -> str:
    """A module as it is written; neither it nor a package around it is run."""
    top, *rest = module.split(".")
    spec = find_spec(top)
    for name in rest:
        if spec is not None:
            spec = PathFinder.find_spec(f"{spec.name}.{name}", spec.submodule_search_locations)
    text: str | None = spec.loader.get_source(module) if spec is not None else None  # type: ignore
    if text is None:
        raise ImportError(f"the source of {module} is not there")
    return text
