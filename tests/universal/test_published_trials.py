"""What the page of the universal rule says of its trials is in the files beside it."""

import json
from pathlib import Path

import numpy as np
import pytest

from purejax_mgtopo.algorithm.topology.edgewise.weights import SHIPPED, read_rule
from purejax_mgtopo.analysis.scoring.rule_score import read_scores
from purejax_mgtopo.analysis.statistics import (
    improvement_interval,
    stratified_bootstrap,
)
from purejax_mgtopo.universal.formula.written import read_formula

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


def told() -> str:
    """The page, as one line."""
    return " ".join((FOLDER / "README.md").read_text(encoding="utf-8").split())


def test_the_formula_is_of_the_shipped_rule_and_stands_on_the_page() -> None:
    file = FOLDER / "formula_N6.json"
    found, formula = json.loads(file.read_text()), read_formula(file)
    assert found["rule"] == read_rule(SHIPPED)[0]["sha256"]
    advantage, value, side = formula.coefficients.values()
    assert list(formula.coefficients) == ["advantage", "next_value", "side * (1 - progress)"]
    signs = (
        f"{formula.constant:.3f} + {advantage:.3f} A/sigma_A + {value:.3f} next value - {-side:.3f}"
    )
    assert f"f_ij = {signs} (2 I_ij - 1) (1 - progress)" in told()
    for size, fits in found["best"].items():
        low, high = (100 * x for x in found["uncertain"][size]["share"])
        assert f"| {100 * fits[0]['share']:.1f} % [{low:.1f}, {high:.1f}] |" in told()
    for name, row in found["course"].items():
        assert f"| on {name} edges | {' | '.join(f'{x:+.3f}' for x in row)} |" in told()
    assert f"| all twelve inputs of the network | {100 * found['all_inputs']:.1f} % |" in told()


def test_the_formula_gains_no_less_than_its_rule_and_keeps_it_to_the_end() -> None:
    (trial,) = json.loads((FOLDER / "trial_formula_N6.json").read_text())
    rule, formula, closing = (trial[name] for name in ("rule", "formula", "closing"))
    assert formula["gain_whole"][0] > rule["gain_whole"][0]
    assert formula["gain_late"][1] > max(0, rule["gain_late"][2])
    assert closing["gain_whole"][1] > formula["gain_whole"][2]
    for label, name in (
        ("rule", "rule"),
        ("its formula of three terms", "formula"),
        ("closing", "closing"),
    ):
        whole, late = (
            f"{point:+.1f} [{low:.1f}, {high:.1f}]"
            for point, low, high in (trial[name]["gain_whole"], trial[name]["gain_late"])
        )
        shown = f"| {label}, gain | {whole} | {late} | {100 * trial[name]['right_open']:.0f} % |"
        assert shown in told()


def test_scores_on_the_page_are_those_of_the_records() -> None:
    page = " ".join((FOLDER / "README.md").read_text(encoding="utf-8").split())
    names = ("grid", "toy_follow_holder")
    told = read_scores([FOLDER.parent / name / "records" for name in names])
    tasks = {task.task: task for task in told.tasks}
    navigation, holder = tasks["navigation_N6_l1"], tasks["toy_follow_holder"]
    rule = stratified_bootstrap([navigation.returns["universal"]])
    gaps = [task.worth.gap for task in (navigation, holder) if task.worth is not None]
    shown = [("", x) for x in (rule, *(stratified_bootstrap([holder.scores(m)]) for m in METHODS))]
    for level, x in (*shown, *(("98.3 %: ", gap) for gap in gaps)):
        assert f"{x.point:.2f} [{level}{x.low:.2f}, {x.high:.2f}]" in page
    assert navigation.scores("universal") is None and navigation.worth.best == "full"


def lots(rule: str, case: str) -> tuple:
    """What the lifetimes of a trial were, as far as its file tells: REINFORCE's fate in them, in all digits."""
    (trial,) = json.loads((FOLDER / "trials" / f"{rule}-{case}.json").read_text())
    return trial["task"], trial["lifetimes"], trial["plain"]


def test_all_rules_on_the_page_had_the_same_lifetimes_and_their_gains_stand_there(
    monkeypatch,
) -> None:
    monkeypatch.syspath_prepend(FOLDER)
    import rules

    assert rules.table() in (FOLDER / "README.md").read_text(encoding="utf-8")
    files = [path.stem.split("-") for path in (FOLDER / "trials").glob("*.json")]
    assert len(files) > len(rules.RULES)
    for rule, case in files:
        assert case in rules.CASES and lots(rule, case) == lots("paying", case)


def test_one_rule_is_ahead_in_all_trials_of_unseen_sizes_to_their_end() -> None:
    """That of all groups; where talk pays it is behind. At the end of long lives all others are."""
    for case in ("N6", "N6_long", "N8", "reference_N5", "reference_N3"):
        (trial,) = json.loads((FOLDER / "trials" / f"everything-{case}.json").read_text())
        for when in ("whole", "late"):
            _, low, high = trial["rule"][f"gain_{when}"]
            assert high < 0 if case == "reference_N3" else low > 0
    others = [
        path for path in (FOLDER / "trials").glob("*-N6_long.json") if "every" not in path.name
    ]
    assert len(others) == 4
    for path in others:
        (trial,) = json.loads(path.read_text())
        assert trial["rule"]["gain_late"][2] < 0


def test_returns_from_scratch_stand_on_the_page() -> None:
    """Point and interval of each rule, and the probability that a seed of it is ahead of one of REINFORCE."""
    found = json.loads((FOLDER / "from_scratch.json").read_text())
    for task, told_of in found["tasks"].items():
        returns = {rule: np.array(x["returns"]) for rule, x in told_of["rules"].items()}
        assert {len(x) for x in returns.values()} == {found["seeds"]}
        shown = [stratified_bootstrap([returns["reinforce"]])]
        for rule in ("shipped", "paying"):
            shown += [
                stratified_bootstrap([returns[rule]]),
                improvement_interval(returns[rule], returns["reinforce"]),
            ]
        cells = " | ".join(f"{x.point:.2f} [{x.low:.2f}, {x.high:.2f}]" for x in shown)
        asked = f"{told_of['episodes']:,}, {told_of['edge_cost']:g}"
        assert f"| `{task}`, {asked} | {cells} |" in told()


def test_the_formula_of_a_rule_that_closes_edges_stands_on_the_page() -> None:
    formula = read_formula(FOLDER / "formula_paying_N6.json")
    decision, advantage, value = formula.coefficients.values()
    assert list(formula.coefficients) == ["decision", "advantage", "value"]
    shown = f"{formula.constant:.3f} - {-decision:.3f} I_ij + {advantage:.3f} A/sigma_A + {value:.3f} value"
    assert f"f_ij = {shown}" in told()
    (trial,) = json.loads((FOLDER / "trials/paying_formula-N6.json").read_text())
    for name in ("gain_whole", "gain_over_rule_whole"):
        point, low, high = trial["formula"][name]
        assert f"{point:+.1f} [{low:.1f}, {high:.1f}]" in told()


def test_what_the_page_says_of_open_edges_is_in_the_curves(monkeypatch) -> None:
    """Means over the first and the last hundred updates, which are two numbers each."""
    monkeypatch.syspath_prepend(FOLDER)
    import rules

    def means(rule: str, name: str = "edge_rate") -> dict[str, tuple[float, float]]:
        curves = rules.read_curves()[rule]
        return {task: (np.mean(x[name][:2]), np.mean(x[name][-2:])) for task, x in curves.items()}

    percent = {task: [100 * x for x in both] for task, both in means("learning_alone").items()}
    for task, where in (
        ("toy_follow_holder", "from {:.0f} % to {:.1f} % open with a holder among three"),
        ("toy_follow_holder_N4", "from {:.0f} % to {:.1f} % among four"),
        ("toy_crossed_goals", "from {:.0f} % to {:.1f} %, where the priced return"),
    ):
        assert where.format(*percent[task]) in told()
    priced = means("learning_alone", "return")["toy_crossed_goals"]
    assert "the priced return fell from {:.1f} to {:.1f}".format(*priced) in told()
    for rule, shown in (
        ("paying", "it left {:.0f} % and {:.0f} % of edges open in its two groups of two agents"),
        ("many", "which had not come to rest, {:.0f} % and {:.0f} %"),
    ):
        late = {task: 100 * x[1] for task, x in means(rule).items()}
        pairs = [late.pop(task) for task in ("toy_crossed_goals", "reference_N2")]
        assert shown.format(*pairs) in told()
        assert f"{min(late.values()):.0f} to {max(late.values()):.0f} %" in told()
    late = [100 * x[1] for x in means("everything").values()]
    assert f"between {min(late):.0f} % and {max(late):.0f} % of the edges open" in told()
    assert max(late) > 100 * max(x for t, (_, x) in means("everything").items() if "reference" in t)
    size, *others = (
        np.mean([x[1] for x in means(rule, "correction").values()])
        for rule in ("everything", "many", "paying")
    )
    shown = (
        "The size of its f is {:.2f} (mean over groups and the last hundred updates; many.toml's {:.2f}, "
        "paying.toml's {:.2f})"
    )
    assert shown.format(size, *others) in told()
