"""A run's records read back: all evaluations of all seeds as arrays."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from purejax_mgtopo.config import Experiment, Means
from purejax_mgtopo.errors import RunError
from purejax_mgtopo.machine.paths import expanded
from purejax_mgtopo.records.metrics import FINAL, LEADING, Evaluation, read_metrics
from purejax_mgtopo.records.record import (
    METRICS,
    Status,
    all_lost,
    read_config,
    read_events,
    status,
    tables,
)


@dataclass(frozen=True)
class FinalReturns:
    """What "final return" means of a run, seed by seed."""

    return_sampled: NDArray[np.float32]
    """[S] mean return, edges drawn."""
    edge_rate: NDArray[np.float32]
    """[S] share of edges open."""
    episodes: int
    """Episodes of each seed that these are means of."""
    own: bool
    """The final evaluation's. Else the last one's on the way: the run is under way, or of an older version."""

    def __repr__(self) -> str:
        known = self.return_sampled[np.isfinite(self.return_sampled)]
        mean = f"{np.mean(known):.2f}" if len(known) else "nan"
        when = "after training" if self.own else "of the last evaluation"
        seeds = len(self.return_sampled)
        return (
            f"<FinalReturns of {seeds} seeds: mean {mean}, {self.episodes:,} episodes each {when}>"
        )


@dataclass(frozen=True)
class RunData:
    """A run's evaluations as arrays: E evaluations, S seeds that have come as far as any."""

    experiment: Experiment
    means: Means
    seconds: float
    """Wall time of the whole run, NaN when it did not finish."""
    episodes: NDArray[np.int64]
    """[E] training episodes at each evaluation."""
    env_steps: NDArray[np.int64]
    """[E] environment steps of a seed at each evaluation."""
    seeds: NDArray[np.int32]
    """[S] numbers of the seeds."""
    columns: Mapping[str, NDArray[np.float32]]
    """[S, E, ...] by the name of the table's column."""
    finite: NDArray[np.bool_]
    """[S, E] false once a seed's parameters have left the finite numbers; it stays as it was before."""
    folder: Path = Path()
    """Where the run was read from."""
    wall: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    """[E] seconds of training until each evaluation of all seeds was recorded; NaN where that is not told."""
    lost: bool = False
    """Whether it has ended, finished or given up, without a seed that stayed finite."""

    def __repr__(self) -> str:
        last = "no evaluation yet"
        if len(self.episodes):
            healthy = self.final.return_sampled[self.finite[:, -1]]
            mean = f"{np.mean(healthy):.2f}" if len(healthy) else "nan"
            trained = np.count_nonzero(self.episodes)
            last = f"{trained} evaluations until episode {self.episodes[-1]:,}, final return {mean}"
        name = f"{self.experiment.task}, {self.experiment.method}"
        return f"<RunData {name}: {len(self.seeds)} seeds, {last}; {self.folder}>"

    def to_pandas(self) -> Any:
        """A data frame with a row for each seed and evaluation; columns as in the table, and `glossary.FRAME`.

        ``pair_rate`` becomes a column for each pair, ``pair_rate_0_from_2``. Raises RunError where pandas is missing.
        """
        try:
            import pandas
        except ImportError:
            raise RunError("a data frame needs pandas: pip install pandas") from None

        seeds, evaluations = len(self.seeds), len(self.episodes)
        hours = (
            self.wall / 3600 if len(self.wall) == evaluations else np.full(evaluations, math.nan)
        )
        cells: dict[str, Any] = {
            "run": str(self.folder),
            "task": self.experiment.task,
            "method": self.experiment.method,
            "seed": np.repeat(self.seeds, evaluations),
            "episode": np.tile(self.episodes, seeds),
            "env_steps": np.tile(self.env_steps, seeds),
            "hours": np.tile(hours, seeds),
        }
        for name, values in self.columns.items():
            if values.ndim == 2:
                cells[name] = values.reshape(-1)
            elif name == "pair_rate":
                for i, j in np.ndindex(values.shape[2:]):
                    if i != j:
                        cells[f"pair_rate_{i}_from_{j}"] = values[:, :, i, j].reshape(-1)
        cells["finite"] = self.finite.reshape(-1)
        return pandas.DataFrame(cells)

    def to_xarray(self) -> Any:
        """A data set over ``seed`` and ``episode``, and agents ``i`` and ``j`` for pairs. Needs xarray."""
        import xarray

        axes = ("seed", "episode", "i", "j")
        values: dict[str, Any] = {
            name: (axes[: x.ndim], x) for name, x in self.columns.items() if x.ndim in (2, 4)
        }
        values["finite"] = (axes[:2], self.finite)
        coordinates = {
            "seed": self.seeds,
            "episode": self.episodes,
            "env_steps": ("episode", self.env_steps),
        }
        told = {"task": self.experiment.task, "method": self.experiment.method}
        return xarray.Dataset(values, coordinates, told | {"run": str(self.folder)})

    def plot(self, column: str = "return_sampled", axes: Any = None) -> Any:
        """Each seed's curve of a column, thin, and the median of the finite ones; the Matplotlib axes."""
        import matplotlib.pyplot as plt

        values = self.column(column)
        if values.ndim != 2:
            raise RunError(f"{column} is more than a number for each seed and evaluation")
        axes = plt.subplots()[1] if axes is None else axes
        known = np.where(self.finite, values, np.nan)
        middle = np.full(len(self.env_steps), np.nan)
        told = np.isfinite(known).any(axis=0)  # an untrained team has measured little
        middle[told] = np.nanmedian(known[:, told], axis=0)
        (median,) = axes.plot(self.env_steps, middle, label=self.experiment.method)
        for line in known:
            axes.plot(self.env_steps, line, color=median.get_color(), alpha=0.25, linewidth=0.8)
        axes.set_xlabel("environment steps of a seed")
        axes.set_ylabel(column, parse_math=False)  # else a $ in a name would begin a formula
        axes.set_title(self.experiment.task, parse_math=False)
        for text in axes.legend().get_texts():
            text.set_parse_math(False)
        return axes

    def column(self, name: str) -> NDArray[np.float32]:
        """One column of the table, [S, E, ...]. Raises RunError for a column that this run's table does not have."""
        if name not in self.columns:
            raise RunError(f"no column {name}; there are {', '.join(self.columns)}")
        return self.columns[name]

    @property
    def final(self) -> FinalReturns:
        """The final evaluation's where there was one, else the last evaluation's. NaN before the first."""
        settings = self.experiment.evaluation
        if not len(self.episodes):
            nothing = np.full(len(self.seeds), np.nan, np.float32)
            return FinalReturns(nothing, nothing, 0, own=False)
        names = ("return_sampled", "edge_rate")
        found = [self.columns.get(f"{FINAL}{name}") for name in names]
        if found[0] is None or found[1] is None or not np.isfinite(found[0][:, -1]).any():
            last, edges = (self.column(name)[:, -1] for name in names)
            return FinalReturns(last, edges, settings.episodes, own=False)
        played = settings.final_batches * settings.episodes
        return FinalReturns(found[0][:, -1], found[1][:, -1], played, own=True)

    @property
    def healthy(self) -> NDArray[np.bool_]:
        """[S] seeds whose final return counts: finite, as all that they learned is."""
        if not len(self.episodes):
            return np.zeros(len(self.seeds), bool)
        known = np.isfinite(self.final.return_sampled) & np.isfinite(self.return_sampled[:, -1])
        return known & self.finite[:, -1]

    @property
    def return_sampled(self) -> NDArray[np.float32]:
        """[S, E] mean return of evaluation episodes with edges drawn."""
        return self.column("return_sampled")

    @property
    def return_greedy(self) -> NDArray[np.float32]:
        """[S, E] mean return of evaluation episodes, edges open where more likely than not."""
        return self.column("return_greedy")

    @property
    def train_return(self) -> NDArray[np.float32]:
        """[S, E] mean return of training episodes since the evaluation before."""
        return self.column("train_return")

    @property
    def edge_rate(self) -> NDArray[np.float32]:
        """[S, E] share of edges open in evaluation episodes with edges drawn."""
        return self.column("edge_rate")

    @property
    def pair_rate(self) -> NDArray[np.float32] | None:
        """[S, E, N, N]: how often i (row) received from j (column); None in records without."""
        return self.columns.get("pair_rate")


def load_run(folder: str | Path) -> RunData:
    """A run's evaluations as arrays. Raises RunError when `folder` is not a run."""
    folder = expanded(folder)
    config = read_config(folder)
    try:
        rows = list(read_metrics(tables(folder)))
    except (OSError, ValueError, KeyError) as error:
        raise RunError(
            f"{folder / METRICS} cannot be read: {' '.join(str(error).split())}; put the original back, or train the "
            "run again in another folder"
        ) from None
    seeds, episodes, cells = _grid(rows, config.experiment)
    steps = {row.episode: row.env_steps for row in rows}

    def gathered(parts: list[NDArray], kind: Any) -> NDArray:
        table = np.concatenate(parts) if parts else np.empty(0)
        return table[cells].astype(kind)

    names = list(rows[0].columns) if rows else list(LEADING)
    events = list(read_events(folder))
    ends = [event for event in events if event.get("event") == "end"]
    finite = gathered([row.finite for row in rows], np.bool_)
    # Each process counts the seeds of its own; the table tells of all, but of none that was never evaluated.
    gone = bool(ends) and (
        ends[-1].get("non_finite", 0) >= config.experiment.seeds
        or (len(episodes) > 0 and not finite[:, -1].any())
    )
    when = {  # of waves, the last one's: from then on all seeds are known
        event["episode"]: float(event.get("seconds") or math.nan)
        for event in events
        if event.get("event") == "evaluation" and "episode" in event
    }
    return RunData(
        experiment=config.experiment,
        means=config.means,
        seconds=ends[-1]["seconds"] if ends else math.nan,
        episodes=episodes,
        env_steps=np.array([steps[episode] for episode in episodes], np.int64),
        seeds=seeds,
        columns={name: gathered([row.columns[name] for row in rows], np.float32) for name in names},
        finite=finite,
        folder=folder,
        wall=np.array([when.get(int(episode), math.nan) for episode in episodes], np.float64),
        lost=gone or all_lost(folder),
    )


def is_lost(folder: Path) -> bool:
    """Whether the run in `folder` has ended, finished or given up, without a seed that stayed finite.

    Raises RunError where a finished run's records cannot be read.
    """
    return all_lost(folder) or (status(folder) is Status.FINISHED and load_run(folder).lost)


def _grid(
    rows: list[Evaluation], experiment: Experiment
) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]:
    """Seeds [S], episodes [E] and, in the rows of all evaluations together, where each is told [S, E].

    Of waves that are still under way, only those seeds count that have come as far as any.
    """
    if not rows:
        seeds = experiment.first_seed + np.arange(experiment.seeds, dtype=np.int32)
        return seeds, np.empty(0, np.int64), np.empty((len(seeds), 0), np.int64)
    seed = np.concatenate([row.seeds for row in rows])
    episode = np.concatenate([np.full(len(row.seeds), row.episode) for row in rows])
    order = np.lexsort((episode, seed))
    # A kill while tables are joined leaves rows in two of them.
    again = (np.diff(seed[order]) == 0) & (np.diff(episode[order]) == 0)
    order = order[np.concatenate([[True], ~again])]
    seeds, begins, counts = np.unique(seed[order], return_index=True, return_counts=True)
    whole = counts == counts.max()
    cells = order[begins[whole][:, None] + np.arange(counts.max())]
    return seeds[whole].astype(np.int32), episode[cells[0]].astype(np.int64), cells
