"""What the numbers say, in sentences that claim no more than they do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from purejax_mgtopo.analysis.statistics import COVERAGE, FEW, Interval
from purejax_mgtopo.config import Config, flatten
from purejax_mgtopo.records.record import Status
from purejax_mgtopo.report.charts import interval_text, number
from purejax_mgtopo.report.model import Across, Comparison, Run

# What a run is, rather than a choice of the experiment.
_IDENTITY = ("task", "topology", "messages", "critic", "learner.share_parameters")


def verdict(comparison: Comparison) -> str:
    """Who is ahead on a task, and of whom that can be said."""
    judged = [run for run in comparison.runs if len(run.finals)]
    if not judged:
        return "no evaluation of a finite seed yet."
    best = judged[0]
    if len(judged) == 1:
        return (
            f"{best.method} ends at {interval_text(best.final)}, with nothing to compare it with."
        )
    leads = f"{best.method} ends highest, at {interval_text(best.final)}"
    fewest = min(len(run.finals) for run in judged)
    return _sentence(leads, [run.method for run in judged], comparison.improvement[0], fewest)


def across_verdict(across: Across) -> str:
    """Who is ahead over all tasks."""
    best, names = across.methods[0], [a.method for a in across.methods]
    leads = f"{best.method} has the highest normalised return, {interval_text(best.score)}"
    if across.missing:
        leads = f"of {_list(names)}, the methods run on all of them, {leads}"
    return _sentence(leads, names, across.improvement[0], across.fewest)


def _sentence(
    leads: str, methods: Sequence[str], row: Sequence[Interval | None], fewest: int
) -> str:
    """`row` holds the first method's chances against each; `fewest` seeds stand behind some of them."""
    ahead, level, unknown = [], [], []
    for rival, chance in zip(methods[1:], row[1:], strict=False):
        if chance is None or math.isnan(chance.low):
            unknown.append(rival)
        elif chance.low > 0.5:
            ahead.append(f"{rival} ({chance.point:.2f})")
        else:
            level.append(f"{rival} ({chance.point:.2f} [{chance.low:.2f}, {chance.high:.2f}])")
    text = f"{leads}."
    if ahead and fewest < FEW:
        text += (
            f" In these {fewest} seeds it is ahead of {_list(ahead)}, which is too few to say that it beats "
            f"{'it' if len(ahead) == 1 else 'them'}."
        )
    elif ahead:
        text += f" It beats {_list(ahead)}."
    if level:
        text += f" It cannot be told apart from {_list(level)}."
    if unknown:
        text += f" One seed each cannot tell it from {_list(unknown)}."
    return text


def caveats(comparisons: Sequence[Comparison]) -> list[str]:
    """What a reader must know before believing the ranking."""
    lines = []
    runs = [run for comparison in comparisons for run in comparison.runs]
    open_runs = [run for run in runs if not run.finished]
    if open_runs:
        are = (
            "is not finished; it stands" if len(open_runs) == 1 else "are not finished; they stand"
        )
        lines.append(
            f"{len(open_runs)} of {len(runs)} runs {are} with the last evaluation, so the ranking is provisional."
        )
    older = [run for run in runs if run.finished and len(run.finals) and not run.own_final]
    if older:
        have, played = ("has", "its") if len(older) == 1 else ("have", "their")
        counts = " or ".join(number(n) for n in sorted({run.played for run in older}))
        lines.append(
            f"{len(older)} of {len(runs)} runs {have} no final evaluation: {played} final return is the last "
            f"evaluation's, of {counts} episodes that were played all along."
        )
    for comparison in comparisons:
        lengths = {run.episode for run in comparison.runs if len(run.finals)}
        if len(lengths) > 1:
            lines.append(
                f"On {comparison.task} the runs are compared after different numbers of episodes "
                f"({number(min(lengths))} to {number(max(lengths))})."
            )
    fewest = min((len(run.finals) for run in runs if len(run.finals)), default=0)
    if fewest == 1:
        lines.append("A single seed shows no spread: its methods carry no intervals.")
    elif fewest in COVERAGE:
        lines.append(
            f"With {fewest} seeds a nominal 95 % interval covers the truth in about "
            f"{COVERAGE[fewest]} % of experiments; read it as too narrow."
        )
    for run in runs:
        if 0 < run.told < run.seeds:
            lines.append(
                f"Of {run.method} on {run.task} {run.told} of {run.seeds} seeds are evaluated so far; all that is "
                f"said of it is of {'that one' if run.told == 1 else 'those'}."
            )
    lost = sum(len(run.lost) for run in runs)
    if lost:
        lines.append(
            f"{lost} seed{'s' if lost > 1 else ''} left the finite numbers and "
            f"{'are' if lost > 1 else 'is'} left out; see Runs."
        )
    return lines


def what_final_means(runs: Sequence[Run]) -> str:
    """What final returns are, for a caption."""
    counts = sorted({run.played for run in runs if run.own_final})
    if not counts:
        return "of the last evaluation"
    return f"means of {' or '.join(number(n) for n in counts)} episodes of each seed"


def standing(run: Run) -> str:
    """How far a run has come."""
    if run.status is Status.FINISHED:
        return "finished"
    done = f"episode {run.episode:,} of {run.episodes:,} at the last evaluation"
    if 0 < run.told < run.seeds:
        done += f" of {run.told} of {run.seeds} seeds"
    if run.status is Status.RUNNING:
        return f"in progress, {done}"
    if run.failures:
        return f"failed, {done}"
    return f"interrupted, {done}"


@dataclass(frozen=True)
class Table:
    """Settings (rows) by method, task or run (columns)."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True)
class Settings:
    """Where runs differ, and what they share."""

    tables: tuple[Table, ...]
    shared: tuple[tuple[str, str], ...]
    """Shared settings that differ from their defaults."""
    everything: tuple[tuple[str, str], ...]
    """All shared settings, defaults included."""


def settings_of(runs: Sequence[Run]) -> Settings:
    """Compare the configurations of `runs`: what depends on the method, on the task, on both."""
    defaults = flatten(Config())
    tables: dict[str, list[tuple[str, tuple[str, ...]]]] = {"method": [], "task": [], "run": []}
    shared = []
    keys = {
        "method": [run.method for run in runs],
        "task": [run.task for run in runs],
        "run": [f"{run.task}/{run.method}" for run in runs],
    }
    configs = [dict(run.settings) for run in runs]
    for name in dict.fromkeys(name for config in configs for name in config if name != "task"):
        values = [_value(config.get(name)) for config in configs]
        if len(set(values)) == 1:
            shared.append((name, values[0]))
            continue
        for kind, labels in keys.items():
            of_label = dict(zip(labels, values, strict=True))
            if kind == "run" or all(
                of_label[label] == value for label, value in zip(labels, values, strict=True)
            ):
                tables[kind].append((name, tuple(of_label.values())))
                break
    return Settings(
        tables=tuple(
            Table(f"By {kind}", tuple(dict.fromkeys(keys[kind])), tuple(rows))
            for kind, rows in tables.items()
            if rows
        ),
        shared=tuple(
            (n, v) for n, v in shared if n not in _IDENTITY and v != _value(defaults.get(n))
        ),
        everything=tuple(shared),
    )


def duration_text(minutes: float) -> str:
    """Minutes in words, of a short run in seconds."""
    return f"{minutes * 60:.0f} s" if minutes < 2 else f"{minutes:.1f} min"


def _value(value: Any) -> str:
    if value is None:
        return "\u2013"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _list(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
