"""How claims are stated, and which are refused."""

from __future__ import annotations

import json

import pytest

from purejax_mgtopo.analysis.claims import StatedClaim, check_runs, parse_claims
from purejax_mgtopo.errors import ConfigError

METHODS = ("none", "full", "meta", "stgs")


def test_a_claim_goes_through_json() -> None:
    tables = [
        {"says": "it talks", "method": "meta", "beats": ["none", "meta, hidden=64"]},
        {"says": "it is the worst", "method": "full", "bottom": 2, "tasks": ["a"], "on": "some"},
        {"says": "no one", "nobody_leads": True},
    ]
    claims = parse_claims(tables, ("a", "b"), METHODS)
    beats = ("none", "meta, hidden=64")
    assert claims[0] == StatedClaim("it talks", "meta", beats=beats, tasks=("a", "b"))
    worst = StatedClaim("it is the worst", "full", bottom=2, tasks=("a",), on="some")
    assert claims[1] == worst
    assert claims[2] == StatedClaim("no one", nobody_leads=True, tasks=("a", "b"))
    documents = json.loads(json.dumps([claim.document() for claim in claims]))
    assert parse_claims(documents, ("a", "b"), METHODS) == claims


def test_values_that_no_run_has_are_refused_once_the_runs_are_known() -> None:
    table = {"says": "so", "method": "meta, hiden=64", "beats": ["none"]}
    known = parse_claims([{**table, "method": "meta"}], ("a",), METHODS)
    claims = (*known, *parse_claims([table], ("a",), METHODS))
    check_runs(known, METHODS, (*METHODS, "meta, hidden=64"))
    with pytest.raises(ConfigError, match="claim 2: method: .*did you mean 'meta, hidden=64'"):
        check_runs(claims, METHODS, (*METHODS, "meta, hidden=64"))
    rival = parse_claims(
        [{"says": "so", "method": "none", "beats": ["meta, hiden=64"]}], ("a",), METHODS
    )
    with pytest.raises(ConfigError, match="claim 1: beats: .*did you mean 'meta, hidden=64'"):
        check_runs(rival, METHODS, (*METHODS, "meta, hidden=64"))


def test_there_is_no_rank_among_one() -> None:
    """Nor among values of one method, where as many are named as there are."""
    for key in ("top", "bottom"):
        with pytest.raises(ConfigError, match=f"claim 1: {key} says nothing of a single method"):
            parse_claims([{"says": "so", "method": "meta", key: 1}], ("a",), ("meta",))
        claims = parse_claims([{"says": "so", "method": "meta, x=1", key: 2}], ("a",), ("meta",))
        check_runs(claims, ("meta",), ("meta, x=1", "meta, x=2", "meta, x=3"))
        with pytest.raises(ConfigError, match=f"{key} must be less than the 2 runs, not 2"):
            check_runs(claims, ("meta",), ("meta, x=1", "meta, x=2"))


def test_a_word_may_hold_a_comma() -> None:
    (claim,) = parse_claims([{"says": "so", "method": "a, b", "top": 1}], ("t",), ("a, b", "c"))
    assert claim.method == "a, b"


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"method": "meta", "top": 1}, "claim 1: says must be the claim as a sentence"),
        ({"says": 3, "method": "meta", "top": 1}, "says must be a string, not 3"),
        ({"says": "x", "method": "mta", "top": 1}, "method: unknown method 'mta'.*'meta'"),
        ({"says": "x", "method": "meta"}, "say one of beats, top, bottom and nobody_leads"),
        ({"says": "x", "method": "meta", "top": 1, "bottom": 1}, "say one of beats"),
        ({"says": "x", "method": "meta", "top": 0}, "top must be a whole number from 1.*not 0"),
        ({"says": "x", "method": "meta", "top": True}, "top must be a whole number"),
        ({"says": "x", "method": "meta", "bottom": 4}, "less than the 4 methods, not 4"),
        ({"says": "x", "method": "meta", "beats": "none"}, "beats must be a list of names"),
        ({"says": "x", "method": "meta", "beats": []}, "beats must be a list of names"),
        ({"says": "x", "method": "meta", "beats": ["meta"]}, "meta cannot beat itself"),
        ({"says": "x", "method": "meta", "beats": ["none", "none"]}, "'none' more than once"),
        ({"says": "x", "method": "meta", "beats": ["nobody"]}, "beats: unknown method 'nobody'"),
        ({"says": "x", "method": "meta", "top": 1, "tasks": ["c"]}, "tasks: unknown task 'c'"),
        ({"says": "x", "method": "meta", "top": 1, "tasks": ["a", "a"]}, "'a' more than once"),
        ({"says": "x", "method": "meta", "top": 1, "on": "few"}, "on must be one of all, most"),
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
