"""Whether results bear a claim out.

One method is *surely* ahead of another on a task where the 95 % interval of the probability that a seed of it beats
one of the other's (see `statistics.improvement_interval`) excludes one half, with at least `statistics.FEW` seeds on
both sides. A claim holds on a task where everything that it says of pairs is surely so, and does not hold where
something is surely otherwise; else it cannot be told, or there is no evidence as runs are missing. Each interval stands
for itself: of twenty pairs that are equal, one may look sure.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from purejax_mgtopo.analysis.claims import StatedClaim
from purejax_mgtopo.analysis.statistics import (
    FEW,
    Interval,
    improvement_interval,
    interquartile_mean,
)


class Judgement(StrEnum):
    """What can be said of a claim."""

    HOLDS = "holds"
    FAILS = "does not hold"
    OPEN = "cannot be told"
    ABSENT = "no evidence"


@dataclass(frozen=True)
class TaskResults:
    """What a sweep's runs of one task have come to."""

    task: str
    words: dict[str, str] = field(default_factory=dict)
    """The recipe's word for the method of each run, by the run's own name: ``meta`` of ``meta, hidden=64``."""
    finals: dict[str, NDArray] = field(default_factory=dict)
    """Final returns [S] of finite seeds, by the names of finished runs."""
    missing: dict[str, str] = field(default_factory=dict)
    """Why the others tell nothing."""

    def why(self, name: str) -> str:
        """Why a run tells nothing, as ``meta not finished``."""
        return f"{name} {self.missing.get(name, 'not run')}"


@dataclass(frozen=True)
class Evidence:
    """What one task says of a claim, for one choice of values where settings take several."""

    case: str
    """The task, with those values."""
    judgement: Judgement | None
    """None where a claim is of all tasks together."""
    method: str = ""
    chances: tuple[tuple[str, Interval], ...] = ()
    """Rivals, with the probability that a seed of `method` beats one of theirs."""
    missing: tuple[str, ...] = ()
    """Runs that tell nothing, and why."""
    unbeaten: tuple[str, ...] | None = None
    """Methods that no other one is surely ahead of, where a claim is of all."""

    def words(self) -> str:
        """The evidence as one line."""
        told = []
        if self.chances:
            rivals = ", ".join(f"{rival} {_shown(chance)}" for rival, chance in self.chances)
            told.append(f"{self.method} ahead of {rivals}")
        if self.unbeaten is not None:
            told.append(f"not surely beaten: {'; '.join(self.unbeaten) or 'nobody'}")
        told += self.missing
        if self.judgement is None:
            return f"{self.case}: {'; '.join(told)}"
        return f"{self.case}: {self.judgement}" + f" ({'; '.join(told)})" * bool(told)


@dataclass(frozen=True)
class Verdict:
    """A claim with what has become of it, case by case."""

    claim: StatedClaim
    judgement: Judgement
    evidence: tuple[Evidence, ...]

    def words(self) -> str:
        """The judgement, and over several tasks what it comes from."""
        judged = [one.judgement for one in self.evidence if one.judgement is not None]
        if len(judged) < 2:
            return str(self.judgement)
        share = "" if self.claim.on == "all" else f"on {self.claim.on}: "
        kinds = [f"{judged.count(kind)} {kind}" for kind in Judgement if kind in judged]
        return f"{self.judgement} ({share}{', '.join(kinds)})"


def judge(claim: StatedClaim, results: Mapping[str, TaskResults]) -> Verdict:
    """Hold `claim` against results, by task."""
    if claim.nobody_leads:
        return _nobody(claim, results)
    evidence = tuple(
        _judged(claim, results[task], *case)
        for task in claim.tasks
        for case in _cases(claim, results[task])
    )
    return Verdict(claim, together([one.judgement for one in evidence], claim.on), evidence)


def together(judgements: Sequence[Judgement | None], on: str) -> Judgement:
    """One judgement of several tasks: a claim has to hold on all of them, on most (more than half), or on some."""
    holds, fails = judgements.count(Judgement.HOLDS), judgements.count(Judgement.FAILS)
    asked = {"all": len(judgements), "most": len(judgements) // 2 + 1, "some": 1}[on]
    if holds >= asked:
        return Judgement.HOLDS
    if fails > len(judgements) - asked:  # so many cannot hold any more
        return Judgement.FAILS
    nothing = judgements.count(Judgement.ABSENT) == len(judgements)
    return Judgement.ABSENT if nothing else Judgement.OPEN


def _cases(claim: StatedClaim, results: TaskResults) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Case, method and rivals: once, or for each choice of values where a word stands for several runs.

    A run without such values is compared in each of the cases; runs of words that have values of other settings each
    with each.
    """
    words = list(dict.fromkeys(results.words.values()))
    exact = claim.method in results.words and results.words[claim.method] != claim.method
    rivals = claim.beats or tuple(
        name for name in (results.words if exact else words) if name != claim.method
    )
    involved = {claim.method, *rivals} - set(results.words)  # words that are no run's own name
    values: dict[tuple[str, ...], dict[str, None]] = {}  # by the settings that they are of
    for name, word in results.words.items():
        if word in involved:
            value = name.removeprefix(f"{word}, ")
            settings = tuple(part.partition("=")[0] for part in value.split(", "))
            values.setdefault(settings, {})[value] = None
    for chosen in itertools.product(*values.values()):
        case = ", ".join([results.task, *chosen])

        def own(name: str, chosen: Sequence[str] = chosen) -> str:
            known = [x for value in chosen if (x := f"{name}, {value}") in results.words]
            return known[0] if known else name

        yield case, own(claim.method), tuple(own(rival) for rival in rivals)


def _judged(
    claim: StatedClaim, results: TaskResults, case: str, method: str, rivals: Sequence[str]
) -> Evidence:
    finals = results.finals
    missing = tuple(results.why(name) for name in (method, *rivals) if name not in finals)
    if method not in finals or not rivals:  # of one alone any rank would hold
        return Evidence(case, Judgement.ABSENT, method, missing=missing)
    found = {rival: ahead(finals, method, rival) for rival in rivals if rival in finals}
    better = sum(_sure(finals, method, rival, chance) > 0 for rival, chance in found.items())
    worse = sum(_sure(finals, method, rival, chance) < 0 for rival, chance in found.items())
    if claim.beats:
        holds, fails = better == len(rivals), worse > 0
    elif claim.top:  # so many are behind, or so many ahead, that no other order is left
        holds, fails = better > len(rivals) - claim.top, worse >= claim.top
    else:
        holds, fails = worse > len(rivals) - claim.bottom, better >= claim.bottom
    undecided = Judgement.ABSENT if missing else Judgement.OPEN
    judgement = Judgement.HOLDS if holds else Judgement.FAILS if fails else undecided
    return Evidence(case, judgement, method, tuple(found.items()), missing)


def _nobody(claim: StatedClaim, results: Mapping[str, TaskResults]) -> Verdict:
    """Some method leads everywhere, or each is surely beaten somewhere; by the recipe's words for them."""
    evidence = []
    words = {word for task in claim.tasks for word in results[task].words.values()}
    unbeaten_everywhere, sole = set(words), set(words)
    known = 0
    for own in (results[task] for task in claim.tasks):
        for case, _, names in _cases(claim, own):
            finals = {name: own.finals[name] for name in names if name in own.finals}
            missing = tuple(own.why(name) for name in names if name not in finals)
            lost = {
                x
                for x in finals
                for y in finals
                if x != y and _sure(finals, x, y, ahead(finals, x, y)) < 0
            }
            unbeaten = tuple(name for name in finals if name not in lost)
            unbeaten_everywhere -= {own.words[name] for name in lost}
            alone = {own.words[name] for name in unbeaten} if len(unbeaten) == 1 else set()
            sole &= set() if missing else alone  # who leads on the others may not lead here
            known += len(finals) > 1
            evidence.append(Evidence(case, None, missing=missing, unbeaten=unbeaten))
    if not known:
        return Verdict(claim, Judgement.ABSENT, tuple(evidence))
    leads = Judgement.FAILS if sole else Judgement.OPEN
    return Verdict(claim, leads if unbeaten_everywhere else Judgement.HOLDS, tuple(evidence))


def ahead(finals: Mapping[str, NDArray], one: str, other: str) -> Interval:
    """The probability that a seed of `one` beats one of `other`.

    Of a pair it is drawn once, by the one that ends higher: who is named first must not decide.
    """
    order = sorted((one, other), key=lambda name: (-float(interquartile_mean(finals[name])), name))
    chance = improvement_interval(finals[order[0]], finals[order[1]])
    if order[0] == one:
        return chance
    return Interval(1 - chance.point, 1 - chance.high, 1 - chance.low)


def _sure(finals: Mapping[str, NDArray], one: str, other: str, chance: Interval) -> int:
    """1 where surely ahead, -1 where surely behind, else 0."""
    if min(np.size(finals[one]), np.size(finals[other])) < FEW:
        return 0
    return int(chance.low > 0.5) - int(chance.high < 0.5)


def _shown(chance: Interval) -> str:
    if math.isnan(chance.low):  # of a single seed
        return f"{chance.point:.2f}"
    return f"{chance.point:.2f} [{chance.low:.2f}, {chance.high:.2f}]"
