"""What a rule says of edges, reduced to what the page draws: f against advantage, progress, price and N."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from purejax_mgtopo.algorithm.algorithm import Algorithm
    from purejax_mgtopo.algorithm.topology.edgewise.said import Said
    from purejax_mgtopo.trained.load import Networks

UPDATES, ASKED = 200, 40
"""Gate updates of a life at most, and those of which the rule is asked again under other circumstances."""
BINS = 10
FEW = 30
"""A place with fewer edges has no mean worth drawing."""
TEAMS = (2, 3, 4, 6, 8, 12)
"""Numbers of agents that the rule is asked about, besides the run's own."""
DEAREST = 0.1
"""The highest price that the rule is asked about, if the run's own is not half of it or more."""


@dataclass(frozen=True)
class Course:
    """f of one kind of edges at P places, in standard deviations of the advantage."""

    x: NDArray
    """[P] where."""
    mean: NDArray
    low: NDArray
    """[P] a tenth of the edges lies below."""
    high: NDArray
    """[P] a tenth of the edges lies above."""


@dataclass(frozen=True)
class Sides:
    """f of open and of closed edges; None of a kind that hardly was there."""

    open: Course | None
    closed: Course | None


@dataclass(frozen=True)
class RuleSaid:
    """What one seed's rule says of edges over a life lived anew."""

    seed: int
    updates: int
    """Gate updates of that life."""
    episodes: int
    """The run's, which it stands for."""
    price: float
    agents: int
    on_open: float
    """Mean f; NaN where no edge was open."""
    on_closed: float
    push: NDArray
    """[N, N-1] for each receiver and sender the mean f where the edge is open, less that where it is closed: above zero
    the rule opens it. NaN where it hardly ever is the one or the other."""
    by_advantage: Sides
    by_progress: Sides
    by_price: Sides
    """The same steps, told of other prices."""
    by_agents: Sides
    """Made-up teams of other sizes."""


def rule_said(
    algorithm: Algorithm, networks: Networks, seed: int, precision: str = "auto"
) -> RuleSaid:
    """A life under a seed's rule, and what the rule says of it. Raises ConfigError where the rule's file is gone."""
    import jax

    from purejax_mgtopo.algorithm.types import Purpose
    from purejax_mgtopo.machine.compiler import matmul_precision
    from purejax_mgtopo.report.rule.lived import among, at_price, network_of, relive

    experiment, agents = algorithm.experiment, algorithm.env.num_agents
    updates, price = min(UPDATES, experiment.episodes), experiment.gates.edge_cost
    prices = sorted({*np.linspace(0, max(DEAREST, 2 * price), 6).round(6).tolist(), price})
    sizes = sorted({*TEAMS, agents})
    eta = network_of(algorithm, networks)
    life_key, *keys = jax.random.split(Purpose.QUESTIONING.key(seed), 1 + len(sizes))
    with matmul_precision(precision):
        life = relive(algorithm, networks, eta, updates, life_key)
        part = life.thinned(ASKED)
        dearer = [at_price(algorithm, eta, part, price) for price in prices]
        others = [
            among(algorithm, eta, part, size, key) for size, key in zip(sizes, keys, strict=True)
        ]
    return summarised(
        life.said, list(zip(prices, dearer, strict=True)), list(zip(sizes, others, strict=True)),
        seed=seed, updates=updates, episodes=experiment.episodes, price=price, agents=agents,
    )  # fmt: skip


def summarised(
    said: Said,
    at_prices: Sequence[tuple[float, Said]],
    at_sizes: Sequence[tuple[int, Said]],
    **known: Any,
) -> RuleSaid:
    """The pictures' numbers, of answers [U, T, N, N-1].

    Args:
        known: what else `RuleSaid` is to tell.
    """
    f, opened = np.asarray(said.f, float), np.asarray(said.inputs.decision) > 0
    advantage, progress = np.asarray(said.inputs.advantage), np.asarray(said.inputs.progress)
    cuts = np.quantile(advantage, np.linspace(0, 1, BINS + 1)[1:-1])
    tenth = np.minimum(BINS * progress + 1e-4, BINS - 1).astype(int)  # 0.7 as told is a little less
    return RuleSaid(
        on_open=float(f[opened].mean()) if opened.any() else np.nan,
        on_closed=float(f[~opened].mean()) if (~opened).any() else np.nan,
        push=_push(opened, f),
        by_advantage=_sides(opened, advantage, np.digitize(advantage, cuts), f),
        by_progress=_sides(opened, progress, tenth, f),
        by_price=_told(at_prices),
        by_agents=_told(at_sizes),
        **known,
    )


def _push(opened: NDArray, f: NDArray) -> NDArray:
    often = (np.stack([opened, ~opened]).sum(axis=(1, 2)) >= FEW).all(axis=0)
    on_open, on_closed = (
        np.sum(f * kind, axis=(0, 1)) / np.maximum(kind.sum(axis=(0, 1)), 1)
        for kind in (opened, ~opened)
    )
    return np.where(often, on_open - on_closed, np.nan)


def _told(answers: Sequence[tuple[float, Said]]) -> Sides:
    """What was said under each of several circumstances."""
    f = np.concatenate([np.asarray(said.f, float).ravel() for _, said in answers])
    opened = np.concatenate([np.asarray(said.inputs.decision).ravel() > 0 for _, said in answers])
    counts = [said.f.size for _, said in answers]
    x = np.repeat([float(place) for place, _ in answers], counts)
    return _sides(opened, x, np.repeat(np.arange(len(answers)), counts), f)


def _sides(opened: NDArray, x: NDArray, place: NDArray, f: NDArray) -> Sides:
    """f of either kind of edges by place, at the mean x of those that are there."""
    return Sides(*(_line(x[kind], place[kind], f[kind]) for kind in (opened, ~opened)))


def _line(x: NDArray, place: NDArray, f: NDArray) -> Course | None:
    groups = [place == p for p in np.unique(place)]
    groups = [group for group in groups if group.sum() >= FEW]
    if not groups:
        return None
    ends = np.array([np.quantile(f[group], (0.1, 0.9)) for group in groups])
    return Course(
        x=np.array([x[group].mean() for group in groups]),
        mean=np.array([f[group].mean() for group in groups]),
        low=ends[:, 0],
        high=ends[:, 1],
    )
