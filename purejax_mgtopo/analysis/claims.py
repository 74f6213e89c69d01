"""Claims that a sweep sets out to test, as its recipe states them beside its runs.

    [[claim]]
    says = "Full communication is among the worst on push_N3"
    method = "full"
    bottom = 2                 # or top = 2, or beats = ["none", "meta"]
    tasks = ["push_N3"]        # by default all of the recipe's
    on = "all"                 # of these tasks; or "most", or "some"
    [[claim]]
    says = "No method is the best on all tasks"
    nobody_leads = true

What becomes of them is `judging`'s.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from purejax_mgtopo.errors import ConfigError, unknown_name

ON = ("all", "most", "some")


@dataclass(frozen=True)
class StatedClaim:
    """What is claimed of one method, or (`nobody_leads`) of all."""

    says: str
    method: str = ""
    """A recipe's word for a method, for all values of its settings, or a run's own name: ``meta, hidden=64``."""
    beats: tuple[str, ...] = ()
    """Methods that it is better than."""
    top: int = 0
    """It is among this many of the best."""
    bottom: int = 0
    """It is among this many of the worst."""
    nobody_leads: bool = False
    """None of the methods is the best on all of the tasks."""
    tasks: tuple[str, ...] = ()
    on: str = "all"
    """On which share of the tasks it has to hold."""

    def document(self) -> dict[str, Any]:
        """The claim as JSON or TOML holds it."""
        told = {name: value for name, value in asdict(self).items() if value}
        return {name: [*x] if isinstance(x, tuple) else x for name, x in told.items()}


def parse_claims(
    tables: Any, tasks: Collection[str], words: Collection[str]
) -> tuple[StatedClaim, ...]:
    """Claims from parsed TOML or JSON, about a sweep of these tasks and of methods by these words of its recipe.

    A word may be followed by any values, as in ``meta, hidden=64``: see `check_runs`.
    Raises ConfigError, in one line that names the claim by its number.
    """
    if not (isinstance(tables, list) and all(isinstance(table, dict) for table in tables)):
        raise ConfigError("claims are tables, each beginning with [[claim]]")
    return tuple(_parse(table, f"claim {n}", tasks, words) for n, table in enumerate(tables, 1))


def check_runs(
    claims: Iterable[StatedClaim], words: Collection[str], names: Collection[str]
) -> None:
    """Raise ConfigError for a claim about values that none of the recipe's own runs has, or a rank that none can have.

    It is for a recipe as it stands: a change of its settings may do away with values that a claim names, which is no
    fault of the claim.

    Args:
        words: the recipe's for its methods.
        names: its runs', of one task or of all.
    """
    for n, claim in enumerate(claims, 1):
        known = list(dict.fromkeys([*words, *names]))
        for key, named in (("method", (claim.method,)), ("beats", claim.beats)):
            for name in filter(None, named):
                if name not in known:
                    raise ConfigError(f"claim {n}: {key}: {unknown_name('method', name, known)}")
        rank, among = claim.top or claim.bottom, len(set(names))
        if claim.method not in words and rank >= among:
            key = "top" if claim.top else "bottom"
            raise ConfigError(f"claim {n}: {key} must be less than the {among} runs, not {rank}")


def _parse(
    table: Mapping[str, Any], where: str, tasks: Collection[str], words: Collection[str]
) -> StatedClaim:
    known = [field.name for field in fields(StatedClaim)]
    for key in table:
        if key not in known:
            raise ConfigError(f"{where}: {unknown_name('key', key, known)}")
    given = {"tasks": list(tasks), **table}
    for key in ("says", "method"):
        if not isinstance(given.get(key, ""), str):
            raise ConfigError(f"{where}: {key} must be a string, not {given[key]!r}")
    if not given.get("says"):
        raise ConfigError(f"{where}: says must be the claim as a sentence")
    if given.get("on", "all") not in ON:
        raise ConfigError(f"{where}: on must be one of {', '.join(ON)}, not {given['on']!r}")
    for key in ("tasks", "beats"):
        _check_list(given.get(key, [""]), f"{where}: {key}")
    method = given.get("method", "")
    for key in [key for key in ("top", "bottom") if key in given]:
        _check_rank(given[key], len(words) if method in words else None, f"{where}: {key}")
    kinds = [key for key in ("beats", "top", "bottom", "nobody_leads") if given.get(key)]
    if len(kinds) != 1 or given.get("nobody_leads", True) is not True:
        raise ConfigError(f"{where}: say one of beats, top, bottom and nobody_leads = true")
    if (kinds == ["nobody_leads"]) == bool(method):
        raise ConfigError(f"{where}: say whom it is about by method, unless nobody leads")
    for name in given["tasks"]:
        if name not in tasks:
            raise ConfigError(f"{where}: tasks: {unknown_name('task', name, list(tasks))}")
    for key, named in (("method", [method] if method else []), ("beats", given.get("beats", []))):
        for name in named:
            if name not in words and name.partition(", ")[0] not in words:
                raise ConfigError(f"{where}: {key}: {unknown_name('method', name, list(words))}")
    if method in given.get("beats", []):
        raise ConfigError(f"{where}: {method} cannot beat itself")
    settled: dict[str, Any] = {
        key: tuple(x) if isinstance(x, list) else x for key, x in given.items()
    }
    return StatedClaim(**settled)


def _check_rank(rank: Any, among: int | None, where: str) -> None:
    """Raise ConfigError for what is no rank among so many; how many values a word has, is not known yet."""
    if among == 1:
        raise ConfigError(f"{where} says nothing of a single method")
    if type(rank) is not int or rank < 1 or (among is not None and rank >= among):
        most = f", less than the {among} methods" if among is not None else ""
        raise ConfigError(f"{where} must be a whole number from 1{most}, not {rank!r}")


def _check_list(found: Any, where: str) -> None:
    """Raise ConfigError for what is no list of different names."""
    if not (isinstance(found, list) and found and all(isinstance(x, str) for x in found)):
        raise ConfigError(f"{where} must be a list of names, not {found!r}")
    repeated = [name for name, times in Counter(found).items() if times > 1]
    if repeated:
        raise ConfigError(f"{where} lists {repeated[0]!r} more than once")
