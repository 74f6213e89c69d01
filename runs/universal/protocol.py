"""Scores of the protocol's runs, from records beside this: prints the tables of README.md; `draw` makes the picture.

python runs/universal/protocol.py
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from purejax_mgtopo.analysis.scoring.rule_score import RuleScores, read_scores
from purejax_mgtopo.analysis.scoring.score_figure import score_figure
from purejax_mgtopo.analysis.statistics import Floats, Interval, stratified_bootstrap

SMALL = Path(__file__).parent / "records" / "protocol_small"
TWELVE = Path(__file__).parent / "records" / "protocol_twelve"
OTHERS = Path(__file__).parent / "other_rules.json"
"""What became of runs with other rules in the place of the shipped one, at the same settings and seeds."""
HARDLY = 0.01
"""Of all edges."""


def told(interval: Interval | None) -> str:
    """To two places; a dash for what is not there."""
    if interval is None:
        return "-"
    point, low, high = (round(x, 2) + 0.0 for x in (interval.point, interval.low, interval.high))
    return f"{point:.2f} [{low:.2f}, {high:.2f}]"  # no minus before a zero


def rows(scores: RuleScores) -> list[str]:
    """Lines of a Markdown table: score over tasks and on each, the highest first."""
    tasks = [task for task in scores.tasks if not task.why]
    over = {name: scores.over_tasks(name) for name in scores.methods}
    known = {name: x for name, x in over.items() if x is not None and scores.everywhere(name)}
    lines = [
        f"| | all | {' | '.join(f'`{task.task}`' for task in tasks)} |",
        f"|{'---|' * (len(tasks) + 2)}",
    ]
    for name in sorted(known, key=lambda each: -known[each].point):
        own = [task.scores(name) for task in tasks]
        cells = [told(None if x is None else stratified_bootstrap([x])) for x in own]
        lines.append(f"| `{name}` | {told(known[name])} | {' | '.join(cells)} |")
    return lines


def others_on(task: str) -> dict[str, dict[str, Any]]:
    """By rule: the commit, the rule's digest, and what became of each seed: returns and open edges by the final
    evaluation, precision and recall by the last one on the way; and the share of open edges at some episodes."""
    (found,) = (x for x in json.loads(OTHERS.read_text(encoding="utf-8")) if x["task"] == task)
    return found["rules"]


def other_rows(scores: RuleScores, name: str) -> list[str]:
    """Lines of a Markdown table: what each other rule came to on the task of that name, the highest return first."""
    (task,) = (each for each in scores.tasks if each.task == name)
    assert task.worth is not None and task.worth.scale is not None
    lines = ["| | final return | score | edges open | precision |", f"|{'---|' * 5}"]
    found = {rule: (np.array(told["returns"]), told) for rule, told in others_on(name).items()}
    middle = {rule: stratified_bootstrap([returns]) for rule, (returns, _) in found.items()}
    for rule in sorted(found, key=lambda each: -middle[each].point):
        returns, own = found[rule]
        score = stratified_bootstrap([task.worth.scale(returns)])
        opened = np.mean(own["edge_rate"])  # of hardly any edge there is no precision to tell
        precision = f"{np.mean(own['precision']):.2f}" if opened > HARDLY else "-"
        rate = f"{100 * opened:.0f} %"
        lines.append(f"| {rule} | {told(middle[rule])} | {told(score)} | {rate} | {precision} |")
    return lines


def final_measures(run: Path, *names: str) -> dict[str, Floats]:
    """Of each seed of a run, [S] each, at its end: what begins with `final_` by the final evaluation, all else by the
    last one on the way, of 100 episodes."""
    table = pq.read_table(run / "metrics.parquet", columns=["final_return_sampled", *names])
    found = {name: table[name].to_numpy() for name in table.column_names}
    last = np.isfinite(found["final_return_sampled"])
    return {name: found[name][last] for name in names}


def twelve_rows(scores: RuleScores) -> list[str]:
    """Lines of a Markdown table of the protocol of twelve agents, the highest score first."""
    (task,) = scores.tasks
    lines = ["| | final return | score | edges open | precision | recall |", f"|{'---|' * 6}"]
    middle = {name: stratified_bootstrap([each]) for name, each in task.returns.items()}
    for name in sorted(middle, key=lambda each: -middle[each].point):
        own = task.scores(name)
        edges = final_measures(
            TWELVE / task.task / name, "final_edge_rate", "edge_precision", "edge_recall"
        )
        rate, precision, recall = (np.mean(each) for each in edges.values())
        cells = (
            told(middle[name]),
            told(None if own is None else stratified_bootstrap([own])),
            f"{100 * rate:.0f} %",
            "-" if rate == 0 else f"{precision:.3f}",
            f"{recall:.2f}",
        )
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return lines


def draw(path: Path) -> None:
    """The picture of all scores of small tasks."""
    score_figure(read_scores([SMALL]), path)


def draw_twelve(path: Path) -> None:
    """The picture of all scores with twelve agents."""
    score_figure(read_scores([TWELVE]), path)


def main() -> int:
    """Print the tables."""
    scores = read_scores([SMALL], print)
    print("\n".join([*rows(scores), "", *other_rows(scores, "reference_N3")]))
    twelve = read_scores([TWELVE], print)
    print("\n".join(["", *twelve_rows(twelve), "", *other_rows(twelve, "toy_follow_holder_N12")]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
