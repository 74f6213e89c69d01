"""What communication is worth, for the page: other channels than the trained one, as `mgtopo evaluate` played them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from purejax_mgtopo.analysis.gain import share_kept
from purejax_mgtopo.analysis.statistics import Interval, stratified_bootstrap
from purejax_mgtopo.errors import RunError
from purejax_mgtopo.trained.table import FILE_NAME, read_table


@dataclass(frozen=True)
class Control:
    """One channel: the return over it, and the share of the gain over `cut` that is left."""

    channel: str
    episodic_return: Interval
    kept: Interval | None


@dataclass(frozen=True)
class Controlled:
    """A trained team over the channels that it was evaluated over."""

    task: str
    method: str
    run: str
    seeds: int
    episodes: int
    controls: tuple[Control, ...]

    def over(self, channel: str) -> Control | None:
        """What was played over that channel, if anything."""
        return next((c for c in self.controls if c.channel == channel), None)


def read_controls(
    folders: Sequence[Path], say: Callable[[str], None] = lambda line: None
) -> tuple[Controlled, ...]:
    """All tables of evaluations at or beneath `folders`; of a run in several, the one that was written last."""
    found: dict[Path | tuple[str, ...], Controlled] = {}
    paths = dict.fromkeys(p for folder in folders for p in folder.rglob(FILE_NAME))
    for path in sorted(paths, key=lambda p: p.stat().st_mtime):
        try:
            rows = read_table(path)
        except (RunError, OSError, ValueError) as error:
            say(f"{path} is left out: {' '.join(str(error).split())}")
            continue
        runs: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
        for row in rows:
            runs.setdefault((row["task"], row["method"], row["run"]), []).append(row)
        found |= {
            _place(key[-1], path) or key: told
            for key, own in runs.items()
            if (told := _controlled(own)) is not None
        }
    return tuple(found.values())


def _place(run: str, table: Path) -> Path | None:
    """Where the run lies, which the table names as it was seen from a folder that nobody wrote down; None where it is
    not found: a table commonly lies in or beneath that folder, or is read from there."""
    for start in (*table.resolve().parents, Path()):
        if (place := start / run).is_dir():
            return place.resolve()
    return None


def _controlled(rows: Sequence[dict[str, Any]]) -> Controlled | None:
    """What one run's rows of a table tell; None where nothing was heard or no seed is finite."""
    healthy = [row for row in rows if row["finite"]]
    channels = list(dict.fromkeys(row["condition"] for row in healthy))
    if "cut" not in channels:
        return None
    # Episodes of another start are other episodes: each seed counts once, with the last of them.
    returns = {(row["seed"], row["condition"]): row["return"] for row in healthy}
    seeds = list(dict.fromkeys(seed for seed, _ in returns))
    values = np.array([[returns.get((seed, c), np.nan) for c in channels] for seed in seeds])
    values = values[np.isfinite(values).all(axis=1)]
    if not len(values):
        return None
    return Controlled(
        task=rows[0]["task"],
        method=rows[0]["method"],
        run=rows[0]["run"],
        seeds=len(values),
        episodes=int(healthy[-1]["episodes"]),
        controls=tuple(
            Control(c, stratified_bootstrap([values[:, k]]), share_kept(values, channels, k))
            for k, c in enumerate(channels)
        ),
    )


def channels_of(teams: Sequence[Controlled]) -> list[str]:
    """All channels that any of these teams was played over, in the order of their tables."""
    return list(dict.fromkeys(c.channel for team in teams for c in team.controls))


def sentence(controlled: Controlled) -> str:
    """What is left of the gain where messages are of another episode, in words that claim no more."""
    shuffled, name = controlled.over("shuffled"), controlled.method
    if shuffled is None:
        return f"{name} was not played with shuffled messages."
    if shuffled.kept is None:
        return (
            f"{name} loses nothing for certain without its channel: there is no gain to share out."
        )
    kept = shuffled.kept
    interval = "" if np.isnan(kept.low) else f" [{percent(kept.low)}, {percent(kept.high)}]"
    share = f"{percent(kept.point)}{interval}"
    if kept.point <= 0:
        return (
            f"{name}: nothing of what it gains by its channel survives shuffled messages ({share})."
        )
    return f"{name}: {share} of what it gains by its channel survives shuffled messages."


def percent(share: float) -> str:
    """A share as whole per cent, without a negative zero."""
    return f"{round(100 * share) + 0:.0f}%".replace("-", "\u2212")
