"""What the page of the universal rule says of its protocol, and the first page of scores, is in records."""

import json
import re
import tomllib
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from purejax_mgtopo.analysis.judging import Judgement, ahead
from purejax_mgtopo.analysis.scoring.rule_score import read_scores
from purejax_mgtopo.analysis.statistics import Interval, stratified_bootstrap
from purejax_mgtopo.analysis.verdicts import read_verdicts

FOLDER = Path(__file__).parents[3] / "runs" / "universal"

METHODS = ("universal", "reinforce")
TWELVE = "protocol_twelve/toy_follow_holder_N12"


def told() -> str:
    """The page, as one line."""
    return " ".join((FOLDER / "README.md").read_text(encoding="utf-8").split())


def final_measures(run: str, *names: str) -> dict[str, np.ndarray]:
    """Of each seed at the final evaluation of a run among the records."""
    rows = [
        row
        for row in pq.read_table(FOLDER / "records" / run / "metrics.parquet").to_pylist()
        if row["final_return_sampled"] == row["final_return_sampled"]
    ]
    return {name: np.array([row[name] for row in rows]) for name in names}


def test_scores_of_the_protocol_stand_on_the_page(monkeypatch, unknown) -> None:
    monkeypatch.syspath_prepend(FOLDER)
    import protocol

    scores = read_scores([protocol.SMALL])
    recipe = tomllib.loads((FOLDER / "protocol_small.toml").read_text(encoding="utf-8"))
    assert {*scores.methods} == {*recipe["methods"]}
    for table in (protocol.rows(scores), protocol.other_rows(scores, "reference_N3")):
        assert "\n".join(table) in (FOLDER / "README.md").read_text(encoding="utf-8")
    tasks = {task.task: task.returns for task in scores.tasks}
    for task, rival, shown in (
        ("reference_N3", "reinforce", "with probability {} on `reference_N3`"),
        ("reference_N2", "reinforce", "{} on `reference_N2`"),
        ("toy_crossed_goals", "reinforce", "{} in crossed goals"),
        ("reference_N3", "misplaced", "ahead of a misplaced one with probability {}"),
    ):
        x = ahead(tasks[task], "universal", rival)
        assert shown.format(f"{x.point:.2f} [{x.low:.2f}, {x.high:.2f}]") in told()
    for column in (*(task.scores for task in scores.tasks), scores.over_tasks):
        points = [
            x.point if isinstance(x, Interval) else stratified_bootstrap([x]).point
            for x in map(column, ("random_eta", "reinforce"))
        ]
        assert abs(points[0] - points[1]) < 0.025


def test_what_the_page_says_of_edges_in_the_protocol_is_in_its_records() -> None:
    shown = {}
    for method in ("universal", "reinforce", "meta"):
        found = final_measures(
            f"protocol_small/reference_N3/{method}", "edge_precision", "edge_recall"
        )
        shown[method] = [f"{np.mean(values):.2f}" for values in found.values()]
    precision, recall = shown["universal"]
    assert f"precision {precision} and recall {recall}, where REINFORCE has" in told()
    assert "where REINFORCE has {} and {}.".format(*shown["reinforce"]) in told()
    assert "does the same, {} and {}".format(*shown["meta"]) in told()
    rate = final_measures("protocol_small/toy_crossed_goals/closing", "final_edge_rate")[
        "final_edge_rate"
    ]
    counts = [int(np.sum(np.round(2 * rate) == number)) for number in (2, 1, 0)]
    assert (
        "of 32 seeds of crossed goals {} end with both edges open, {} with one, and {} with none".format(
            *counts
        )
        in told()
    )


def test_tasks_of_six_agents_that_have_no_score_are_named_with_what_they_lack() -> None:
    scores = read_scores([FOLDER / "records" / "protocol"])
    done = [task for task in scores.tasks if task.returns]
    assert done and not any(scores.scores(name) for name in scores.methods)
    for task in done:
        assert task.worth is not None
        best, gap = task.worth.best, task.worth.gap
        high, low = (stratified_bootstrap([task.returns[x]]).point for x in (best, "none"))
        assert f"- `{task.task}` has no score: the best, `{best}` at {high:.2f}, is " in told()
        ends = f"{gap.point:.2f} [98.3 %: {gap.low:.2f}, {gap.high:.2f}]"
        assert f"above `none` at {low:.2f}: {ends}" in told()
    assert len(done) == 5


def test_what_the_page_says_of_twelve_agents_is_in_their_records(monkeypatch, unknown) -> None:
    monkeypatch.syspath_prepend(FOLDER)
    import protocol

    scores = read_scores([protocol.TWELVE])
    recipe = tomllib.loads((FOLDER / "protocol_twelve.toml").read_text(encoding="utf-8"))
    assert {*scores.methods} == {*recipe["methods"]}
    assert "\n".join(protocol.twelve_rows(scores)) in (FOLDER / "README.md").read_text("utf-8")
    (task,) = scores.tasks
    highest = []
    for method in scores.methods:
        names = ("final_return_sampled", "final_edge_rate", "edge_precision", "edge_recall")
        found = final_measures(f"{TWELVE}/{method}", *names)
        returns, rate, precision, recall = found.values()
        middle = np.mean(np.sort(returns)[2:6])
        (row,) = (
            line
            for line in (FOLDER / "README.md").read_text(encoding="utf-8").splitlines()
            if line.startswith(f"| `{method}` | {middle:.2f} [")
        )
        shown = "-" if method in ("none", "closing") else f"{np.mean(precision):.3f}"
        assert row.endswith(f"| {100 * np.mean(rate):.0f} % | {shown} | {np.mean(recall):.2f} |")
        highest += [] if shown == "-" else [np.mean(precision)]
    most = f"{max(highest):.3f}"
    assert f"no method's precision is above {most}, where that of all edges is 0.008" in told()
    at = {
        method: np.mean(
            [
                row["return_sampled"]
                for row in pq.read_table(
                    protocol.TWELVE / task.task / method / "metrics.parquet"
                ).to_pylist()
                if row["episode"] == 2000
            ]
        )
        for method in ("full", "none")
    }
    assert "when `full` is behind `none` ({full:.1f}, {none:.1f})".format(**at) in told()
    for rival, shown in (
        ("reinforce", "one of REINFORCE with probability {} here"),
        ("misplaced", "one of `misplaced` with {}"),
    ):
        x = ahead(task.returns, "universal", rival)
        assert shown.format(f"{x.point:.2f} [{x.low:.2f}, {x.high:.2f}]") in told()
    rows = pq.read_table(
        protocol.TWELVE / task.task / "universal" / "metrics.parquet",
        columns=["seed", "episode", "edge_recall"],
    ).to_pylist()
    recall = {
        episode: np.array([row["edge_recall"] for row in rows if row["episode"] == episode])
        for episode in {row["episode"] for row in rows if row["edge_recall"] is not None}
    }
    (last,) = final_measures(f"{TWELVE}/universal", "edge_recall").values()
    heard, unheard = last > 0.99, last < 0.005
    assert (heard.sum(), unheard.sum(), len(last)) == (5, 3, 8)
    assert "In five of eight seeds agent 0 hears all others, nearly always from" in told()
    for episode, found in recall.items():
        assert episode < 4000 or np.all(found[heard] >= 0.92)
        assert episode < 2000 or np.all(found[unheard] <= 0.01)
    assert task.returns["universal"][heard].min() > task.returns["reinforce"].max()


def test_whom_twelve_agents_hear_is_told_row_by_row() -> None:
    found = json.loads((FOLDER / "twelve_rows.json").read_text(encoding="utf-8"))
    assert {np.shape(found[name]) for name in METHODS} == {(8, 12)}
    rule, plain = (np.array(found[name]) for name in METHODS)
    assert np.all((rule[:, 0] <= 0.01) | (rule[:, 0] >= 0.98))
    (recall,) = final_measures(f"{TWELVE}/universal", "edge_recall").values()
    assert [*(rule[:, 0] > 0.5)] == [*(recall > 0.5)]
    decided = [100 * np.mean((each < 0.05) | (each > 0.95)) for each in (rule, plain)]
    low, high = plain.min(), plain.max()
    assert f"{decided[0]:.0f} % of rows are open or closed to all" in told()
    assert decided[1] == 0
    assert f"each row between {low:.2f} and {high:.2f}" in told()


@pytest.mark.parametrize(
    ("folder", "words"),
    [
        (
            "protocol_small",
            "Of the recipe's nine claims two hold, four do not, and three cannot be told.",
        ),
        (
            "protocol_twelve",
            "Of the recipe's nine claims two hold, `full` ahead of `none` and *opening* ahead of REINFORCE; "
            "one does not, the rule ahead of `stgs`; six cannot be told.",
        ),
    ],
)
def test_what_became_of_the_claims_is_told(folder: str, words: str, unknown) -> None:
    (sweep,) = read_verdicts([FOLDER / "records" / folder])
    numbers = {"one": 1, "two": 2, "three": 3, "four": 4, "six": 6}
    counted = [
        numbers[word]
        for word in re.findall(r"\b(one|two|three|four|six)\b(?= (?:hold|do|cannot))", words)
    ]
    kinds = (Judgement.HOLDS, Judgement.FAILS, Judgement.OPEN)
    judged = [verdict.judgement for verdict in sweep.verdicts]
    assert counted == [judged.count(kind) for kind in kinds] and len(judged) == sum(counted) == 9
    assert words in told()


def test_what_the_page_says_of_opening_is_in_the_records(monkeypatch, unknown) -> None:
    """Whom a seed of it is ahead of, and that all its edges are open from early on."""
    monkeypatch.syspath_prepend(FOLDER)
    import protocol

    tasks = {
        task.task: task.returns
        for folder in (protocol.SMALL, protocol.TWELVE)
        for task in read_scores([folder]).tasks
    }
    for task, rival, shown in (
        ("toy_crossed_goals", "reinforce", "{} in crossed goals, "),
        ("reference_N3", "reinforce", "{} on `reference_N3` and "),
        ("reference_N2", "reinforce", "{} on `reference_N2`."),
        (
            "toy_follow_holder_N12",
            "reinforce",
            "*opening* is ahead of one of REINFORCE with probability {},",
        ),
        ("toy_follow_holder_N12", "full", "and of one of `full` with {}:"),
    ):
        x = ahead(tasks[task], "opening", rival)
        assert shown.format(f"{x.point:.2f} [{x.low:.2f}, {x.high:.2f}]") in told()
    ends = {}
    for task in tasks:
        place = (protocol.TWELVE if task.endswith("N12") else protocol.SMALL) / task / "opening"
        rows = pq.read_table(
            place / "metrics.parquet", columns=["episode", "edge_rate"]
        ).to_pylist()
        assert np.mean([row["edge_rate"] for row in rows if row["episode"] == 500]) > 0.999
        (rate,) = protocol.final_measures(place, "final_edge_rate").values()
        ends[task] = np.mean(rate)
    assert min(ends, key=ends.__getitem__) == "reference_N2"
    assert f"where the fewest are, {100 * ends['reference_N2']:.1f} %" in told()


def test_what_the_page_says_of_the_rule_of_all_groups_is_in_the_files(monkeypatch, unknown) -> None:
    monkeypatch.syspath_prepend(FOLDER)
    import protocol

    name = "everything.toml"
    (row,) = (
        line
        for line in protocol.other_rows(read_scores([protocol.TWELVE]), "toy_follow_holder_N12")
        if line.startswith(f"| {name} ")
    )
    _, _, returned, score, *_ = (cell.strip() for cell in row.split("|"))
    assert f"by 2,000 episodes: {returned}, a score of {score}" in told()
    twelve, small = (
        protocol.others_on(task)[name] for task in ("toy_follow_holder_N12", "reference_N3")
    )
    assert f"has closed all but {100 * twelve['open_at']['2000']:.0f} % of the edges" in told()
    assert f"closes all but {100 * small['open_at']['4000']:.0f} % by 4,000 episodes" in told()
    assert f"has opened {100 * np.mean(small['edge_rate']):.0f} % again at the end" in told()
    (plain,) = final_measures("protocol_small/reference_N3/reinforce", "edge_precision").values()
    better = {
        rule
        for rule, x in protocol.others_on("reference_N3").items()
        if np.mean(x["edge_rate"]) > protocol.HARDLY and np.mean(x["precision"]) > np.mean(plain)
    }
    assert better == {name, "paying.toml, prices to 0.02"}
    assert f"right more often than REINFORCE's ({np.mean(plain):.2f})" in told()


def test_scores_on_the_first_page_are_those_of_the_records(monkeypatch, unknown) -> None:
    monkeypatch.syspath_prepend(FOLDER)
    import protocol

    def score(folder: Path, task: str, method: str) -> str:
        (found,) = (each for each in read_scores([folder]).tasks if each.task == task)
        return protocol.told(stratified_bootstrap([found.scores(method)]))

    page = (FOLDER.parents[1] / "README.md").read_text(encoding="utf-8")
    (row,) = (line for line in page.splitlines() if line.startswith("| Is there a fixed rule for"))
    n2, n3 = (score(protocol.SMALL, f"reference_N{n}", "universal") for n in (2, 3))
    assert f"{n2} in `reference_N2`" in row and f" it has {n3} of what talk is worth" in row
    rule, plain = (score(protocol.TWELVE, "toy_follow_holder_N12", name) for name in METHODS)
    assert f"agents](runs/universal/README.md#twelve-agents) {rule}, `reinforce` {plain} |" in row
