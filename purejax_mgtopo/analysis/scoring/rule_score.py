"""How much of what talk is worth a method has: 0 is what a silent team returns, 1 what the best known topology does.

A seed's score on a task is ``(return - none) / (best - none)``: none is the interquartile mean over the seeds of
`none`, best the highest one of `full`, `reinforce` and `stgs`. Over tasks it is the interquartile mean of all seeds'
scores. Returns are the team's own: the price of edges, which is charged to rules alone, is not taken off.

A task on which talk pays nothing that could be told has no score, for it would be a division by noise: best must stand
above none by the interval of their difference, at 95 % for all three candidates together, each of which could have been
the best (Bonferroni). Nor has a task on which one of these four methods is not there: its scale would be another.

Intervals resample the method's own seeds within each task; none and best are taken as they are. The best of three is
chosen by its own seeds, which flatters it, and makes scores a little low.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from purejax_mgtopo.analysis.across_tasks import ScoreScale
from purejax_mgtopo.analysis.statistics import (
    COVERAGE,
    FEW,
    Floats,
    Interval,
    interquartile_mean,
    one_dimensional,
    stratified_bootstrap,
)
from purejax_mgtopo.analysis.verdicts import (
    SeedFinals,
    listed_runs,
    read_sweeps,
    seed_finals,
    unequal_lengths,
    unequal_settings,
)
from purejax_mgtopo.config import Experiment, flatten
from purejax_mgtopo.errors import ConfigError, RunError
from purejax_mgtopo.methods import SILENT, YARDSTICKS
from purejax_mgtopo.records.record import find_runs, read_config
from purejax_mgtopo.records.run_data import RunData, load_run
from purejax_mgtopo.records.run_names import task_key, word_for

LEVEL = 0.95
GAP_LEVEL = 1 - (1 - LEVEL) / len(YARDSTICKS)
"""The level at which talk must pay: any of the candidates could have been the best."""


@dataclass(frozen=True)
class TalkWorth:
    """What talk is worth on one task."""

    best: str
    """Which of the candidates is the best."""
    gap: Interval
    """By how much it stands above none; the interval is at `GAP_LEVEL`, 95 % for all candidates together."""
    scale: ScoreScale | None
    """From none to best; None where the gap is not clearly positive."""


@dataclass(frozen=True)
class TaskScores:
    """All methods on one task."""

    task: str
    returns: Mapping[str, Floats]
    """Final returns [S] of each method's seeds."""
    worth: TalkWorth | None
    """None where a method is missing that the scale is made of."""
    why: str
    """Why the task has no score; empty where it has."""

    def scores(self, method: str) -> Floats | None:
        """A method's scores [S]; None where the task has no score, or not this method."""
        if self.worth is None or self.worth.scale is None or method not in self.returns:
            return None
        return self.worth.scale(self.returns[method])


@dataclass(frozen=True)
class RuleScores:
    """All methods on all tasks."""

    tasks: tuple[TaskScores, ...]
    missing: tuple[str, ...] = ()
    """Runs that tell nothing, and why, a line for each task."""
    caveats: tuple[str, ...] = ()
    """What a reader must know besides."""

    @property
    def methods(self) -> tuple[str, ...]:
        """All methods, in the order in which they come first."""
        return tuple(dict.fromkeys(name for task in self.tasks for name in task.returns))

    def scores(self, method: str) -> list[Floats]:
        """A method's scores [S] on each task that has a score, and that it has run."""
        found = (task.scores(method) for task in self.tasks)
        return [scores for scores in found if scores is not None]

    def over_tasks(self, method: str) -> Interval | None:
        """A method's score over these tasks together; None where there is none."""
        scores = self.scores(method)
        return stratified_bootstrap(scores, level=LEVEL) if scores else None

    def everywhere(self, method: str) -> bool:
        """Whether the method has run on every task that has a score: else its score over tasks is of other tasks."""
        return len(self.scores(method)) == sum(not task.why for task in self.tasks)

    @property
    def ranked(self) -> tuple[str, ...]:
        """All methods, the highest score over tasks first; then those that lack a task, and those without a score."""

        def place(name: str) -> tuple[bool, float]:
            score = self.over_tasks(name)
            return not self.everywhere(name), -score.point if score else float("inf")

        return tuple(sorted(self.methods, key=place))


def talk_worth(returns: Mapping[str, ArrayLike]) -> TalkWorth:
    """What talk is worth on a task, by final returns [S] of `SILENT` and all `YARDSTICKS`.

    Raises ValueError for returns that are empty, not finite or not 1-D, and KeyError for a method that is not there.
    """
    middle = {name: float(interquartile_mean(returns[name])) for name in (SILENT, *YARDSTICKS)}
    best = max(YARDSTICKS, key=lambda name: middle[name])

    def difference(drawn: Sequence[Floats]) -> Floats:
        return interquartile_mean(drawn[0]) - interquartile_mean(drawn[1])

    gap = stratified_bootstrap([returns[best], returns[SILENT]], difference, level=GAP_LEVEL)
    # Where one seed shows no spread the ends are NaN, and not above zero.
    scale = ScoreScale(middle[SILENT], middle[best]) if gap.low > 0 else None
    return TalkWorth(best, gap, scale)


def task_scores(task: str, returns: Mapping[str, ArrayLike]) -> TaskScores:
    """All methods on one task, by their final returns [S]. Raises ValueError as `talk_worth` does."""
    values = {name: one_dimensional(x, f"{task}/{name}") for name, x in returns.items()}
    absent = [name for name in (SILENT, *YARDSTICKS) if name not in values]
    if absent:
        return TaskScores(task, values, None, f"its scale needs {', '.join(absent)} as well")
    worth, why = talk_worth(values), ""
    if worth.scale is None:
        high, low = (float(interquartile_mean(values[name])) for name in (worth.best, SILENT))
        gap = worth.gap
        ends = "by a single seed"
        if np.isfinite(gap.low):
            ends = f"[{100 * GAP_LEVEL:.1f} %: {gap.low:+.2f}, {gap.high:+.2f}]"
        why = (
            f"the best of {', '.join(YARDSTICKS)} does not clearly stand above {SILENT}: {worth.best} {high:.2f}, "
            f"{SILENT} {low:.2f}, difference {gap.point:+.2f} {ends}"
        )
    return TaskScores(task, values, worth, why)


def read_scores(
    folders: Sequence[Path],
    say: Callable[[str], None] = lambda line: None,
    load: Callable[[Path], RunData] = load_run,
) -> RuleScores:
    """Scores by all finished runs at or beneath `folders`; others that were begun, or that a sweep lists, are missing.

    Runs of one task and method count together where their seeds are all that differs.

    Args:
        say: is told what cannot be read.
        load: reads the records of a run; raises as `load_run`.

    Raises RunError for a folder without runs, and for two runs of one method and task that cannot be put together.
    """
    found: dict[str, _Found] = {}
    tasks: dict[str, str] = {}
    for place, run in _places(folders, say).items():
        task = tasks.setdefault(task_key(run.task), run.task)
        own = found.setdefault(task, _Found())
        final = seed_finals(place, load)
        if isinstance(final, str) or run.experiment is None:
            own.missing[run.method] = final if isinstance(final, str) else "cannot be read"
            continue
        done = _Done(place, run.experiment, final)
        before = own.done.get(run.method)
        own.done[run.method] = done if before is None else _together(task, run.method, before, done)
    scored = tuple(
        task_scores(task, {name: done.final.values for name, done in own.done.items()})
        for task, own in found.items()
    )
    missing = []
    for task, own in found.items():
        lacking = [f"{name} {why}" for name, why in own.missing.items() if name not in own.done]
        missing += [f"{task}: {', '.join(lacking)}"] if lacking else []
    caveats = [line for task, own in found.items() for line in own.caveats(task)]
    return RuleScores(scored, tuple(missing), (*caveats, *_of_numbers(scored)))


@dataclass(frozen=True)
class _Asked:
    """A run that was begun, or asked for: its experiment is not known then."""

    task: str
    method: str
    experiment: Experiment | None = None


@dataclass(frozen=True)
class _Done:
    place: Path
    experiment: Experiment
    final: SeedFinals


@dataclass
class _Found:
    """What there is of one task, by method."""

    done: dict[str, _Done] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def caveats(self, task: str) -> list[str]:
        own = [
            f"{task}/{name}: {x}" for name, done in self.done.items() for x in done.final.caveats
        ]
        own += unequal_lengths(task, {name: x.final.episode for name, x in self.done.items()})
        settings = {name: flatten(x.experiment) for name, x in self.done.items()}
        return own + unequal_settings(task, settings)


def _places(folders: Sequence[Path], say: Callable[[str], None]) -> dict[Path, _Asked]:
    """Runs by their folders, and those that sweeps have listed."""
    places: dict[Path, _Asked] = {}
    for place in find_runs(folders):
        try:
            experiment = read_config(place).experiment
        except RunError as error:
            say(f"left out: {error}")
            continue
        asked = _Asked(experiment.task, word_for(place, experiment), experiment)
        places[place.resolve()] = asked
    for folder, document in read_sweeps(folders, say):
        try:
            listed = listed_runs(document)
        except ConfigError as error:
            say(f"{folder}: {error}")
            continue
        for run in listed:
            places.setdefault(
                (folder / run["folder"]).resolve(), _Asked(run["task"], run["method"])
            )
    return places


def _together(task: str, method: str, one: _Done, other: _Done) -> _Done:
    """The seeds of two runs that differ in nothing else."""
    asked = one.experiment
    alike = replace(
        other.experiment, task=asked.task, seeds=asked.seeds, first_seed=asked.first_seed
    )
    if alike != asked or np.intersect1d(one.final.seeds, other.final.seeds).size:
        raise RunError(
            f"{one.place} and {other.place} are both {method} on {task}, and have seeds in common or differ in more "
            "than these; leave one of them out"
        )
    first, second = one.final, other.final
    both = replace(
        first,
        values=np.concatenate([first.values, second.values]),
        seeds=np.concatenate([first.seeds, second.seeds]),
        caveats=(*first.caveats, *second.caveats),
    )
    return replace(one, final=both)


def _of_numbers(tasks: Sequence[TaskScores]) -> list[str]:
    """What numbers of seeds do to scores."""
    told = RuleScores(tuple(tasks))
    sizes = {name: {len(x) for x in told.scores(name)} for name in told.methods}
    uneven = [name for name, each in sizes.items() if len(each) > 1]
    lines = []
    if uneven:
        lines.append(
            f"tasks with more seeds weigh more where their numbers differ: {', '.join(uneven)}"
        )
    # A single seed has no interval that could be too narrow.
    fewest = min((size for each in sizes.values() for size in each if size > 1), default=FEW)
    if fewest < FEW:
        lines.append(
            f"intervals are too narrow where seeds are few: one of {fewest} normal scores covers the truth in "
            f"{COVERAGE[fewest]} % of cases, not in 95 %"
        )
    return lines
