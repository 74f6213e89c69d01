"""Commands that begin to train: `train` and `sweep`."""

from __future__ import annotations

import abc
import os
import shlex
import signal
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, UseAppendAction, arg

from purejax_mgtopo.cli.flags import (
    Command,
    Debug,
    Distributed,
    Imports,
    LearnerPreset,
    MethodName,
    NoCache,
)
from purejax_mgtopo.config import Config, Experiment, Means, flatten, with_method
from purejax_mgtopo.errors import ConfigError, RunError
from purejax_mgtopo.options.learner import LearnerPresetName
from purejax_mgtopo.plugins.registry import beside_recipes

if TYPE_CHECKING:
    from purejax_mgtopo.training.run import RunResult

INTERRUPTED = 130
ADVICE = "begin again in another folder, with lower learning rates for example"


class TrainingCommand(Command):
    """A command that hears requests to stop from its beginning to its last picture."""

    def do(self) -> int:
        from purejax_mgtopo.cli.tables import note
        from purejax_mgtopo.machine.streams import enduring_streams
        from purejax_mgtopo.training.stop import Stopped, heard

        with enduring_streams("stdout"), heard():  # whoever reads along may leave
            try:
                return self.train()
            except Stopped as request:
                note(f"mgtopo: {request}")
                return stopped(request.signal)

    @abc.abstractmethod
    def train(self) -> int:
        """Do what was asked; the exit code."""


@dataclass(frozen=True)
class TrainCommand(TrainingCommand):
    """Train one method on one task, many seeds in one program. Every setting is a flag."""

    out: Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="(required)")] = None
    """Folder for the results, which must not hold a run yet."""
    method: MethodName = None
    learner_preset: LearnerPreset = None
    experiment: Annotated[Experiment, arg(name="")] = field(default_factory=Experiment)
    means: Annotated[Means, arg(name="")] = field(default_factory=Means)
    imports: Imports = ()
    distributed: Distributed = False
    no_cache: NoCache = False
    debug: Debug = False

    def train(self) -> int:
        experiment = self.experiment
        check_method(self.method, experiment)
        if self.out is None:
            example = f"--out results/{experiment.task}/{experiment.method}"
            raise ConfigError(f"say where the results go, for example {example}")
        get_ready(
            [Config(experiment, self.means)],
            cache=not self.no_cache,
            distributed=self.distributed,
            command="train",
            out=self.out,
        )
        from purejax_mgtopo.training import run
        from purejax_mgtopo.training.progress import make_reporter

        name = f"{experiment.task}/{self.method or experiment.method}"
        with closing(make_reporter()) as reporter:
            result = run.train(experiment, self.out, means=self.means, reporter=reporter, name=name)
        return ended(result)


@dataclass(frozen=True)
class SweepCommand(TrainingCommand):
    """Run a recipe: tasks x methods x seeds. Called again, it keeps what is finished."""

    recipe: Annotated[Positional[Path], arg(metavar="RECIPE")]
    """A TOML file that lists tasks, methods and settings, a folder that holds such a recipe.toml, or the name of a
    recipe that comes with the package, such as quickstart."""
    seeds: Annotated[
        int | None, arg(metavar="INT", help_behavior_hint="(default: the recipe's)")
    ] = None
    """How many seeds to train in each run."""
    episodes: Annotated[
        int | None, arg(metavar="INT", help_behavior_hint="(default: the recipe's)")
    ] = None
    """Training episodes per seed."""
    out: Annotated[
        Path | None,
        arg(
            metavar="DIR",
            help_behavior_hint="(default: results beside the recipe; of one that is named: results/NAME here)",
        ),
    ] = None
    """Folder for the results."""
    set: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="NAME=VALUE")] = ()
    """Any setting of `mgtopo train`, such as --set learner.hidden=64, in place of the recipe's; may be repeated.
    Several values, as in --set learner.hidden=[64,128], are a run each."""
    wandb: Annotated[
        Literal["auto", "online", "offline", "off"] | None,
        arg(help_behavior_hint="(default: the recipe's)"),
    ] = None
    """Whether to mirror the runs to W&B, as `mgtopo train --wandb` does."""
    tasks: Annotated[
        tuple[str, ...], arg(metavar="NAME...", help_behavior_hint="(default: all)")
    ] = ()
    """Run only these of the recipe's tasks."""
    methods: Annotated[
        tuple[str, ...], arg(metavar="NAME...", help_behavior_hint="(default: all)")
    ] = ()
    """Run only these of the recipe's methods."""
    learner_preset: Annotated[
        LearnerPresetName | None, arg(help_behavior_hint="(default: the recipe's)")
    ] = None
    """Settings of the base learner that go together, the paper's or improved ones, in place of those that the recipe
    names, at its top or for a method. Single settings of the recipe lie above them, as above its own."""
    imports: Imports = ()
    distributed: Distributed = False
    no_cache: NoCache = False
    debug: Debug = False

    def train(self) -> int:
        from purejax_mgtopo.analysis.verdicts import judge_sweep
        from purejax_mgtopo.cli.tables import console, note, say, summary_table
        from purejax_mgtopo.machine.startup import use_cache
        from purejax_mgtopo.training.progress import make_reporter
        from purejax_mgtopo.training.recipe import Setting, load_recipe, parse_setting
        from purejax_mgtopo.training.sweep import described, sweep

        changes = [parse_setting(text) for text in self.set]
        given = {"seeds": self.seeds, "episodes": self.episodes, "wandb": self.wandb}
        changes += [Setting(name, value) for name, value in given.items() if value is not None]
        use_cache(not self.no_cache)  # before a plug-in starts JAX
        recipe = load_recipe(self.recipe)
        if self.learner_preset is not None:
            recipe = replace(recipe, learner_preset=self.learner_preset, learner_presets={})
        # A mistake in it should not wait for JAX to start, nor a misspelt task for the runs before it.
        runs = recipe.chosen(recipe.runs(changes), self.tasks, self.methods)
        configs = [run.config for run in runs]
        get_ready(
            configs,
            cache=not self.no_cache,
            distributed=self.distributed,
            command="sweep",
            out=self.out or recipe.results,
        )
        with closing(make_reporter()) as reporter:
            chosen: dict[str, Any] = {"tasks": self.tasks, "methods": self.methods}
            result = sweep(recipe, self.out, changes=changes, reporter=reporter, **chosen)
        if result.summaries:
            shown = console()
            shown.print(summary_table(result.summaries, shown.width))
        if result.figure is not None:
            say(f"picture  {result.figure}")
        if recipe.claims:
            told = judge_sweep(result.folder, described(recipe, recipe.runs(changes)))
            say(f"claims   {told.counts()}: mgtopo verdicts {shlex.quote(str(result.folder))}")
        if result.interrupted is not None and not result.unsaved:
            return interrupted(result.interrupted)
        if result.unsaved:
            raise RunError(last_states_of(result.unsaved))
        if result.lost:
            raise RunError(lost_in(result.lost))
        if result.stopped_by is None:
            return 0
        note("mgtopo: stopped between two runs; go on by calling the same sweep again")
        return stopped(result.stopped_by)


def check_method(name: str | None, experiment: Experiment) -> None:
    """Raise ConfigError where ``--method`` says one thing and an axis's own flag another."""
    if name is None:
        return
    preset = with_method(Experiment(), name)
    axes = ("topology", "messages", "critic") if name.count("+") > 1 else ("topology", "messages")
    for axis in axes:
        given, named = getattr(experiment, axis), getattr(preset, axis)
        if given != named:
            raise ConfigError(
                f"--method {name} means --{axis} {named}, not {given}; give one or the other"
            )


def get_ready(
    configs: Sequence[Config],
    *,
    cache: bool,
    distributed: bool = False,
    command: str = "",
    out: Path | None = None,
) -> None:
    """Settle what must be before JAX starts, start it, and look the tasks up.

    Args:
        command, out: what several processes must have in common besides.
    """
    from purejax_mgtopo.machine import processes
    from purejax_mgtopo.machine.startup import use_cache

    use_cache(cache)
    if distributed:
        from purejax_mgtopo.records.fingerprint import in_common

        folder = None if out is None else os.path.abspath(out)
        processes.join(True, in_common(configs, command=command, folder_of_results=folder))
    check_tasks(configs)


def check_tasks(configs: Sequence[Config]) -> None:
    """Raise ConfigError for a task that does not exist. This starts JAX."""
    from purejax_mgtopo.machine.accelerator import advice, installed, visible_gpus
    from purejax_mgtopo.machine.startup import configure_platform, start

    if os.environ.get("JAX_PLATFORMS", "") != "cpu":
        line = advice(visible_gpus(), installed())
        if line is not None:
            print(f"mgtopo: {line}", file=sys.stderr)
    configure_platform(configs[0].means)
    start()
    from purejax_mgtopo.plugins import tasks

    for name in dict.fromkeys(config.experiment.task for config in configs):
        try:
            tasks.make(name)
        except ValueError as error:
            raise ConfigError(str(error)) from None


def ended(result: RunResult) -> int:
    """Say where the results are, or how to go on; the exit code."""
    if result.unsaved is not None:
        raise RunError(
            f"trained for {result.place}, but the last state is not saved: {result.unsaved}; make room, "
            f"then `{_resuming(result)}` goes on from the checkpoint before"
        )
    if result.interrupted:
        return interrupted(result)
    tell(result)
    if result.all_lost:
        raise RunError(f"no seed of {result.folder} stayed finite, after {result.place}; {ADVICE}")
    return 0


def tell(result: RunResult) -> None:
    """Say where the results are."""
    from purejax_mgtopo.cli.tables import say

    say(f"results  {result.folder}")
    if result.figure is not None:
        say(f"picture  {result.figure}")


def last_states_of(runs: Sequence[object]) -> str:
    """What to say of runs whose last state could not be saved."""
    return (
        f"the last state of {', '.join(map(str, runs))} could not be saved, as told above; make room, then "
        "`mgtopo resume` of each"
    )


def lost_in(runs: Sequence[object]) -> str:
    """What to say of runs without a finite seed."""
    return f"no seed stayed finite in {', '.join(map(str, runs))}; {ADVICE}"


def interrupted(result: RunResult) -> int:
    """0 where a scheduler asked for it: the run has done all that it should."""
    print(
        f"mgtopo: interrupted after {result.place}, and saved; go on by: {_resuming(result)}",
        file=sys.stderr,
    )
    return stopped(result.stopped_by or signal.SIGTERM)


def _resuming(result: RunResult) -> str:
    """The words that go on with a run from the current folder, a plug-in beside its recipe included."""
    folders = beside_recipes(flatten(result.config))
    known = [os.environ["PYTHONPATH"]] if os.environ.get("PYTHONPATH") else []
    path = f"PYTHONPATH={shlex.quote(os.pathsep.join([*folders, *known]))} " if folders else ""
    return f"{path}mgtopo resume {shlex.quote(str(result.folder))}"


def stopped(by: signal.Signals) -> int:
    """The exit code after a request to stop: 0 where no person asked, for all that was asked is done."""
    return INTERRUPTED if by is signal.SIGINT else 0
