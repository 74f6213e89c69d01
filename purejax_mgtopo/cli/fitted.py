"""What fits on cards, as tables: for a terminal one at a time, in Markdown many."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table

from purejax_mgtopo.training.progress import duration

if TYPE_CHECKING:
    from purejax_mgtopo.population.cards import CardFit


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
    """All rows as a Markdown table. Times are bounds."""
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
                    means.precision,
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
    return "| " + " | ".join(cells) + " |"


def _megabytes(size: float) -> str:
    return f"{size / 1e6:,.2f} MB"
