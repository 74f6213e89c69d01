"""What the published results cost, in hours, by what their records tell: prints the table of runs/paper/README.md.

    python runs/costs.py            # prints it
    python runs/costs.py --write    # and puts it in place of the one on that page

Two columns of hours: the wall time that was recorded, in which machines were shared and now and then suspended, and
chunks times the median chunk of each run, which is what training alone takes where nothing holds it up.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from purejax_mgtopo.errors import RunError
from purejax_mgtopo.records.record import find_runs, read_events

RUNS = Path(__file__).resolve().parent
PAGE = RUNS / "paper" / "README.md"
HEADER = (
    "| records | task | runs | episodes of all seeds, millions | hours, as recorded "
    "| hours, chunks times their median | cores (vector bits) |"
)


@dataclass(frozen=True)
class RunCost:
    """One run, by its own account."""

    home: str
    """The folder below this one that holds its records."""
    task: str
    origin: tuple[str, str]
    """Method's folder and moment of the start: the same in a run's records and in those of its continuation."""
    episodes: int
    """Training episodes of all seeds."""
    seconds: float
    """Wall time from the start to the end, without interruptions."""
    steady: float
    """Seconds of as many chunks as there were, all as long as the median one; NaN where they are not told."""
    machine: str
    """Cores, and bits of their vectors where that is told."""


def read_costs(runs: Path = RUNS) -> list[RunCost]:
    """Every finished run below `runs` whose records are published; of a run and its continuation the longer one.

    Raises RunError for one that has ended and tells of no training.
    """
    found: dict[tuple[str, str], RunCost] = {}
    for folder in find_runs([runs]):
        parts = folder.relative_to(runs).parts
        if "results" in parts:  # a reader's own
            continue
        events = list(read_events(folder))
        if not any(event["event"] == "end" for event in events):
            continue
        chunks = [event for event in events if event["event"] == "chunk"]
        if not chunks:
            raise RunError(f"{folder} has an end and no chunk: put its events.jsonl right")
        # As it stands: reading it whole would import the plug-ins of a run.
        config = json.loads((folder / "config.json").read_text(encoding="utf-8-sig"))
        settings, device = config["settings"], config["device"]
        walls = [chunk["wall"] for chunk in chunks]
        one = RunCost(
            home=parts[0],
            task=f"`{settings['task']}`",
            origin=(parts[-1], config["started"]),
            episodes=max(chunk["episode"] for chunk in chunks) * settings["seeds"],
            seconds=max(event["seconds"] for event in events),
            steady=len(walls) * statistics.median(walls),
            machine=f"{device['cores']} ({device['vector_bits']})",
        )
        if one.origin not in found or found[one.origin].seconds < one.seconds:
            found[one.origin] = one
    return list(found.values())


def base_learner(runs: Path = RUNS) -> list[RunCost]:
    """Those runs of `none` of which returns and minutes were kept, and no records."""
    told = json.loads((runs / "paper/base_learner.json").read_text(encoding="utf-8"))
    return [
        RunCost(
            home="paper",
            task="the paper's eight, `none`",
            origin=(task, ""),
            episodes=told["episodes"] * len(one["returns"]),
            seconds=60 * one["minutes"],
            steady=math.nan,
            machine="2 (512)",
        )
        for task, one in told["tasks"].items()
    ]


def table(costs: Iterable[RunCost]) -> list[str]:
    """Lines of a Markdown table: a row for each folder and task, and the sum."""
    rows = defaultdict(list)
    for one in costs:
        rows[one.home, one.task].append(one)
    lines = [HEADER, "|---" * HEADER.count(" | ") + "|---|"]
    for (home, task), own in sorted(rows.items()):
        lines.append(_row(f"`{home}`", task, own))
    lines.append(_row("all", "", [one for own in rows.values() for one in own]))
    return lines


def _row(home: str, task: str, own: Sequence[RunCost]) -> str:
    steady = [one.steady for one in own if not math.isnan(one.steady)]
    cells = (
        home,
        task,
        str(len(own)),
        f"{sum(one.episodes for one in own) / 1e6:.2f}",
        f"{sum(one.seconds for one in own) / 3600:.2f}",
        f"{sum(steady) / 3600:.2f}" if steady else "-",
        ", ".join(sorted({one.machine for one in own})) if task else "",
    )
    return f"| {' | '.join(cells)} |"


def main(words: Sequence[str]) -> int:
    """Print the table, or write it into the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help="into runs/paper/README.md")
    write = parser.parse_args(words).write
    lines = table([*read_costs(), *base_learner()])
    print("\n".join(lines))
    if write:
        page = PAGE.read_text(encoding="utf-8").splitlines()
        first = page.index(HEADER)
        rest = next(n for n in range(first, len(page)) if not page[n].startswith("|"))
        PAGE.write_text("\n".join(page[:first] + lines + page[rest:]) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
