"""Prints the table of all rules' trials on the page beside it, and draws rules.png and learned.png: ``python
runs/universal/rules.py``.

Trials lie in `trials`, RULE-CASE.json, with the same lifetimes among the same teams in all rules' files of a case;
meta_curves.json holds means over fifty updates of each rule while it was learned.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

HERE = Path(__file__).parent
FOLDER = HERE / "trials"
RULES = {
    "shipped": "shipped",
    "longer": "longer.toml",
    "learning_alone": "learning_alone.toml",
    "paying": "paying.toml",
    "paying_cheap": "paying.toml, prices to 0.02",
    "many": "many.toml",
    "everything": "everything.toml",
}
CASES = {
    "N6": "N = 6, 300 updates",
    "N6_long": "N = 6, 1,000 updates",
    "N8": "N = 8, 300 updates",
    "reference_N5": "`reference_N5`, 300 updates",
    "reference_N3": "`reference_N3`, prices to 0.02, 300 updates",
}
ROWS = (*((label, rule, "rule") for rule, label in RULES.items()), ("closing", "paying", "closing"))
"""A label, the rule whose files tell it, and the condition there."""
BINS = 50
"""Updates of a rule that one number of meta_curves.json is the mean of."""
UPDATES, SMOOTHED = 5, 10
"""Gate updates between two points of a trial's curve, and how many points are averaged."""
DASHES = ("-", "--", ":", "-.")
SHOWN = ("gain_whole", "gain_late")


def read_trial(rule: str, case: str) -> dict | None:
    """What a file says of its one task, or None where there is none."""
    file = FOLDER / f"{rule}-{case}.json"
    return json.loads(file.read_text(encoding="utf-8"))[0] if file.exists() else None


def cell(trial: dict | None, condition: str) -> str:
    """Gains over REINFORCE over the whole life and at its end."""
    if trial is None:
        return "-"
    told = (trial[condition][name] for name in SHOWN)
    return "; ".join(f"{point:+.1f} [{low:.1f}, {high:.1f}]" for point, low, high in told)


def table() -> str:
    """All rules in all cases, the formula of one term, and the paying rule misplaced."""
    lines = ["| | " + " | ".join(CASES.values()) + " |", "|---" * (1 + len(CASES)) + "|"]
    for label, rule, condition in (*ROWS, ("paying.toml, misplaced", "paying", "misplaced")):
        cells = (cell(read_trial(rule, case), condition) for case in CASES)
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def draw(path: Path) -> None:
    """Write a picture at `path`: what each rule gains over REINFORCE while a life goes on, means over ten points."""
    figure = Figure(figsize=(14, 3.4), layout="constrained")
    window = np.ones(SMOOTHED) / SMOOTHED
    for place, (case, title) in zip(figure.subplots(1, len(CASES)), CASES.items(), strict=True):
        for index, (label, rule, condition) in enumerate(ROWS):
            trial = read_trial(rule, case)
            if trial is None:
                continue
            gain = np.subtract(trial[condition]["curve"], trial["plain"]["curve"])
            updates = UPDATES * np.arange(1, 1 + len(gain))
            ends = updates[SMOOTHED - 1 :]
            place.plot(ends, np.convolve(gain, window, "valid"), color=f"C{index}", label=label)
        place.axhline(0, color="0.6", linewidth=0.8)
        place.set(
            title=title.replace("`", "").replace(", prices", ",\nprices"), xlabel="gate update"
        )
    figure.axes[0].set_ylabel("priced return over REINFORCE's")
    shown = figure.axes[0].get_legend_handles_labels()
    figure.legend(*shown, loc="outside lower center", ncols=8, frameon=False, fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def read_curves() -> dict[str, dict[str, dict[str, list[float]]]]:
    """By rule, task and measure: means over fifty updates of the rule, one after the other."""
    return json.loads((HERE / "meta_curves.json").read_text(encoding="utf-8"))


def line_styles(tasks: list[str]) -> dict[str, dict[str, Any]]:
    """A colour for each kind of task, and a dash for each size of it."""
    kinds = list(dict.fromkeys(task.partition("_N")[0] for task in tasks))
    sizes = {kind: [task for task in tasks if task.partition("_N")[0] == kind] for kind in kinds}
    return {
        task: {"color": f"C{kinds.index(kind)}", "linestyle": DASHES[sizes[kind].index(task)]}
        for kind in kinds
        for task in sizes[kind]
    }


def draw_learning(path: Path) -> None:
    """Write a picture at `path`: which share of edges was open in each group while each rule was learned."""
    curves = read_curves()
    figure = Figure(figsize=(15, 3.8), layout="constrained")
    tasks = sorted({task for told in curves.values() for task in told})
    styles = line_styles(tasks)
    places = figure.subplots(1, len(curves), sharey=True)
    for place, (rule, told) in zip(places, curves.items(), strict=True):
        for task, measures in told.items():
            opened = measures["edge_rate"]
            updates = BINS * (np.arange(len(opened)) + 0.5)
            place.plot(updates, opened, label=task, **styles[task])
        place.set(title=RULES[rule].replace(", ", ",\n"), xlabel="update of the rule", ylim=(0, 1))
    places[0].set_ylabel("edges open")
    shown = {
        label: line
        for place in places
        for line, label in zip(*place.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        [shown[task] for task in tasks],
        tasks,
        loc="outside lower center",
        ncols=7,
        frameon=False,
        fontsize=8,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    print(table())
    draw(HERE / "rules.png")
    draw_learning(HERE / "learned.png")
