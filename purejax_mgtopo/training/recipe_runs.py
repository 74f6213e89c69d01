"""The runs of a recipe: tasks x methods x values of settings, each with its own configuration and name."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from purejax_mgtopo.analysis.claims import StatedClaim, check_runs
from purejax_mgtopo.config import (
    COMPUTING,
    Config,
    Experiment,
    differences,
    flatten,
    override,
    with_learner,
    with_method,
)
from purejax_mgtopo.errors import ConfigError, unknown_name
from purejax_mgtopo.machine.paths import expanded
from purejax_mgtopo.methods import CRITICS, MESSAGES, TOPOLOGIES
from purejax_mgtopo.records.run_names import fit, setting_text, task_folder, task_key
from purejax_mgtopo.settings import unknown_setting

MOST_RUNS = 10_000
"""More are a mistake, or more than one sweep can hold in its picture."""
AXES = ("task", "topology", "messages", "critic")
"""What `tasks` and `methods` say; nothing else may."""


@dataclass(frozen=True)
class Setting:
    """One override: a setting by its dotted name, and its value."""

    name: str
    value: Any


@dataclass(frozen=True)
class RecipeRun:
    """One run of a sweep; the recipe's own word for the method names its folder and its curve."""

    task: str
    method: str
    """The recipe's word for the method and, where settings take several values, its own: ``meta, hidden=64``."""
    config: Config
    word: str = ""
    """The recipe's word for the method alone."""

    @property
    def name(self) -> str:
        """Task and method, as progress shows the run."""
        return f"{self.task}/{self.method}"

    @property
    def folder(self) -> Path:
        """The run's folder, relative to that of the sweep's results, and within it."""
        return task_folder(self.task) / fit(self.method.replace(", ", ","))


@dataclass(frozen=True)
class Recipe:
    """A parsed recipe. `path` is its file; results land beside it, or in `home` where that is set."""

    path: Path
    question: str
    tasks: tuple[str, ...]
    methods: tuple[str, ...]
    settings: tuple[Setting, ...]
    task_settings: Mapping[str, tuple[Setting, ...]]
    method_settings: Mapping[str, tuple[Setting, ...]]
    presets: Mapping[str, str] = field(default_factory=dict)
    """What a word for a method means, where it is not the method's own name."""
    learner_preset: str = "paper"
    """The base learner's settings beneath all others."""
    learner_presets: Mapping[str, str] = field(default_factory=dict)
    """The same of single methods."""
    home: Path | None = None
    imports: tuple[str, ...] = ()
    """Modules to import first, which register methods and tasks of their own."""
    claims: tuple[StatedClaim, ...] = ()
    """What the results should show."""

    @property
    def name(self) -> str:
        """The name of its folder."""
        return self.path.resolve().parent.name

    @property
    def results(self) -> Path:
        """Where results land unless told otherwise."""
        return self.path.parent / "results" if self.home is None else self.home

    def chosen(
        self, runs: Sequence[RecipeRun], tasks: Collection[str], methods: Collection[str]
    ) -> tuple[RecipeRun, ...]:
        """Those of the `runs` whose task and method are named; no names stand for all.

        Raises ConfigError for a name that none of them has.
        """
        for kind, names, known in (
            ("task", tasks, self.tasks),
            ("method", methods, (*self.methods, *(run.method for run in runs))),
        ):
            for name in names:
                if name not in known:
                    error = unknown_name(kind, name, dict.fromkeys(known))
                    raise ConfigError(f"{self.path}: {error}")
        return tuple(
            run
            for run in runs
            if (not tasks or run.task in tasks)
            and (not methods or run.word in methods or run.method in methods)
        )

    def runs(self, changes: Iterable[Setting] = ()) -> tuple[RecipeRun, ...]:
        """Every run, tasks first; `changes` come from the command line and apply last."""
        changes = tuple(changes)
        for change in changes:
            check_name(change.name, "command line")
        check_once(changes, "command line")
        runs: list[RecipeRun] = []
        for task in self.tasks:
            for method in self.methods:
                runs += self._points(task, method, changes)
                if len(runs) > MOST_RUNS:
                    raise ConfigError(
                        f"{self.path}: these are more than {MOST_RUNS:,} runs; split the recipe"
                    )
        try:
            check_apart(runs)
        except ConfigError as error:
            raise ConfigError(f"{self.path}: {error}") from None
        return tuple(runs)

    def check_claims(self) -> None:
        """Raise ConfigError for a claim about values that none of the recipe's own runs has.

        Changes from the command line may do away with them: then there is no evidence.
        """
        named = {name for claim in self.claims for name in (claim.method, *claim.beats)}
        if named <= {"", *self.methods}:
            return
        try:
            names = [run.method for run in self.runs()]
        except ConfigError:  # which changes may mend
            return
        try:
            check_runs(self.claims, self.methods, names)
        except ConfigError as error:
            raise ConfigError(f"{self.path}: {error}") from None

    def _points(self, task: str, method: str, changes: tuple[Setting, ...]) -> Iterator[RecipeRun]:
        """The runs of one task and method: one, or one for each combination of the values that settings take."""
        layers = (
            *self.settings,
            *self.task_settings.get(task, ()),
            *self.method_settings.get(method, ()),
            *changes,
        )
        # Merged before they are checked: two layers may only make sense together.
        merged = {setting.name: setting.value for setting in layers}
        varied = {name: value for name, value in merged.items() if isinstance(value, list)}
        for name, values in varied.items():
            if not values:
                raise ConfigError(f"{self.path}: {task}/{method}: {name} lists no value")
        for point in itertools.product(*varied.values()):
            chosen: dict[str, Any] = dict(zip(varied, point, strict=True))
            words = [f"{_short(name, varied)}={shown(value)}" for name, value in chosen.items()]
            label = ", ".join([method, *words])
            try:
                preset = self.learner_presets.get(method, self.learner_preset)
                learner = with_learner(Experiment(), preset)
                base = Config(with_method(learner, self.presets.get(method, method)))
                config = override(base, {"task": task, **merged, **chosen})
            except ConfigError as error:
                raise ConfigError(f"{self.path}: {task}/{label}: {error}") from None
            yield RecipeRun(task, label, config, method)


def check_apart(runs: Sequence[RecipeRun]) -> None:
    """Raise ConfigError where a seed of the same settings would count twice, or a folder be two runs'."""
    alike: dict[tuple[Experiment, tuple[str, ...]], list[RecipeRun]] = {}
    for run in runs:
        alike.setdefault(_computed(run.config), []).append(run)
    for group in alike.values():
        _check_seeds_apart(sorted(group, key=lambda run: run.config.experiment.first_seed))
    known: dict[Path, RecipeRun] = {}
    for run in runs:
        told = known.setdefault(run.folder, run)
        if told is not run:
            between = differences(flatten(told.config), flatten(run.config))
            raise ConfigError(
                f"{told.name} and {run.name} ({', '.join(between)}) would share the folder "
                f"{run.folder}; call one of them otherwise"
            )


def _computed(config: Config) -> tuple[Experiment, tuple[str, ...]]:
    """What two runs have in common that compute the same for a seed, however task and files are spelt."""
    experiment = config.experiment
    tables = (TOPOLOGIES, MESSAGES, CRITICS)
    files = {name for table in tables for entry in table.values() for name in entry.files}
    settings = flatten(experiment)
    places = {name: str(expanded(settings[name]).resolve()) for name in files if settings.get(name)}
    experiment = override(experiment, places) if places else experiment
    one = replace(experiment, task=task_key(experiment.task), first_seed=0, seeds=1)
    return one, tuple(getattr(config.means, name) for name in COMPUTING)


def _check_seeds_apart(runs: Sequence[RecipeRun]) -> None:
    """Raise ConfigError where two runs of the same settings, in the order of their first seeds, share a seed."""
    for before, run in itertools.pairwise(runs):
        seeds, own = _seeds(before), _seeds(run)
        first, last = own[0], min(seeds[-1], own[-1])
        if seeds == own:
            raise ConfigError(f"{before.name} and {run.name} are the same run; leave one out")
        if first <= last:
            shared = f"seeds {first} to {last}" if first < last else f"seed {first}"
            raise ConfigError(
                f"{before.name} and {run.name} are the same run for {shared}, which would count twice; leave one "
                "out, or let first_seed and seeds keep them apart"
            )


def _seeds(run: RecipeRun) -> range:
    experiment = run.config.experiment
    return range(experiment.first_seed, experiment.first_seed + experiment.seeds)


def check_name(name: str, where: str) -> None:
    """Raise ConfigError for a setting that does not exist, or that `tasks` and `methods` say."""
    known = flatten(Config())
    if name not in known:
        raise ConfigError(f"{where}: {unknown_setting(name, known)}")
    if name in AXES:
        raise ConfigError(f"{where}: {name} is set by the recipe's `tasks` and `methods`, not here")


def check_once(settings: Iterable[Setting], where: str) -> None:
    """Raise ConfigError where a place overrules itself; layers may overrule each other."""
    known: dict[str, Any] = {}
    for setting in settings:
        if setting.name in known:
            raise ConfigError(
                f"{where}: {setting.name} is given twice, as {known[setting.name]!r} and "
                f"{setting.value!r}; keep one"
            )
        known[setting.name] = setting.value


def shown(value: Any) -> str:
    """A setting's value in the name of a run, and of its folder."""
    text = setting_text(value)
    return (text.lower() if isinstance(value, bool) else text).replace("/", "_")


def _short(name: str, among: Iterable[str]) -> str:
    """The last word of a setting's dotted name, where no other one ends in it."""
    last = name.rpartition(".")[2]
    return last if [x.rpartition(".")[2] for x in among].count(last) == 1 else name
