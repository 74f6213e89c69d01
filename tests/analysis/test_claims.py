"""What becomes of a claim, by final returns made so that the answer is known."""

from __future__ import annotations

import json

import numpy as np
import pytest

from purejax_mgtopo.analysis.claims import Judgement, StatedClaim, judge, parse_claims
from purejax_mgtopo.analysis.statistics import improvement_interval
from purejax_mgtopo.errors import ConfigError

HOLDS, FAILS, OPEN, ABSENT = Judgement
METHODS = ("none", "full", "meta", "stgs")
RNG = np.random.default_rng(7)


def returns(*levels: float, seeds: int = 8) -> dict[str, np.ndarray]:
    """Final returns around a level for each method; a tenth of noise."""
    return {m: x + 0.1 * RNG.normal(size=seeds) for m, x in zip(METHODS, levels, strict=True)}


RANKED = returns(1, 2, 3, 4)  # none < full < meta < stgs, each surely
LEVEL = returns(1, 1, 1, 1)
CLOSE = returns(1, 3, 3, 4)  # full and meta cannot be told apart
FINALS = {"ranked": RANKED, "level": LEVEL, "close": CLOSE}


def on(task: str, **words: object) -> Judgement:
    claim = StatedClaim("so", tasks=(task,), **words)  # type: ignore[arg-type]
    verdict = judge(claim, FINALS, METHODS)
    assert verdict.judgement is verdict.evidence[0].judgement or claim.nobody_leads
    return verdict.judgement


@pytest.mark.parametrize(
    ("task", "method", "beats", "expected"),
    [
        ("ranked", "meta", ("none", "full"), HOLDS),
        ("ranked", "meta", ("stgs",), FAILS),
        ("ranked", "meta", ("none", "stgs"), FAILS),
        ("close", "meta", ("none",), HOLDS),
        ("close", "meta", ("none", "full"), OPEN),
        ("close", "meta", ("full", "stgs"), FAILS),
        ("level", "meta", ("none",), OPEN),
    ],
)
def test_better_than_others(task: str, method: str, beats: tuple, expected: Judgement) -> None:
    assert on(task, method=method, beats=beats) is expected


@pytest.mark.parametrize(
    ("task", "method", "top", "bottom"),
    [
        ("ranked", "stgs", (HOLDS, HOLDS, HOLDS), (FAILS, FAILS, FAILS)),
        ("ranked", "meta", (FAILS, HOLDS, HOLDS), (FAILS, FAILS, HOLDS)),
        ("ranked", "full", (FAILS, FAILS, HOLDS), (FAILS, HOLDS, HOLDS)),
        ("ranked", "none", (FAILS, FAILS, FAILS), (HOLDS, HOLDS, HOLDS)),
        ("close", "meta", (FAILS, OPEN, HOLDS), (FAILS, OPEN, HOLDS)),
        ("level", "meta", (OPEN, OPEN, OPEN), (OPEN, OPEN, OPEN)),
    ],
)
def test_among_the_best_and_the_worst(task: str, method: str, top: tuple, bottom: tuple) -> None:
    assert tuple(on(task, method=method, top=k) for k in (1, 2, 3)) == top
    assert tuple(on(task, method=method, bottom=k) for k in (1, 2, 3)) == bottom


def test_the_chances_are_those_of_the_seeds() -> None:
    verdict = judge(
        StatedClaim("so", "meta", beats=("full", "stgs"), tasks=("close",)), FINALS, METHODS
    )
    (told,) = verdict.evidence
    assert dict(told.chances) == {
        name: improvement_interval(CLOSE["meta"], CLOSE[name]) for name in ("full", "stgs")
    }
    chance = dict(told.chances)["full"]
    assert told.words("meta") == (
        f"close: does not hold (meta ahead of full {chance.point:.2f} [{chance.low:.2f}, "
        f"{chance.high:.2f}], stgs 0.00 [0.00, 0.00])"
    )


def test_over_tasks_one_failure_is_enough_and_one_success_is_not() -> None:
    def over(*tasks: str) -> Judgement:
        claim = StatedClaim("so", "full", beats=("none",), tasks=tasks)
        return judge(claim, {**FINALS, "turned": returns(4, 3, 2, 1)}, METHODS).judgement

    assert over("ranked", "close") is HOLDS
    assert over("ranked", "level") is OPEN
    assert over("ranked", "level", "turned") is FAILS
    assert over("ranked", "missing") is OPEN
    assert over("missing", "missing_too") is ABSENT
    assert over("turned", "missing") is FAILS


def test_few_seeds_show_nothing() -> None:
    """All seven seeds ahead of all eight is [1, 1] by the bootstrap, and yet too little."""
    finals = {"task": {**RANKED, "meta": RANKED["meta"][:7]}}
    claim = StatedClaim("so", "meta", beats=("none",), tasks=("task",))
    assert judge(claim, finals, METHODS).judgement is OPEN
    assert dict(judge(claim, finals, METHODS).evidence[0].chances)["none"].low == 1


def test_a_rank_needs_every_rival_and_a_comparison_its_own() -> None:
    finals = {"task": {name: RANKED[name] for name in ("full", "meta")}}
    assert (
        judge(StatedClaim("so", "meta", top=1, tasks=("task",)), finals, METHODS).judgement
        is ABSENT
    )
    beats = StatedClaim("so", "meta", beats=("full",), tasks=("task",))
    assert judge(beats, finals, METHODS).judgement is HOLDS
    nobody = {"task": {**RANKED, "stgs": np.empty(0)}}
    assert (
        judge(StatedClaim("so", "meta", top=1, tasks=("task",)), nobody, METHODS).judgement
        is ABSENT
    )


def test_nobody_leads() -> None:
    def told(*each: dict[str, np.ndarray]) -> Judgement:
        finals = {f"task{n}": one for n, one in enumerate(each)}
        claim = StatedClaim("so", nobody_leads=True, tasks=(*finals, "other")[: len(each) or 1])
        return judge(claim, finals, METHODS).judgement

    assert told(RANKED, returns(4, 3, 2, 1)) is HOLDS
    assert told(RANKED, returns(1, 2, 3, 5)) is FAILS  # stgs leads on both
    assert told(RANKED, LEVEL) is OPEN  # stgs may lead on both
    assert told(returns(1, 2, 4, 4), returns(1, 2, 4, 4)) is OPEN
    assert told(returns(1, 2, 4, 4), returns(4, 4, 1, 2)) is HOLDS
    assert told() is ABSENT


def test_who_leads_here_may_not_lead_where_nothing_was_run() -> None:
    claim = StatedClaim("so", nobody_leads=True, tasks=("missing", "ranked"))
    verdict = judge(claim, FINALS, METHODS)
    assert verdict.judgement is OPEN
    assert [one.words("") for one in verdict.evidence] == [
        "missing: not run",
        "ranked: not surely beaten: stgs",
    ]


def test_a_claim_goes_through_json() -> None:
    tables = [
        {"says": "it talks", "method": "meta", "beats": ["none", "meta, hidden=64"]},
        {"says": "it is the worst", "method": "full", "bottom": 2, "tasks": ["a"]},
        {"says": "no one", "nobody_leads": True},
    ]
    claims = parse_claims(tables, ("a", "b"), METHODS)
    assert claims[0] == StatedClaim(
        "it talks", "meta", beats=("none", "meta, hidden=64"), tasks=("a", "b")
    )
    assert claims[1] == StatedClaim("it is the worst", "full", bottom=2, tasks=("a",))
    assert claims[2] == StatedClaim("no one", nobody_leads=True, tasks=("a", "b"))
    documents = json.loads(json.dumps([claim.document() for claim in claims]))
    assert parse_claims(documents, ("a", "b"), METHODS) == claims


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"method": "meta", "top": 1}, "claim 1: says must be the claim as a sentence"),
        ({"says": 3, "method": "meta", "top": 1}, "says must be a string, not 3"),
        ({"says": "x", "method": "mta", "top": 1}, "method: unknown method 'mta'.*'meta'"),
        ({"says": "x", "method": "meta"}, "say one of beats, top, bottom and nobody_leads"),
        ({"says": "x", "method": "meta", "top": 1, "bottom": 1}, "say one of beats"),
        ({"says": "x", "method": "meta", "top": 0}, "top must be a whole number from 1, not 0"),
        ({"says": "x", "method": "meta", "top": True}, "top must be a whole number"),
        ({"says": "x", "method": "meta", "beats": "none"}, "beats must be a list of names"),
        ({"says": "x", "method": "meta", "beats": []}, "beats must be a list of names"),
        ({"says": "x", "method": "meta", "beats": ["meta"]}, "meta cannot beat itself"),
        ({"says": "x", "method": "meta", "beats": ["nobody"]}, "beats: unknown method 'nobody'"),
        ({"says": "x", "method": "meta", "top": 1, "tasks": ["c"]}, "tasks: unknown task 'c'"),
        ({"says": "x", "top": 1}, "say whom it is about by method"),
        ({"says": "x", "method": "meta", "nobody_leads": True}, "say whom it is about by method"),
        ({"says": "x", "nobody_leads": "yes"}, "nobody_leads = true"),
        ({"says": "x", "method": "meta", "best": 1}, "unknown key 'best'"),
    ],
)
def test_a_claim_that_makes_no_sense_is_refused(table: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_claims([table], ("a", "b"), METHODS)
    with pytest.raises(ConfigError, match="each beginning with"):
        parse_claims(table, ("a", "b"), METHODS)
