"""A tree of frozen dataclasses as flat settings, each by its dotted name, and back; checked by types and ranges."""

from __future__ import annotations

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from typing import Any, Literal, TypeVar

from purejax_mgtopo.errors import ConfigError, require, unknown_name

Tree = TypeVar("Tree")

LARGEST = 2**31 - 1
"""The largest seed, and the largest whole number of any setting but the evaluation's random seed."""
LARGEST_RANDOM_SEED = 2**32 - 1
"""The largest random seed of episodes, which no table numbers."""
LARGEST_FLOAT = (2.0 - 2.0**-23) * 2.0**127
"""The largest finite number in 32 bits."""
_RANDOM_SEEDS = ("evaluation.seed",)

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
    hints = _hints(type(node))
    replaced = {}
    for item in dataclasses.fields(node):
        name, value = prefix + item.name, getattr(node, item.name)
        if dataclasses.is_dataclass(value):
            replaced[item.name] = _override(value, changes, _inside(item, prefix))
        elif name in changes:
            replaced[item.name] = _checked(name, hints[item.name], changes[name])
    return dataclasses.replace(node, **replaced)


_hints: Callable[[Any], dict[str, Any]] = functools.cache(typing.get_type_hints)
"""A recipe of many runs asks thousands of times."""


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


def check_numbers(settings: Any, prefix: str = "") -> None:
    """Raise ConfigError, by its dotted name, for a number in a tree of dataclasses that a program cannot hold."""
    for item in dataclasses.fields(settings):
        value, name = getattr(settings, item.name), prefix + item.name
        if dataclasses.is_dataclass(value):
            check_numbers(value, f"{name}.")
        elif name in _RANDOM_SEEDS:
            check_random_seed(name, value)
        elif isinstance(value, Integral):
            require(
                abs(int(value)) <= LARGEST,
                f"{name} must be at most {LARGEST}, not {_shown(value)}",
            )
        elif isinstance(value, Real):
            require(
                math.isfinite(value) and abs(float(value)) <= LARGEST_FLOAT,
                f"{name} must be a finite number of 32 bits, not {value}",
            )
    if hasattr(settings, "first_seed"):
        _check_seeds(settings.first_seed, settings.seeds)


def _check_seeds(first: int, count: int) -> None:
    """Raise ConfigError unless `count` seeds from `first` on are numbers from 0 to `LARGEST`."""
    require(first >= 0, "first_seed must not be negative")
    require(
        first + count - 1 <= LARGEST,
        f"the last of {count} seeds from first_seed {first} on is above {LARGEST}, the largest; "
        f"let first_seed be at most {LARGEST - count + 1}",
    )


def check_random_seed(name: str, seed: int) -> None:
    """Raise ConfigError for a random seed of episodes that is not one of 32 bits."""
    require(
        0 <= seed <= LARGEST_RANDOM_SEED,
        f"{name} must be from 0 to {LARGEST_RANDOM_SEED}, not {_shown(seed)}",
    )


def _shown(number: Any) -> str:
    """Python refuses to print a number of very many digits."""
    return str(number) if abs(number) < 10**30 else "a number of over thirty digits"
