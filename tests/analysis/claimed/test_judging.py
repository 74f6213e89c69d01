"""What becomes of a claim, by final returns made so that the answer is known."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from purejax_mgtopo.analysis.claims import StatedClaim
from purejax_mgtopo.analysis.judging import Judgement, TaskResults, Verdict, ahead, judge, together
from purejax_mgtopo.analysis.statistics import improvement_interval

HOLDS, FAILS, OPEN, ABSENT = Judgement
METHODS = ("none", "full", "meta", "stgs")
RNG = np.random.default_rng(7)


def returns(*levels: float, seeds: int = 8) -> dict[str, np.ndarray]:
    """Final returns around a level for each method; a tenth of noise."""
    return {m: x + 0.1 * RNG.normal(size=seeds) for m, x in zip(METHODS, levels, strict=True)}


RANKED = returns(1, 2, 3, 4)  # none < full < meta < stgs, each surely
LEVEL = returns(1, 1, 1, 1)
CLOSE = returns(1, 3, 3, 4)  # full and meta cannot be told apart
FINALS = {"ranked": RANKED, "level": LEVEL, "close": CLOSE, "turned": returns(4, 3, 2, 1)}
NOTHING: dict[str, np.ndarray] = {}


def results(task: str, finals: dict[str, np.ndarray], **missing: str) -> TaskResults:
    words = {name: name.partition(", ")[0] for name in (*finals, *missing)} or dict.fromkeys(
        METHODS
    )
    return TaskResults(task, {name: word or name for name, word in words.items()}, finals, missing)


def verdict(claim: StatedClaim, finals: dict[str, dict[str, np.ndarray]]) -> Verdict:
    return judge(claim, {task: results(task, own) for task, own in finals.items()})


def on(task: str, **words: object) -> Judgement:
    claim = StatedClaim("so", tasks=(task,), **words)  # type: ignore[arg-type]
    found = verdict(claim, FINALS)
    assert found.judgement is found.evidence[0].judgement
    return found.judgement


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
    claim = StatedClaim("so", "meta", beats=("full", "none"), tasks=("ranked",))
    (told,) = verdict(claim, FINALS).evidence
    assert dict(told.chances) == {
        name: improvement_interval(RANKED["meta"], RANKED[name]) for name in ("full", "none")
    }
    assert told.words() == (
        "ranked: holds (meta ahead of full 1.00 [1.00, 1.00], none 1.00 [1.00, 1.00])"
    )


def test_who_is_named_first_does_not_decide() -> None:
    """Drawn anew for the other direction, an interval may end on the other side of one half."""
    rng = np.random.default_rng(3)
    for _ in range(40):
        finals = {"x": rng.normal(0.8, 1, 8), "y": rng.normal(0, 1, 8)}
        one, other = ahead(finals, "x", "y"), ahead(finals, "y", "x")
        mirrored = (1 - other.point, 1 - other.high, 1 - other.low)
        np.testing.assert_allclose((one.point, one.low, one.high), mirrored, atol=1e-12)
        assert one.point == pytest.approx(np.mean(finals["x"][:, None] > finals["y"]))


def test_over_tasks_one_failure_is_enough_and_one_success_is_not() -> None:
    def over(*tasks: str) -> Judgement:
        claim = StatedClaim("so", "full", beats=("none",), tasks=tasks)
        return verdict(claim, {**FINALS, "missing": NOTHING, "missing_too": NOTHING}).judgement

    assert over("ranked", "close") is HOLDS
    assert over("ranked", "level") is OPEN
    assert over("ranked", "level", "turned") is FAILS
    assert over("ranked", "missing") is OPEN
    assert over("missing", "missing_too") is ABSENT
    assert over("turned", "missing") is FAILS


@pytest.mark.parametrize("on", ["all", "most", "some"])
def test_on_all_most_and_some_by_trying_all_that_may_still_come(on: str) -> None:
    """What cannot be told yet may turn out either way: a verdict is what is so in every case."""

    def so(truths: tuple[bool, ...]) -> bool:
        share = sum(truths) / len(truths)
        return {"all": share == 1, "most": share > 0.5, "some": share > 0}[on]

    for tasks in range(1, 6):
        for judged in itertools.product((HOLDS, FAILS, OPEN), repeat=tasks):
            worlds = itertools.product(
                *({HOLDS: (True,), FAILS: (False,), OPEN: (True, False)}[one] for one in judged)
            )
            answers = {so(world) for world in worlds}
            expected = OPEN if len(answers) > 1 else HOLDS if answers == {True} else FAILS
            assert together(judged, on) is expected, (judged, on)
    assert together([ABSENT, ABSENT], on) is ABSENT and together([ABSENT, OPEN], on) is OPEN


def test_few_seeds_show_nothing() -> None:
    """All seven seeds ahead of all eight is [1, 1] by the bootstrap, and yet too little."""
    finals = {"task": {**RANKED, "meta": RANKED["meta"][:7]}}
    claim = StatedClaim("so", "meta", beats=("none",), tasks=("task",))
    found = verdict(claim, finals)
    assert found.judgement is OPEN
    assert dict(found.evidence[0].chances)["none"].low == 1
    single = {"task": {name: values[:1] for name, values in RANKED.items()}}
    assert verdict(claim, single).evidence[0].words().endswith("(meta ahead of none 1.00)")


def test_what_is_missing_is_named_and_what_is_refuted_stays_so() -> None:
    def told(claim: StatedClaim, *there: str, **missing: str) -> Verdict:
        own = results("task", {name: RANKED[name] for name in there}, **missing)
        return judge(claim, {"task": own})

    first = StatedClaim("so", "meta", top=1, tasks=("task",))
    found = told(first, "full", "meta", none="not finished", stgs="has no finite seed")
    assert found.judgement is ABSENT
    assert found.evidence[0].words() == (
        "task: no evidence (meta ahead of full 1.00 [1.00, 1.00]; none not finished; stgs has no finite seed)"
    )
    assert told(first, "stgs", "meta", none="not run", full="not run").judgement is FAILS
    second = StatedClaim("so", "meta", top=2, tasks=("task",))
    three = told(second, "full", "none", "meta", stgs="not run")
    assert three.judgement is HOLDS  # whatever stgs will do
    beats = StatedClaim("so", "meta", beats=("full",), tasks=("task",))
    assert told(beats, "full", "meta", none="not run").judgement is HOLDS
    assert told(beats, "full", meta="not run").judgement is ABSENT


def test_a_word_stands_for_all_values_of_its_settings() -> None:
    """Each choice of values is a case of its own, and who has none is compared in each of them."""
    wide = {
        "none": RANKED["none"],
        "meta, hidden=64": RANKED["meta"],
        "meta, hidden=128": RANKED["stgs"],
        "full, hidden=64": RANKED["stgs"],
        "full, hidden=128": RANKED["full"],
    }

    def told(**words: object) -> dict[str, Judgement | None]:
        claim = StatedClaim("so", tasks=("task",), **words)  # type: ignore[arg-type]
        return {one.case: one.judgement for one in verdict(claim, {"task": wide}).evidence}

    both = ("task, hidden=64", "task, hidden=128")
    assert told(method="meta", beats=("full",)) == dict(zip(both, (FAILS, HOLDS), strict=True))
    assert told(method="meta", beats=("none",)) == dict.fromkeys(both, HOLDS)
    assert told(method="none", bottom=1) == dict.fromkeys(both, HOLDS)
    assert told(method="meta", top=1) == dict(zip(both, (FAILS, HOLDS), strict=True))
    assert told(method="meta, hidden=64", beats=("none",)) == {"task": HOLDS}
    assert told(method="meta, hidden=64", top=1) == {"task": FAILS}  # of all five runs
    claim = StatedClaim("so", nobody_leads=True, tasks=("task",))
    assert verdict(claim, {"task": wide}).judgement is HOLDS


def test_words_with_values_of_other_settings_are_compared_each_with_each() -> None:
    """None of their runs is missing; of a setting that two words share a value may be."""
    apart = {
        "none": RANKED["none"],
        "full, hidden=64": RANKED["full"],
        "full, hidden=128": RANKED["stgs"],
        "meta, l2=0.1": RANKED["meta"],
    }

    def told(finals: dict, **words: object) -> dict[str, tuple[Judgement | None, tuple[str, ...]]]:
        claim = StatedClaim("so", tasks=("task",), **words)  # type: ignore[arg-type]
        evidence = verdict(claim, {"task": finals}).evidence
        return {one.case: (one.judgement, one.missing) for one in evidence}

    cases = ("task, hidden=64, l2=0.1", "task, hidden=128, l2=0.1")
    judged = dict(zip(cases, ((HOLDS, ()), (FAILS, ())), strict=True))
    assert told(apart, method="meta", beats=("full",)) == judged
    assert told(apart, method="none", bottom=1) == dict.fromkeys(cases, (HOLDS, ()))
    part = {**apart, "meta, hidden=64": RANKED["meta"]}
    del part["meta, l2=0.1"]
    found = told(part, method="meta", beats=("full",))
    assert found["task, hidden=64"] == (HOLDS, ())
    assert found["task, hidden=128"] == (ABSENT, ("meta not run",))


def test_a_word_means_on_each_task_what_it_has_there() -> None:
    finals = {"plain": {"none": RANKED["none"], "meta": RANKED["meta"]}}
    finals["wide"] = {"none": RANKED["none"], "meta, hidden=64": RANKED["meta"]}
    for words in ({"beats": ("none",)}, {"top": 1}):
        claim = StatedClaim("so", "meta", tasks=("plain", "wide"), **words)  # type: ignore[arg-type]
        found = verdict(claim, finals)
        assert found.judgement is HOLDS, words
        assert [one.case for one in found.evidence] == ["plain", "wide, hidden=64"]
        assert found.words() == "holds (2 holds)"


def test_nobody_leads() -> None:
    def told(*each: dict[str, np.ndarray]) -> Judgement:
        finals = {f"task{n}": one for n, one in enumerate(each)}
        claim = StatedClaim("so", nobody_leads=True, tasks=tuple(finals))
        return verdict(claim, finals).judgement

    assert told(RANKED, returns(4, 3, 2, 1)) is HOLDS
    assert told(RANKED, returns(1, 2, 3, 5)) is FAILS  # stgs leads on both
    assert told(RANKED, LEVEL) is OPEN  # stgs may lead on both
    assert told(returns(1, 2, 4, 4), returns(1, 2, 4, 4)) is OPEN
    assert told(returns(1, 2, 4, 4), returns(4, 4, 1, 2)) is HOLDS
    assert told(NOTHING) is ABSENT


def test_who_leads_here_may_not_lead_where_nothing_was_run() -> None:
    claim = StatedClaim("so", nobody_leads=True, tasks=("missing", "ranked"))
    found = verdict(claim, {**FINALS, "missing": NOTHING})
    assert found.judgement is OPEN and found.words() == "cannot be told"
    assert [one.words() for one in found.evidence] == [
        "missing: not surely beaten: nobody; none not run; full not run; meta not run; stgs not run",
        "ranked: not surely beaten: stgs",
    ]


def test_of_one_alone_no_rank_holds() -> None:
    alone = {"a": {"meta": RANKED["meta"]}}
    for rank in ({"top": 1}, {"bottom": 1}):
        claim = StatedClaim("so", method="meta", tasks=("a",), **rank)  # type: ignore[arg-type]
        assert verdict(claim, alone).judgement is ABSENT
