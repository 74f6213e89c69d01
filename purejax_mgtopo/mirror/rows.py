"""What the W&B mirror logs, as plain numbers: from an evaluation, or a chunk's event, to one row.

`shown_name` says under which key a value goes there: W&B lists charts by the alphabet, and the returns should be first.
Nothing here knows W&B, a disk or a clock, so that a mirror written during training and one rebuilt from the records
hold the same values. S seeds, N agents.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from purejax_mgtopo.analysis.statistics import curve_interval, interquartile_mean
from purejax_mgtopo.config import Experiment
from purejax_mgtopo.records.metrics import FINAL, LEADING, Evaluation

AXIS = "env_steps"
"""What every curve over seeds is drawn against: environment steps of one seed."""
PROGRESS_AXIS = "progress/episode"
"""What progress is drawn against: training episodes of a seed, summed over waves, so that it always grows."""
HEAT_MAP, SEED_TABLE = "pair_rate/heat_map", "final/seeds"
FINAL_ROW = "final/final_return"
QUANTILES = {"q05": 0.05, "q25": 0.25, "median": 0.5, "q75": 0.75, "q95": 0.95}
HEAT_MAPS = 20
"""Pictures of a run at most; the rates themselves are curves."""
BINS = 32
PAIR_CURVES_UP_TO = 8
"""Agents: beyond, N (N - 1) curves help nobody, and the picture remains."""


@dataclass(frozen=True)
class Histogram:
    """How many seeds have a value in each bin."""

    counts: NDArray[np.int64]
    """[BINS] seeds."""
    edges: NDArray[np.float64]
    """[BINS + 1] ends of the bins."""


@dataclass(frozen=True)
class HeatMap:
    """How often agent i (row) received from agent j (column), as a picture."""

    rates: NDArray[np.float64]
    """[N, N] in [0, 1], means over seeds; the diagonal means nothing."""
    caption: str


Row = dict[str, float | int | Histogram | HeatMap]
"""W&B's own shape: values by the name under which they are logged."""


_GROUPS = {
    "return_sampled": "1_returns/sampled",
    "return_greedy": "1_returns/greedy",
    "train_return": "1_returns/training",
    "edge_rate": "2_edges/open",
    "metrics": "3_learning",
    "progress": "4_progress",
    "seeds": "5_seeds",
    "final": "5_seeds",
    "pair_rate": "6_pairs",
}
_SHOWN = ("iqm", "low", "high")
"""Statistics of the leading columns that get a chart; what a histogram of the seeds tells besides gets none."""


def shown_name(name: str) -> str | None:
    """The key of a row's value in W&B; None for what is not shown there."""
    group, slash, rest = name.partition("/")
    if not slash or group not in _GROUPS:
        return name
    if group not in LEADING:
        return f"{_GROUPS[group]}/{rest}"
    if rest == "histogram":
        return f"5_seeds/{group}"
    return f"{_GROUPS[group]}_{rest}" if rest in _SHOWN else None


def summarised() -> tuple[str, ...]:
    """The keys whose last value stands in W&B's table of runs; columns of everything would bury them."""
    own = [f"{name}/{k}" for name in LEADING for k in _SHOWN]
    own += [f"{FINAL_ROW}_{k}" for k in (*_SHOWN, "episodes")]
    own += ["seeds/total", "seeds/non_finite", AXIS, "episode", PROGRESS_AXIS]
    own += ["progress/episodes_per_second", "progress/hours"]
    return tuple(key for name in own if (key := shown_name(name)) is not None)


def together(parts: Sequence[Evaluation]) -> Evaluation:
    """The evaluations of several waves or processes at the same episode as one: seeds ascending, each once."""
    seeds, first = np.unique(np.concatenate([part.seeds for part in parts]), return_index=True)

    def joined(arrays: Sequence[NDArray]) -> NDArray:
        return np.concatenate(arrays)[first]

    return Evaluation(
        episode=parts[0].episode,
        env_steps=parts[0].env_steps,
        seeds=seeds,
        finite=joined([part.finite for part in parts]),
        columns={name: joined([part.columns[name] for part in parts]) for name in parts[0].columns},
    )


def healthy_seeds(evaluation: Evaluation) -> NDArray[np.bool_]:
    """[S] seeds that statistics may use: neither frozen nor with a return or an edge rate that is not a number."""
    whole = [np.isfinite(evaluation.columns[name]) for name in _leading(evaluation)]
    return evaluation.finite & np.logical_and.reduce(whole)


def _leading(evaluation: Evaluation) -> tuple[str, ...]:
    """The leading columns that tell something: of an untrained team not the training's."""
    return LEADING if evaluation.episode else tuple(n for n in LEADING if n[:6] != "train_")


def final_row(evaluation: Evaluation, experiment: Experiment) -> Row:
    """The final return of a run that has ended, and the episodes of each seed that it is a mean of."""
    settings = experiment.evaluation
    values, played = evaluation.columns["return_sampled"], settings.episodes
    own = evaluation.columns.get(f"{FINAL}return_sampled")
    if own is not None and np.isfinite(own).any():
        values, played = own, settings.final_batches * settings.episodes
    known = values[healthy_seeds(evaluation) & np.isfinite(values)].astype(np.float64)
    if not len(known):
        return {}
    band = curve_interval(known[:, None])
    numbers = {k: float(getattr(band, end)[0]) for k, end in zip(_SHOWN, band._fields, strict=True)}
    row: Row = {f"{FINAL_ROW}_{k}": x for k, x in numbers.items() if not math.isnan(x)}
    return row | {f"{FINAL_ROW}_episodes": played}


def evaluation_row(evaluation: Evaluation, experiment: Experiment) -> Row:
    """Statistics over the seeds of one evaluation; what is not known (one seed's spread) is left out.

    Returns, edge rates: the interquartile mean with its 95 % bootstrap interval, as in the figures; mean, quantiles,
    histogram. Every other measurement of a seed: the interquartile mean over the seeds that have it, under
    ``metrics/``. Edge by edge: mean rates and, at some evaluations, a picture.
    """
    healthy = healthy_seeds(evaluation)
    row: Row = {
        AXIS: evaluation.env_steps,
        "episode": evaluation.episode,
        "seeds/total": len(healthy),
        "seeds/non_finite": int(np.sum(~healthy)),
    }
    if not healthy.any():
        return row
    names = _leading(evaluation)
    leading = np.stack([evaluation.columns[name][healthy] for name in names], axis=1)
    leading = leading.astype(np.float64)  # [S, 4]
    band = curve_interval(leading)
    for k, name in enumerate(names):
        row[f"{name}/iqm"] = float(band.point[k])
        if not math.isnan(band.low[k]):
            row[f"{name}/low"], row[f"{name}/high"] = float(band.low[k]), float(band.high[k])
        row[f"{name}/mean"] = float(np.mean(leading[:, k]))
        for label, share in QUANTILES.items():
            row[f"{name}/{label}"] = float(np.quantile(leading[:, k], share))
        row[f"{name}/histogram"] = Histogram(*np.histogram(leading[:, k], bins=BINS))
    for name, values in evaluation.columns.items():
        if name not in LEADING and values.ndim == 1 and not name.startswith(FINAL):
            known = values[healthy & np.isfinite(values)]
            if len(known):
                row[f"metrics/{name}"] = float(interquartile_mean(known))
    if "pair_rate" in evaluation.columns:
        row |= _pairs(evaluation, healthy, experiment)
    return row


def _pairs(evaluation: Evaluation, healthy: NDArray[np.bool_], experiment: Experiment) -> Row:
    rates = evaluation.columns["pair_rate"][healthy].astype(np.float64).mean(axis=0)
    agents = len(rates)
    row: Row = {}
    if agents <= PAIR_CURVES_UP_TO:
        for i in range(agents):
            for j in range(agents):
                if i != j:
                    row[f"pair_rate/{i}_from_{j}"] = float(rates[i, j])
    if _pictured(evaluation.episode, experiment):
        row[HEAT_MAP] = HeatMap(
            rates,
            f"episode {evaluation.episode}: how often the row's agent received from the column's, white never, dark "
            f"always; agents 0 to {agents - 1}, mean of {int(healthy.sum())} seeds",
        )
    return row


def _pictured(episode: int, experiment: Experiment) -> bool:
    """Whether an evaluation gets a heat map: at most HEAT_MAPS do, evenly spread, the last among them."""
    every = experiment.evaluation.every
    evaluations = -(-experiment.episodes // every)  # besides that of the untrained team
    from_the_end = evaluations - -(-episode // every)
    return episode > 0 and from_the_end % -(-evaluations // HEAT_MAPS) == 0


def progress_row(event: Mapping[str, Any], experiment: Experiment) -> Row:
    """One chunk's line of ``events.jsonl``; null values, which JSON has for NaN, are left out."""
    values = {
        PROGRESS_AXIS: overall_episode(event, experiment),
        "progress/wave": event.get("wave", 0),
        "progress/train_return": event.get("train_return"),
        "progress/edge_rate": event.get("edge_rate"),
        "progress/episodes_per_second": event.get("episodes_per_second"),
        "progress/non_finite": event.get("non_finite"),
        "progress/hours": event["seconds"] / 3600 if "seconds" in event else None,
    }
    return {name: value for name, value in values.items() if value is not None}


def overall_episode(event: Mapping[str, Any], experiment: Experiment) -> int:
    """Training episodes of a seed, summed over the waves so far."""
    return int(event.get("wave", 0)) * experiment.episodes + int(event["episode"])


def step_of(wave: int, episode: int, experiment: Experiment) -> int:
    """The mirror's step: episodes summed over waves, and one for the untrained team of each wave after the first.

    W&B takes one row at a step, and none before it: that team's would else fall on the last chunk of the wave before.
    """
    return wave * (experiment.episodes + 1) + episode


def seed_row(evaluation: Evaluation, seed: int) -> Row:
    """One seed's own numbers; those that are not finite are left out."""
    at = int(np.flatnonzero(evaluation.seeds == seed)[0])
    row: Row = {
        AXIS: evaluation.env_steps,
        "episode": evaluation.episode,
        "finite": int(evaluation.finite[at]),
    }
    for name, values in evaluation.columns.items():
        if values.ndim == 1 and np.isfinite(values[at]):
            row[f"seed/{name}"] = float(values[at])
    return row


def seed_table(evaluation: Evaluation) -> tuple[list[str], list[list[Any]]]:
    """Headings, and a line for every seed: all that was measured of it; None where that is not a number."""
    names = [name for name, values in evaluation.columns.items() if values.ndim == 1]
    lines = []
    for at, seed in enumerate(evaluation.seeds):
        numbers = [float(evaluation.columns[name][at]) for name in names]
        known = [number if math.isfinite(number) else None for number in numbers]
        lines.append([int(seed), bool(evaluation.finite[at]), *known])
    return ["seed", "finite", *names], lines


def pixels(rates: NDArray[np.float64]) -> NDArray[np.uint8]:
    """The heat map, [height, width, 3]: who receives in rows, from whom in columns, and the share in each cell."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    agents = len(rates)
    side = 1.6 + 0.5 * max(4, min(agents, 16))
    figure = Figure(figsize=(side + 0.8, side), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    image = axes.imshow(
        np.ma.masked_where(np.eye(agents, dtype=bool), rates), "Blues", vmin=0, vmax=1
    )
    axes.set_facecolor("#bebebe")
    axes.set(xlabel="speaks", ylabel="listens", xticks=range(agents), yticks=range(agents))
    figure.colorbar(image, ax=axes, label="share of steps", shrink=0.8)
    for i, j in np.ndindex(rates.shape) if agents <= 10 else ():
        if i != j:
            dark = rates[i, j] > 0.6
            axes.text(j, i, f"{rates[i, j]:.0%}", ha="center", va="center", fontsize=9,
                      color="white" if dark else "black")  # fmt: skip
    canvas.draw()
    return np.array(canvas.buffer_rgba())[..., :3]
