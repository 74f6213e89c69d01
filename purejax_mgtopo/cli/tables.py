"""Tables for a terminal."""

from __future__ import annotations

import math
import sys
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from rich import box
from rich.console import Console
from rich.table import Table

from purejax_mgtopo.analysis.statistics import FEW
from purejax_mgtopo.records.run_names import word_for
from purejax_mgtopo.training.account import duration

if TYPE_CHECKING:
    from purejax_mgtopo.analysis.curves import RunSummary
    from purejax_mgtopo.analysis.statistics import Interval
    from purejax_mgtopo.analysis.verdicts import SweepVerdicts
    from purejax_mgtopo.population.cards import CardFit
    from purejax_mgtopo.population.fit import Fit
    from purejax_mgtopo.trained.assess import Assessment


def console(width: int = 120) -> Console:
    """Where results are printed; a pipe has no width, so that tables in it get `width`.

    All that is printed is text: names, paths and errors may hold what Rich would take for markup.
    """
    columns = None if sys.stdout.isatty() else width
    return Console(highlight=False, markup=False, emoji=False, width=columns)


def say(line: str) -> None:
    """Print one line of results at once."""
    print(line, flush=True)


def tell(sentence: str) -> None:
    """Print words of results, broken between words where the terminal ends."""
    console().print(sentence)


def note(line: str) -> None:
    """Print one line beside the results."""
    print(line, file=sys.stderr, flush=True)


def summary_table(summaries: Sequence[RunSummary], width: int = 120) -> Table:
    """Task x method: final return with its interval over seeds, edge rate, minutes.

    Where the terminal is narrow, columns go that are less asked for, rather than names and numbers be cut.
    """
    from purejax_mgtopo.analysis.normalised import normalised_interval

    columns: dict[str, list[str]] = {
        name: [] for name in ("task", "method", _FINAL, "score", "edges", "seeds", "minutes")
    }
    task = None
    for summary in summaries:
        final = summary.final_return
        score = normalised_interval(summary.task, final)
        all_finite = summary.finite == summary.seeds
        cells = (
            "" if summary.task == task else summary.task,
            summary.method,
            interval_or_dash(final),
            interval_or_dash(score),
            "-" if math.isnan(summary.edge_rate) else f"{summary.edge_rate:.0%}",
            f"{summary.seeds}" if all_finite else f"{summary.finite} of {summary.seeds} finite",
            f"{summary.minutes:.1f}",
        )
        for column, cell in zip(columns.values(), cells, strict=True):
            column.append(cell)
        task = summary.task
    for name in ("minutes", "score", "edges"):
        if natural_width(columns) > width:
            del columns[name]
    table = table_of(columns, words=("task", "method"))
    table.caption, table.caption_justify = _final_in_words(summaries), "left"
    return table


def _final_in_words(summaries: Sequence[RunSummary]) -> str | None:
    """What the final returns are means of."""
    told = [summary for summary in summaries if summary.episodes]
    own = sorted({summary.episodes for summary in told if summary.own})
    lines = [f"final return: mean of {n:,} episodes of each seed after training" for n in own]
    others = [f"{summary.task}/{summary.method}" for summary in told if not summary.own]
    if others:
        which = ", ".join(others) if own else "these"
        lines.append(f"without a final evaluation, final return is the last evaluation's: {which}")
    return "\n".join(lines) or None


def verdict_table(told: SweepVerdicts, width: int = 120) -> Table:
    """The claims of one sweep, each with its verdict and what the tasks say; beneath it what else a reader must know.

    In a narrow terminal what the tasks say stands below the claim.
    """
    wide = width >= 100
    title = f"{told.question} ({told.folder})" if told.question else str(told.folder)
    table = Table(title=title, title_justify="left", caption_justify="left", box=box.SIMPLE_HEAD)
    for name, ratio in (("claim", 3), ("verdict", 2), (_EVIDENCE, 5))[: 3 if wide else 2]:
        table.add_column(name, ratio=ratio, overflow="fold")
    for verdict in told.verdicts:
        evidence = "\n".join(one.words() for one in verdict.evidence)
        table.add_row(verdict.claim.says, verdict.words(), *[evidence] * wide)
        if not wide:
            table.add_row(evidence, "")
    lines = [f"{task}: {words}" for task, words in told.groups]
    lines += told.caveats
    if told.verdicts:
        lines.append(
            "sure: the 95 % interval of that probability excludes one half, with at least "
            f"{FEW} seeds on both sides; each for itself: of twenty equal pairs one may look sure"
        )
    table.caption = "\n".join(lines)
    return table


_EVIDENCE = "task: verdict (probability that a seed is ahead of a rival's)"
_FINAL = "final return\n[95 %]"


def natural_width(columns: Mapping[str, Sequence[str]]) -> int:
    """Columns of the terminal that a table takes when nothing is folded."""
    lengths = (
        max(len(text) for text in (*name.split("\n"), *cells)) for name, cells in columns.items()
    )
    return 1 + sum(length + 3 for length in lengths)  # a space on both sides, and one between


def table_of(
    columns: Mapping[str, Sequence[str]],
    words: Collection[str],
    whole: Collection[str] = (),
) -> Table:
    """A table by its headings; `words` but the `whole` ones fold where there is no room, numbers never do."""
    table = Table(box=box.SIMPLE_HEAD)
    for name in columns:
        justify: Literal["left", "right"] = "left" if name in words else "right"
        folds = name in words and name not in whole
        table.add_column(name, justify=justify, no_wrap=not folds, overflow="fold")
    for row in zip(*columns.values(), strict=True):
        table.add_row(*row)
    return table


def assessment_table(assessment: Assessment, width: int = 120) -> Table:
    """Condition x measures: interquartile means over the finite seeds, with their intervals.

    A narrow terminal shows what there is room for, and says what is left to the table in the file.
    """
    from purejax_mgtopo.trained.worth import summarise_conditions

    experiment, finite = assessment.experiment, int(assessment.finite.sum())
    seeds = (
        f"{finite} seeds"
        if finite == len(assessment.seeds)
        else (f"{finite} of {len(assessment.seeds)} seeds (the others are not finite)")
    )
    rows = summarise_conditions(assessment)
    columns = {
        "channel": [row.condition for row in rows],
        "return [95 %]": [_with_interval(row.episodic_return) for row in rows],
        "score": [interval_or_dash(row.score) for row in rows],
        "vs sampled": [
            "" if row.condition == "sampled" else _with_interval(row.difference, "+.2f")
            for row in rows
        ],
        "gain kept": ["" if row.kept is None else _with_interval(row.kept, ".0%") for row in rows],
        "edges": [f"{row.edge_rate.point:.0%}" for row in rows],
    }
    if not any(columns["gain kept"]):
        del columns["gain kept"]
    spare = ["score"]
    for name in assessment.outcome.edge_quality:
        spare.append(name.removeprefix("edge_"))
        columns[spare[-1]] = [interval_or_dash(row.edge_quality[name]) for row in rows]
    if "gain kept" in columns:
        spare.append("vs sampled")  # the same once more, in the return's units
    for name in assessment.outcome.measures:
        spare.append(name)
        columns[name] = [interval_or_dash(row.measures[name]) for row in rows]
    left_out = []
    for name in reversed(spare):
        if natural_width(columns) > width:
            del columns[name]
            left_out.append(name)
    table = table_of(columns, words=("channel",))
    table.title = (
        f"{experiment.task}, {word_for(assessment.folder, experiment)}: {seeds}, "
        f"{assessment.episodes:,} episodes each"
    )
    table.title_justify = "left"
    if left_out:
        table.caption = f"no room for {', '.join(left_out)}: see the file"
        table.caption_justify = "left"
    return table


def interval_or_dash(interval: Interval) -> str:
    """A number with its interval, or a dash where there is none."""
    return "-" if math.isnan(interval.point) else _with_interval(interval)


def _with_interval(interval: Interval, style: str = ".2f") -> str:
    bare = style.replace(".", "z.")  # no minus before a zero
    point, low, high = (f"{x:{bare}}" for x in (interval.point, interval.low, interval.high))
    return point if math.isnan(interval.low) else f"{point} [{low}, {high}]"  # of a single seed


def fit_table(fit: Fit, rate: float | None) -> Table:
    """What a seed needs, how many fit, and how long all will take at so many episodes per second."""
    experiment, means, lane = fit.config.experiment, fit.config.means, fit.lane
    table = Table(box=box.SIMPLE_HEAD, show_header=False)
    table.add_column()
    table.add_column(justify="right", no_wrap=True)

    def megabytes(size: float) -> str:
        return f"{size / 1e6:,.2f} MB"

    table.add_row(f"{experiment.task}, {experiment.method}: one seed keeps", megabytes(lane.total))
    groups = {"parameters": lane.parameters, "optimizers": lane.optimizers}
    if lane.memories >= 5e3:  # a threshold or two would be a line of zeros
        groups["memories of parts"] = lane.memories
    for name, size in (groups | {"replay": lane.replay, "rest": lane.rest}).items():
        table.add_row(f"    {name}", megabytes(size))
    if fit.activations:
        table.add_row("and while it advances with others", megabytes(fit.activations))
    table.add_row("memory to use, of each device", megabytes(fit.memory))
    each = "each device" if fit.devices > 1 else "the device"
    table.add_row(f"predicted for {each}", megabytes(fit.predicted))
    if fit.compiled is not None:
        table.add_row("as compiled", megabytes(fit.compiled.total))
    table.add_row("devices", f"{fit.devices}")
    table.add_row("seeds at a time (--lanes)", f"{means.lanes:,} of {experiment.seeds:,}")
    if means.microbatch:
        table.add_row("advancing together (--microbatch)", f"{means.microbatch:,}")
    table.add_row("waves", f"{fit.waves:,}")
    if rate is not None:
        seconds = experiment.seeds * experiment.episodes / rate
        table.add_row("speed, measured just now", f"{rate:,.0f} episodes/s of all seeds")
        table.add_row(f"time for {experiment.episodes:,} episodes of all seeds", duration(seconds))
    return table


def card_table(found: CardFit) -> Table:
    """What a seed needs on a card, how many fit, and the least time that all can take: a bound."""
    experiment, means = found.config.experiment, found.config.means
    table = Table(box=box.SIMPLE_HEAD, show_header=False)
    table.add_column()
    table.add_column(justify="right", no_wrap=True)
    card, lane = found.card, found.lane
    table.add_row(f"{experiment.task}, {experiment.method}, on one {card.name}", "as compiled")
    table.add_row("one seed keeps", _megabytes(lane.total))
    table.add_row("and while it advances with others", _megabytes(found.temporary))
    table.add_row("memory to use", _megabytes(found.memory))
    table.add_row("memory needed", _megabytes(found.needed))
    table.add_row("seeds at a time (--lanes)", f"{means.lanes:,} of {experiment.seeds:,}")
    if means.microbatch:
        table.add_row("advancing together (--microbatch)", f"{means.microbatch:,}")
    table.add_row("waves", f"{found.waves:,}")
    table.add_row("kernels an episode of all seeds", f"{found.kernels:,.0f}")
    table.add_row("moved in an episode of one seed", _megabytes(found.moved))
    table.add_row("products in an episode of one seed", f"{found.flops / 1e9:,.2f} GFLOP")
    everything = f"{experiment.episodes:,} episodes of all seeds"
    for name, seconds in found.bounds.items():
        table.add_row(f"at least, by {name}, for {everything}", duration(seconds))
    table.add_row("a bound, not a measurement", duration(max(found.bounds.values())))
    return table


def markdown(rows: Sequence[CardFit]) -> str:
    """All rows as a Markdown table. Times are bounds; "fused" are kernels of our own."""
    columns = (
        "task", "method", "card", "precision", "MB a seed: kept", "computing", "at a time",
        "micro-batch", "kernels an episode", "MB moved", "GFLOP", "at least, minutes: bandwidth",
        "products", "launches",
    )  # fmt: skip
    lines = [_line(columns), _line(["---"] * 4 + ["---:"] * (len(columns) - 4))]
    for row in rows:
        experiment, means = row.config.experiment, row.config.means
        lines.append(
            _line(
                [
                    f"`{experiment.task}`",
                    f"`{experiment.method}`",
                    row.card.name,
                    means.precision + (", fused" if means.kernels == "fused" else ""),
                    f"{row.lane.total / 1e6:.1f}",
                    f"{row.temporary / 1e6:.1f}",
                    f"{means.lanes:,} of {experiment.seeds:,}",
                    f"{means.microbatch:,}" if means.microbatch else "-",
                    f"{row.kernels:,.0f}",
                    f"{row.moved / 1e6:.0f}",
                    f"{row.flops / 1e9:.2f}",
                    *(f"{seconds / 60:.1f}" for seconds in row.bounds.values()),
                ]
            )
        )
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _megabytes(size: float) -> str:
    return f"{size / 1e6:,.2f} MB"
