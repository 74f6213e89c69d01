"""What is said of measures: by whom, and without starting JAX."""

from __future__ import annotations

import sys
from pathlib import Path
from textwrap import dedent

import pytest

from purejax_mgtopo.config import Experiment, override
from purejax_mgtopo.methods import MESSAGES, TOPOLOGIES, AxisEntry, load
from purejax_mgtopo.plugins.meanings import all_meanings, meanings, meanings_of, written
from purejax_mgtopo.records.glossary import GLOSSARY, UNKNOWN, described

EVERY = [*TOPOLOGIES.values(), *MESSAGES.values()]


@pytest.mark.parametrize("entry", EVERY, ids=lambda entry: entry.path.rpartition(".")[2])
def test_every_measure_of_a_member_has_a_sentence_in_its_file(entry: AxisEntry) -> None:
    member = load(TOPOLOGIES if entry in TOPOLOGIES.values() else MESSAGES, entry.name)
    told = written(entry.path)
    assert list(told) == [*member.measures, *member.outer_measures]
    assert told == {**dict(member.measures), **dict(member.outer_measures)} == meanings(entry)
    for name, sentence in told.items():
        assert name not in GLOSSARY  # which is of what every method has
        assert sentence == " ".join(sentence.split()) and 12 < len(sentence) <= 100, name
        assert not sentence.endswith(".") and not sentence.lower().startswith(("of ", "as ")), name


def test_a_rule_of_another_architecture_measures_the_same() -> None:
    from purejax_mgtopo.algorithm.part import Rule

    for name, entry in TOPOLOGIES.items():
        rule = load(TOPOLOGIES, name)
        other = Rule.of.__func__ is not rule.of.__func__ and rule.of(  # type: ignore[attr-defined]
            override(Experiment(), {"meta.architecture": "edge"})
        )
        if other:
            assert {**dict(other.measures), **dict(other.outer_measures)} == meanings(entry)


def test_one_name_may_mean_several_things_each_with_who_says_so() -> None:
    found = all_meanings()
    assert list(found["threshold"].values()) == [["rule gated_acml"], ["rule i2c"]]
    (who,) = found["attention_to_others"].values()
    assert who == ["interpreter tarmac", "interpreter gat"]
    (who,) = found["baseline_loss"].values()
    assert {"rule reinforce", "rule meta", "rule ic3net"} <= set(who)


def test_a_table_says_what_its_own_members_mean() -> None:
    own = meanings_of("i2c", "gat")
    found = described(["threshold", "attention_to_others", "edge_rate", "colour"], own)
    assert found["threshold"] == own["threshold"] != meanings_of("gated_acml", "gat")["threshold"]
    assert found["attention_to_others"] == own["attention_to_others"]
    assert (found["edge_rate"], found["colour"]) == (GLOSSARY["edge_rate"], UNKNOWN)
    assert meanings_of("nobody_knows_it", "lstm") == {}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of a stranger's, which cannot be imported and need not be."""
    home = tmp_path / "strangers_own"
    (home / "deep").mkdir(parents=True)
    (home / "__init__.py").write_text("raise RuntimeError('imported')\n")
    (home / "deep" / "__init__.py").write_text("raise RuntimeError('imported')\n")
    (home / "shared.py").write_text('SHARED = {"a_rate": "share of a"}\n')
    monkeypatch.syspath_prepend(tmp_path)
    return home


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('class Mine:\n measures = {"b": "how " "b"}', {"b": "how b"}),
        ('class Mine:\n measures = ("b",)', {}),
        ("class Mine:\n pass", {}),
        ("class Other:\n pass", {}),
        ("def broken(", {}),
        ('class Mine:\n measures = {f"b{1}": "computed"}', {}),
        (
            "from ..shared import SHARED as S\nOUTER = {**S, 'c': 'how c'}\n"
            "class Base:\n outer_measures: dict = OUTER\n"
            "class Mine(Base):\n measures = {'b': 'how b'}",
            {"b": "how b", "a_rate": "share of a", "c": "how c"},
        ),
        ("from strangers_own.deep.mine import Mine", {}),  # in a circle
    ],
)
def test_what_a_plug_in_says_is_read_and_it_need_not_say_anything(
    package: Path, text: str, expected: dict[str, str]
) -> None:
    (package / "deep" / "mine.py").write_text(text)
    entry = AxisEntry("mine", "a stranger's", "strangers_own.deep.mine:Mine")
    assert meanings(entry) == expected
    assert not [name for name in sys.modules if name.startswith("strangers_own")]


def test_a_class_that_is_there_is_asked_itself() -> None:
    class Mine:
        measures = dict.fromkeys(["one", "two"], "computed, so that no source says it")
        outer_measures = ("three",)

    entry = AxisEntry("mine", "", f"{__name__}:Mine", found=Mine)
    assert meanings(entry) == dict(Mine.measures)
    nowhere = AxisEntry("mine", "", "there.is.no.such.module:Mine")
    assert meanings(nowhere) == {}


def test_lists_are_written_in_the_sources_own_words(tmp_path: Path) -> None:
    """Guards the reader itself: what it reads is what Python makes of the text."""
    text = dedent(
        """
        A = {"x": "one"}
        B = {"y": "two", **A}
        class Mine:
            measures = {**B, "z": "three"}
        """
    )
    (tmp_path / "own_words.py").write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(tmp_path)
        told = written("own_words:Mine")
    space: dict = {}
    exec(text, space)
    assert told == space["Mine"].measures and list(told) == ["y", "x", "z"]
