"""Scores of the protocol's runs, from the records beside this: prints the table of README.md; `draw` makes its picture.

python runs/universal/protocol.py
"""

from __future__ import annotations

import sys
from pathlib import Path

from purejax_mgtopo.analysis.scoring.rule_score import RuleScores, read_scores
from purejax_mgtopo.analysis.scoring.score_figure import score_figure
from purejax_mgtopo.analysis.statistics import Interval, stratified_bootstrap

SMALL = Path(__file__).parent / "records" / "protocol_small"


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
    known = {name: found for name, found in over.items() if found is not None}
    lines = [
        f"| | all | {' | '.join(f'`{task.task}`' for task in tasks)} |",
        f"|{'---|' * (len(tasks) + 2)}",
    ]
    for name in sorted(known, key=lambda each: -known[each].point):
        own = [task.scores(name) for task in tasks]
        cells = [told(None if x is None else stratified_bootstrap([x])) for x in own]
        lines.append(f"| `{name}` | {told(known[name])} | {' | '.join(cells)} |")
    return lines


def draw(path: Path) -> None:
    """The picture of all scores."""
    score_figure(read_scores([SMALL]), path)


def main() -> int:
    """Print the table."""
    print("\n".join(rows(read_scores([SMALL], print))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
