"""A tree of frozen dataclasses as flat settings, each by its dotted name, and back; checked by their types."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from purejax_mgtopo.errors import ConfigError, unknown_name

Tree = TypeVar("Tree")

UNNAMED = {"unnamed": True}
"""Metadata of a field whose settings go without its name: the halves of a pair are one flat namespace."""


def flatten(config: Any, prefix: str = "") -> dict[str, Any]:
    """Every setting by its dotted name, e.g. ``learner.batch_size``."""
    flat: dict[str, Any] = {}
    for item in dataclasses.fields(config):
        value = getattr(config, item.name)
        if dataclasses.is_dataclass(value):
            flat |= flatten(value, _inside(item, prefix))
        else:
            flat[prefix + item.name] = value
    return flat


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """The settings in which two flat configurations differ, each as ``name: old -> new``."""
    return [
        f"{name} {old.get(name)} -> {new.get(name)}"
        for name in {**old, **new}
        if old.get(name) != new.get(name)
    ]


def completed(settings: Mapping[str, Any]) -> dict[str, Any]:
    """An older run's settings, with those that were not there yet: eta's RMSprop had the gates'."""
    early = {
        f"meta.{name}": settings[f"gates.{name}"]
        for name in ("rms_decay", "rms_epsilon")
        if f"gates.{name}" in settings
    }
    return early | dict(settings)


def override(config: Tree, changes: Mapping[str, Any]) -> Tree:
    """`config` with settings replaced by dotted name, all at once (so checks see only the result).

    Raises ConfigError for an unknown name (naming the nearest) or a value of the wrong type.
    """
    known = flatten(config)
    for name in changes:
        if name not in known:
            raise unknown_name("setting", name, known)
    return typing.cast(Tree, _override(config, changes, ""))


def _override(node: Any, changes: Mapping[str, Any], prefix: str) -> Any:
    hints = typing.get_type_hints(type(node))
    replaced = {}
    for item in dataclasses.fields(node):
        name, value = prefix + item.name, getattr(node, item.name)
        if dataclasses.is_dataclass(value):
            replaced[item.name] = _override(value, changes, _inside(item, prefix))
        elif name in changes:
            replaced[item.name] = _checked(name, hints[item.name], changes[name])
    return dataclasses.replace(node, **replaced)


def _inside(item: dataclasses.Field, prefix: str) -> str:
    return prefix if item.metadata.get("unnamed") else f"{prefix}{item.name}."


def _checked(name: str, hint: Any, value: Any) -> Any:
    """`value` if it fits the setting's type (an int may stand for a float)."""
    if typing.get_origin(hint) is Literal:
        options = typing.get_args(hint)
        if not any(value == option and type(value) is type(option) for option in options):
            raise ConfigError(
                f"{name} must be one of {', '.join(map(repr, options))}, not {value!r}"
            )
        return value
    if hint is float and type(value) is int:
        return float(value)
    if isinstance(hint, types.UnionType) or type(value) is not hint:
        raise ConfigError(f"{name} must be of type {hint.__name__}, not {value!r}")
    return value
