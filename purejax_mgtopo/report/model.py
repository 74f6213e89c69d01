"""What a report says, as data: nothing here knows of files, pictures or pages.

Shapes: S seeds, E evaluations shown, N agents, T steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from purejax_mgtopo.analysis.groups import in_words
from purejax_mgtopo.analysis.statistics import Band, Interval
from purejax_mgtopo.analysis.verdicts import SweepVerdicts
from purejax_mgtopo.records.record import Status
from purejax_mgtopo.report.controls import Controlled
from purejax_mgtopo.report.rule.summary import RuleSaid


@dataclass(frozen=True)
class MetricCurve:
    """The course of a quantity: its interquartile mean over seeds with a pointwise 95 % interval."""

    episodes: NDArray
    """[E] training episodes."""
    band: Band
    env_steps: NDArray | None = None
    """[E] environment steps of a seed."""
    hours: NDArray | None = None
    """[E] hours since the run began; None where the records do not tell."""
    seeds: NDArray = field(default_factory=lambda: np.empty((0, 0)))
    """[S, E] each seed's own course, as far as a chart may show them."""


@dataclass(frozen=True)
class Measured:
    """What a topology rule or a message interpreter measured of its own in a run."""

    name: str
    about: str
    """The sentence that says what it is; empty where there is none."""
    curve: MetricCurve


@dataclass(frozen=True)
class Origin:
    """Where a run came from, as its config.json tells."""

    command: str
    started: str
    commit: str
    device: str
    versions: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Thing:
    """A disc of an episode, in thousandths of the arena's half-width; x to the right, y upwards."""

    role: str
    colour: str
    """The page's name of the colour."""
    fill: str
    """How the disc is filled: pale, solid, hatched, crossed or ring."""
    label: str
    radius: int
    places: NDArray
    """[T+1, 2] integers, or [1, 2] where it stands still."""


@dataclass(frozen=True)
class ClaimTrack:
    """A place that an agent names by its action, tied to the agent by a line."""

    agent: int
    places: NDArray
    """[T, 2] integers, in the units of `Thing.places`."""


@dataclass(frozen=True)
class Playback:
    """An episode to watch."""

    seed: int
    standing: str
    """Where the seed stands among all: best, median or worst."""
    things: tuple[Thing, ...]
    """All discs, the N agents first."""
    claims: tuple[ClaimTrack, ...]
    masks: NDArray
    """[T, N, N] 0 or 1; row i hears column j."""
    rewards: NDArray
    """[T] team rewards."""
    agents: Mapping[str, NDArray] = field(default_factory=dict)
    """What the method shows of each agent, by name: [T, N] or [T, N, K]."""
    pairs: Mapping[str, NDArray] = field(default_factory=dict)
    """What it shows of each receiver and sender, 0 to 1: [T, N, N]."""


@dataclass(frozen=True)
class Run:
    """One run, over its finite seeds."""

    folder: str
    task: str
    method: str
    """The method's name, unique within a task."""
    status: Status
    episode: int
    """Training episodes at the last evaluation; 0 before the first."""
    episodes: int
    """Training episodes asked for."""
    seeds: int
    """Seeds asked for."""
    told: int
    """Those that are evaluated as far as any: fewer than asked for while a run goes through them in waves."""
    lost: tuple[int, ...]
    """Seeds that left the finite numbers."""
    minutes: float
    final: Interval
    finals: NDArray
    """[S] final returns (`RunData.final`) of finite seeds."""
    played: int
    """Episodes of each seed that its final return is a mean of."""
    own_final: bool
    """They are the final evaluation's; else the last evaluation's."""
    score: Interval
    """`final` between random actions (0) and the scripted expert (1); NaN for a task without a scale."""
    edge_rate: float
    bits: float
    """Bits sent per step at the last evaluation, sampled gates, interquartile mean over seeds; NaN if unknown."""
    precision: float
    """Share of open edges that are right, in the same way; NaN where no edge was open."""
    recall: float
    """Share of right edges that are open, in the same way."""
    returns: MetricCurve | None
    scores: MetricCurve | None
    """`returns` on the scale of `score`; None without one."""
    edges: MetricCurve | None
    pairs: NDArray | None
    """[N, N] open rate by receiver and sender at the last evaluation, mean over seeds."""
    settings: tuple[tuple[str, Any], ...]
    origin: Origin
    failures: tuple[str, ...]
    measured: tuple[Measured, ...] = ()

    @property
    def finished(self) -> bool:
        """Whether the run has come to its end."""
        return self.status is Status.FINISHED


@dataclass(frozen=True)
class Comparison:
    """All methods on one task, best first; those without a finite seed come last."""

    task: str
    runs: tuple[Run, ...]
    improvement: tuple[tuple[Interval | None, ...], ...]
    """[row][column] P(a seed of the row's run beats one of the column's); None on the diagonal."""

    @property
    def groups(self) -> str:
        """Where seeds fall into two groups, in words; empty where they do not."""
        return in_words({run.method: run.finals for run in self.runs})


@dataclass(frozen=True)
class Aggregate:
    """One method over all tasks that every method was run on."""

    method: str
    score: Interval
    """Interquartile mean of normalised returns."""
    profile: Band
    """[L] share of seeds above each of `Across.thresholds`."""


@dataclass(frozen=True)
class Across:
    """All methods over several tasks, best first."""

    tasks: tuple[str, ...]
    thresholds: NDArray
    """[L] normalised scores at which profiles are taken."""
    methods: tuple[Aggregate, ...]
    missing: tuple[str, ...]
    """Methods left out, for want of a run on some task."""
    improvement: tuple[tuple[Interval | None, ...], ...]
    """[row][column] P(a seed of the row's method beats one of the column's), the mean over tasks."""
    fewest: int
    """Seeds of the run that has the fewest."""


@dataclass(frozen=True)
class LearnedAdvantage:
    """How eta of one run judges decisions in an episode, beside REINFORCE (paper, Figure 4, right)."""

    seed: int
    agent: int
    """The receiver shown, from 0."""
    reinforce: NDArray
    """[T] advantage of REINFORCE, standardised."""
    learned: NDArray
    """[T, N-1] advantage by the trained eta, standardised, by sender in ascending index."""
    initial: NDArray
    """[T, N-1] advantage by eta before meta-training, standardised."""
    resemblance: NDArray
    """[N, N-1] correlation of A and A-hat, every pair; NaN where one of them is constant."""


@dataclass(frozen=True)
class Watched:
    """What was played of one run's trained networks, or the reason why nothing was."""

    task: str
    method: str
    playbacks: tuple[Playback, ...] = ()
    learned: LearnedAdvantage | None = None
    said: RuleSaid | None = None
    """What the rule says of edges, where it judges them by a network that can be asked."""
    unsaid: str = ""
    """Why that cannot be told, of a rule that does."""
    reason: str = ""


@dataclass(frozen=True)
class ReportContent:
    """Everything on the page."""

    title: str
    questions: tuple[str, ...]
    commands: tuple[str, ...]
    comparisons: tuple[Comparison, ...]
    across: Across | None
    watched: tuple[Watched, ...]
    unreadable: tuple[str, ...]
    """One line for each folder that holds a run that cannot be read."""
    controlled: tuple[Controlled, ...] = ()
    """Trained teams over other channels, where they were evaluated."""
    judged: tuple[SweepVerdicts, ...] = ()
    """Sweeps that state claims, with what became of them."""

    @property
    def runs(self) -> tuple[Run, ...]:
        """All runs on the page, task by task."""
        return tuple(run for comparison in self.comparisons for run in comparison.runs)
