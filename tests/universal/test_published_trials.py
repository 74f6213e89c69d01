"""What the page of the universal rule says of its trials is in the files beside it."""

import json
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "runs" / "universal"


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
