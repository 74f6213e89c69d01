"""What this package raises for its users: each message is one line that says what to do."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class ConfigError(ValueError):
    """A configuration that cannot run."""


class RunError(RuntimeError):
    """A run that cannot start or go on."""


def require(holds: bool, message: str) -> None:
    """Raise ConfigError with `message` unless it holds."""
    if not holds:
        raise ConfigError(message)


def unknown_name(kind: str, name: str, known: Iterable[str]) -> ConfigError:
    """The error for a name that does not exist, with the nearest one that does."""
    known = list(known)
    near = get_close_matches(name, known, n=1, cutoff=0.0)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    # A line stays a line: some sixty settings would bury the hint.
    others = f" (known: {', '.join(known)})" if len(known) <= 12 else ""
    return ConfigError(f"unknown {kind} {name!r}{hint}{others}")
