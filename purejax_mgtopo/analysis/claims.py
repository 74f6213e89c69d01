"""Claims that a sweep sets out to test, and whether its results bear them out.

A recipe states them beside its runs:

    [[claim]]
    says = "Full communication is among the worst on push_N3"
    method = "full"
    bottom = 2                 # or top = 2, or beats = ["none", "meta"]
    tasks = ["push_N3"]        # by default all of the recipe's
    [[claim]]
    says = "No method is the best on all tasks"
    nobody_leads = true

One method is *surely* ahead of another on a task where the 95 % interval of the probability that a seed of it beats
one of the other's (see `statistics.improvement_interval`) excludes one half, with at least `statistics.FEW` seeds on
both sides. A claim holds on a task where everything that it says of pairs is surely so, and does not hold where
something is surely otherwise; else it cannot be told.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any

from numpy.typing import NDArray

from purejax_mgtopo.analysis.statistics import FEW, Interval, improvement_interval
from purejax_mgtopo.errors import ConfigError, unknown_name

Finals = Mapping[str, Mapping[str, NDArray]]
"""Final returns [S] of finite seeds, by task and by what the sweep calls the method."""


class Judgement(StrEnum):
    """What can be said of a claim."""

    HOLDS = "holds"
    FAILS = "does not hold"
    OPEN = "cannot be told"
    ABSENT = "not run"


@dataclass(frozen=True)
class StatedClaim:
    """What is claimed of one method, or (`nobody_leads`) of all."""

    says: str
    method: str = ""
    beats: tuple[str, ...] = ()
    """Methods that it is better than."""
    top: int = 0
    """It is among this many of the best."""
    bottom: int = 0
    """It is among this many of the worst."""
    nobody_leads: bool = False
    """None of the methods is the best on all of the tasks."""
    tasks: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        """The claim as JSON or TOML holds it."""
        return {name: value for name, value in asdict(self).items() if value}


@dataclass(frozen=True)
class Evidence:
    """What one task says of a claim."""

    task: str
    judgement: Judgement
    chances: tuple[tuple[str, Interval], ...] = ()
    """Rivals, with the probability that a seed of the claim's method beats one of theirs."""
    unbeaten: tuple[str, ...] = ()
    """Methods that no other one is surely ahead of, where the claim is of all."""

    def words(self, method: str) -> str:
        """The evidence as one line; `method` is the claim's."""
        told = ", ".join(f"{rival} {_chance(chance)}" for rival, chance in self.chances)
        told = f"{method} ahead of {told}" if told else ""
        if self.unbeaten:
            return f"{self.task}: not surely beaten: {', '.join(self.unbeaten)}"
        return f"{self.task}: {self.judgement}" + f" ({told})" * bool(told)


@dataclass(frozen=True)
class Verdict:
    """A claim with what has become of it, task by task."""

    claim: StatedClaim
    judgement: Judgement
    evidence: tuple[Evidence, ...]


def parse_claims(
    tables: Any, tasks: Collection[str], methods: Collection[str]
) -> tuple[StatedClaim, ...]:
    """Claims from parsed TOML or JSON, about a sweep of these tasks and methods.

    Raises ConfigError, in one line that names the claim by its number.
    """
    if not (isinstance(tables, list) and all(isinstance(table, dict) for table in tables)):
        raise ConfigError("claims are tables, each beginning with [[claim]]")
    return tuple(_parse(table, f"claim {n}", tasks, methods) for n, table in enumerate(tables, 1))


def _parse(
    table: Mapping[str, Any], where: str, tasks: Collection[str], methods: Collection[str]
) -> StatedClaim:
    names = [field.name for field in fields(StatedClaim)]
    for key in table:
        if key not in names:
            raise ConfigError(f"{where}: {unknown_name('key', key, names)}")
    given = {"tasks": list(tasks), **table}
    for key in ("says", "method"):
        if not isinstance(given.get(key, ""), str):
            raise ConfigError(f"{where}: {key} must be a string, not {given[key]!r}")
    for key in ("top", "bottom"):
        if type(given.get(key, 1)) is not int or given.get(key, 1) < 1:
            raise ConfigError(f"{where}: {key} must be a whole number from 1, not {given[key]!r}")
    for key, known in (("tasks", tasks), ("beats", methods)):
        found = given.get(key, [""])
        if not (isinstance(found, list) and found and all(isinstance(x, str) for x in found)):
            raise ConfigError(f"{where}: {key} must be a list of names, not {found!r}")
        for name in given.get(key, []):
            _known(name, key, known, where)
    if not given.get("says"):
        raise ConfigError(f"{where}: says must be the claim as a sentence")
    kinds = [key for key in ("beats", "top", "bottom", "nobody_leads") if given.get(key)]
    if len(kinds) != 1 or given.get("nobody_leads", True) is not True:
        raise ConfigError(f"{where}: say one of beats, top, bottom and nobody_leads = true")
    if (kinds == ["nobody_leads"]) == bool(given.get("method")):
        raise ConfigError(f"{where}: say whom it is about by method, unless nobody leads")
    if given.get("method"):
        _known(given["method"], "method", methods, where)
    if given.get("method", "") in given.get("beats", []):
        raise ConfigError(f"{where}: {given['method']} cannot beat itself")
    settled: dict[str, Any] = {
        key: tuple(x) if isinstance(x, list) else x for key, x in given.items()
    }
    return StatedClaim(**settled)


def _known(name: str, key: str, known: Collection[str], where: str) -> None:
    """Raise ConfigError for a task or method that the sweep does not have, with or without values of settings."""
    if name.partition(", ")[0] not in known:
        kind = "task" if key == "tasks" else "method"
        raise ConfigError(f"{where}: {key}: {unknown_name(kind, name, list(known))}")


def judge(claim: StatedClaim, finals: Finals, methods: Sequence[str]) -> Verdict:
    """Hold `claim` against final returns; `methods` are all that its sweep compares.

    A task where the claim's method, or one that it is compared with, has no finite seed is "not run". Over several
    tasks a claim holds where it holds on each, and does not where it fails on one.
    """
    if claim.nobody_leads:
        return _nobody(claim, finals, methods)
    evidence = tuple(_on(task, claim, finals.get(task, {}), methods) for task in claim.tasks)
    return Verdict(claim, _together([one.judgement for one in evidence]), evidence)


def _together(judgements: Sequence[Judgement]) -> Judgement:
    for judgement in (Judgement.FAILS, Judgement.HOLDS, Judgement.ABSENT):
        decisive = any if judgement is Judgement.FAILS else all
        if decisive(one is judgement for one in judgements):
            return judgement
    return Judgement.OPEN


def _on(
    task: str, claim: StatedClaim, finals: Mapping[str, NDArray], methods: Sequence[str]
) -> Evidence:
    rivals = claim.beats or tuple(name for name in methods if name != claim.method)
    if not all(len(finals.get(name, ())) for name in (claim.method, *rivals)):
        return Evidence(task, Judgement.ABSENT)
    chances = {rival: _ahead(finals[claim.method], finals[rival]) for rival in rivals}
    better = sum(_sure(chance) > 0 for chance in chances.values())
    worse = sum(_sure(chance) < 0 for chance in chances.values())
    if claim.beats:
        holds, fails = better == len(rivals), worse > 0
    elif claim.top:  # so many are behind, or so many ahead, that no other order is left
        holds, fails = better > len(rivals) - claim.top, worse >= claim.top
    else:
        holds, fails = worse > len(rivals) - claim.bottom, better >= claim.bottom
    judgement = Judgement.HOLDS if holds else Judgement.FAILS if fails else Judgement.OPEN
    told = tuple((rival, chance.interval) for rival, chance in chances.items())
    return Evidence(task, judgement, told)


def _nobody(claim: StatedClaim, finals: Finals, methods: Sequence[str]) -> Verdict:
    """Some method leads everywhere, or each is surely beaten somewhere."""
    evidence = []
    everywhere, sole = set(methods), set(methods)
    for task in claim.tasks:
        own = finals.get(task, {})
        if not all(len(own.get(name, ())) for name in methods):
            evidence.append(Evidence(task, Judgement.ABSENT))
            sole = set()  # who leads on the others may not lead here
            continue
        lost = {x for x in methods for y in methods if x != y and _sure(_ahead(own[x], own[y])) < 0}
        unbeaten = tuple(name for name in methods if name not in lost)
        everywhere -= lost
        sole &= set(unbeaten) if len(unbeaten) == 1 else set()
        evidence.append(Evidence(task, Judgement.OPEN, unbeaten=unbeaten))
    if all(one.judgement is Judgement.ABSENT for one in evidence):
        return Verdict(claim, Judgement.ABSENT, tuple(evidence))
    judgement = Judgement.FAILS if sole else Judgement.OPEN if everywhere else Judgement.HOLDS
    return Verdict(claim, judgement, tuple(evidence))


@dataclass(frozen=True)
class _Chance:
    interval: Interval
    seeds: int


def _ahead(ours: NDArray, theirs: NDArray) -> _Chance:
    return _Chance(improvement_interval(ours, theirs), min(len(ours), len(theirs)))


def _sure(chance: _Chance) -> int:
    """1 where surely ahead, -1 where surely behind, else 0."""
    if chance.seeds < FEW:
        return 0
    return int(chance.interval.low > 0.5) - int(chance.interval.high < 0.5)


def _chance(chance: Interval) -> str:
    return f"{chance.point:.2f} [{chance.low:.2f}, {chance.high:.2f}]"
