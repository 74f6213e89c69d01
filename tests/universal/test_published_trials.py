"""What the page of the universal rule says of its trials and scores is in the files beside it, and in records."""

import json
from pathlib import Path

import pytest

from purejax_mgtopo.analysis.rule_score import read_scores
from purejax_mgtopo.analysis.statistics import stratified_bootstrap

FOLDER = Path(__file__).parents[2] / "runs" / "universal"

METHODS = ("universal", "reinforce")


def gains(name: str, when: str) -> tuple[list[float], list[float]]:
    """What the rule gains over REINFORCE, and what it gains misplaced: point, low, high."""
    (trial,) = json.loads((FOLDER / f"trial_{name}.json").read_text())
    return trial["rule"][f"gain_{when}"], trial["misplaced"][f"gain_{when}"]


@pytest.mark.parametrize("name", ["N6", "N8", "evolution_N6", "evolution_N6_long", "evolution_N8"])
def test_an_answer_on_another_edge_costs_return(name: str) -> None:
    """Over whole lives, intervals apart."""
    rule, misplaced = gains(name, "whole")
    assert rule[1] > misplaced[2]


@pytest.mark.parametrize("when", ["whole", "late"])
def test_where_the_rule_loses_it_loses_less_on_other_edges(when: str) -> None:
    """Lives far longer than any that it has learned from."""
    rule, misplaced = gains("N6_long", when)
    assert rule[2] < misplaced[1] < misplaced[2] < 0


def test_scores_on_the_page_are_those_of_the_records() -> None:
    page = " ".join((FOLDER / "README.md").read_text(encoding="utf-8").split())
    names = ("grid", "toy_follow_holder")
    told = read_scores([FOLDER.parent / name / "records" for name in names])
    tasks = {task.task: task for task in told.tasks}
    navigation, holder = tasks["navigation_N6_l1"], tasks["toy_follow_holder"]
    rule = stratified_bootstrap([navigation.returns["universal"]])
    gaps = [task.worth.gap for task in (navigation, holder) if task.worth is not None]
    shown = [rule, *gaps, *(stratified_bootstrap([holder.scores(m)]) for m in METHODS)]
    for x in shown:
        assert f"{x.point:.2f} [{x.low:.2f}, {x.high:.2f}]" in page
    assert navigation.scores("universal") is None and navigation.worth.best == "full"
