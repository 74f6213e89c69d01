"""Tables for a terminal."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table

from purejax_mgtopo.training.progress import duration

if TYPE_CHECKING:
    from purejax_mgtopo.analysis.curves import RunSummary
    from purejax_mgtopo.analysis.statistics import Interval
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


def note(line: str) -> None:
    """Print one line beside the results."""
    print(line, file=sys.stderr, flush=True)


def summary_table(summaries: Sequence[RunSummary]) -> Table:
    """Task x method: final return with its interval over seeds, edge rate, minutes."""
    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("task", "method"):
        table.add_column(heading, overflow="fold")
    for heading in ("final return [95 %]", "score", "edges", "seeds", "minutes"):
        table.add_column(heading, justify="right", no_wrap=True)
    task = None
    from purejax_mgtopo.analysis.normalised import normalised_interval

    for summary in summaries:
        final = summary.final_return
        interval = "" if math.isnan(final.low) else f" [{final.low:.2f}, {final.high:.2f}]"
        score = normalised_interval(summary.task, final)
        all_finite = summary.finite == summary.seeds
        table.add_row(
            "" if summary.task == task else summary.task,
            summary.method,
            "-" if math.isnan(final.point) else f"{final.point:.2f}{interval}",
            "-" if math.isnan(score.point) else _with_interval(score),
            "-" if math.isnan(summary.edge_rate) else f"{summary.edge_rate:.0%}",
            f"{summary.seeds}" if all_finite else f"{summary.finite} of {summary.seeds} finite",
            f"{summary.minutes:.1f}",
        )
        task = summary.task
    return table


def assessment_table(assessment: Assessment) -> Table:
    """Condition x measures: interquartile means over the finite seeds, with their intervals."""
    from purejax_mgtopo.trained.worth import summarise_conditions

    experiment, finite = assessment.experiment, int(assessment.finite.sum())
    seeds = (
        f"{finite} seeds"
        if finite == len(assessment.seeds)
        else (f"{finite} of {len(assessment.seeds)} seeds (the others are not finite)")
    )
    table = Table(
        title=f"{experiment.task}, {experiment.method}: {seeds}, {assessment.episodes:,} episodes each",
        title_justify="left",
        box=box.SIMPLE_HEAD,
    )
    table.add_column("channel")
    rows = summarise_conditions(assessment)
    qualities = [name.removeprefix("edge_") for name in assessment.outcome.edge_quality]
    for heading in (
        "return [95 %]",
        "score",
        "vs sampled",
        *(["gain kept"] if any(row.kept for row in rows) else []),
        "edges",
        *qualities,
        *assessment.outcome.measures,
    ):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(
            row.condition,
            _with_interval(row.episodic_return),
            "-" if math.isnan(row.score.point) else _with_interval(row.score),
            "" if row.condition == "sampled" else _with_interval(row.difference, "+.2f"),
            *([_share(row.kept)] if any(row.kept for row in rows) else []),
            f"{row.edge_rate.point:.0%}",
            *(
                "-" if math.isnan(interval.point) else _with_interval(interval)
                for interval in (*row.edge_quality.values(), *row.measures.values())
            ),
        )
    return table


def _share(kept: Interval | None) -> str:
    return "" if kept is None else _with_interval(kept, ".0%")


def _with_interval(interval: Interval, style: str = ".2f") -> str:
    if math.isnan(interval.low):  # of a single seed
        return f"{interval.point:{style}}"
    return f"{interval.point:{style}} [{interval.low:{style}}, {interval.high:{style}}]"


def fit_table(fit: Fit, rate: float | None) -> Table:
    """What a seed needs, how many fit, and how long all will take at so many episodes per second."""
    experiment, means, lane = fit.config.experiment, fit.config.means, fit.lane
    table = Table(box=box.SIMPLE_HEAD, show_header=False)
    table.add_column()
    table.add_column(justify="right", no_wrap=True)

    def megabytes(size: float) -> str:
        return f"{size / 1e6:,.2f} MB"

    table.add_row(f"{experiment.task}, {experiment.method}: one seed keeps", megabytes(lane.total))
    for name in ("parameters", "optimizers", "replay", "rest"):
        table.add_row(f"    {name}", megabytes(getattr(lane, name)))
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
        table.add_row("speed, measured just now", f"{rate:,.0f} episodes/s")
        table.add_row(f"time for {experiment.episodes:,} episodes of all seeds", duration(seconds))
    return table
