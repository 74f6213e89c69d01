"""A sweep: every run of a recipe in turn, what is finished skipped, and one picture of all."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from purejax_mgtopo.config import Config, flatten
from purejax_mgtopo.curves import Summary, summarise, try_to_draw
from purejax_mgtopo.progress import Reporter, make_reporter
from purejax_mgtopo.recipe import Recipe, RecipeRun, Setting
from purejax_mgtopo.record import (
    FIGURES,
    RunError,
    Status,
    load_run,
    read_config,
    set_aside,
    status,
)
from purejax_mgtopo.runner import Factory, RunResult, build_population, train

RESULTS = "results"


@dataclass(frozen=True)
class SweepResult:
    """What a sweep left. Ctrl-C ends it in the run `interrupted`; later ones were not begun."""

    folder: Path
    summaries: tuple[Summary, ...]
    figure: Path | None
    interrupted: RunResult | None


def sweep(
    recipe: Recipe,
    out: Path | None = None,
    *,
    changes: Iterable[Setting] = (),
    reporter: Reporter | None = None,
    population_factory: Factory = build_population,
    command: str | None = None,
) -> SweepResult:
    """Run `recipe`, each run in ``<out>/<task>/<method>``; out is ``results`` beside the recipe.

    A finished run of the same configuration is kept and skipped, one of another configuration
    refused before anything starts. What an interruption left is moved aside, and that run starts
    again.

    Args:
        changes: overrides from the command line; they win.

    Raises ConfigError or RunError, each in one line.
    """
    folder = out or recipe.path.parent / RESULTS
    runs = recipe.runs(changes)
    states = {run.name: _state(run, folder) for run in runs}
    done: list[RecipeRun] = []
    interrupted: RunResult | None = None
    with contextlib.ExitStack() as stack:
        if reporter is None:
            reporter = make_reporter()
            stack.callback(reporter.close)
        for run in runs:
            place = folder / run.folder
            if states[run.name] is Status.FINISHED:
                reporter.note(f"{run.name}: already finished with these settings, kept")
            else:
                if states[run.name] is Status.UNFINISHED:
                    aside = set_aside(place)
                    reporter.note(f"{run.name}: was interrupted; moved to {aside}, starting again")
                result = train(
                    run.config,
                    place,
                    reporter=reporter,
                    population_factory=population_factory,
                    name=run.name,
                    command=command,
                )
                if result.interrupted:
                    interrupted = result
                    break
            done.append(run)
        loaded = [(run.method, load_run(folder / run.folder)) for run in done]
        target = folder / FIGURES / "curves.png"
        figure = try_to_draw(loaded, target, reporter.note, title=recipe.question or None)
    return SweepResult(
        folder=folder,
        summaries=tuple(summarise(method, data) for method, data in loaded),
        figure=figure,
        interrupted=interrupted,
    )


def _state(run: RecipeRun, folder: Path) -> Status:
    """What stands in the way of `run`; raises RunError where nothing but the user can decide."""
    place = folder / run.folder
    found = status(place)
    if found is Status.RUNNING:
        raise RunError(f"{place} is in use by another mgtopo; wait for it, or choose --out")
    if found is Status.FINISHED:
        difference = differences(read_config(place), run.config)
        if difference:
            raise RunError(
                f"{place} holds a finished run with other settings: {'; '.join(difference)}; "
                "choose another folder with --out, or delete this one"
            )
    return found


def differences(old: Config, new: Config) -> list[str]:
    """The settings in which two configurations differ, each as ``name: old -> new``."""
    before, after = flatten(old), flatten(new)
    return [
        f"{name} {before[name]} -> {after[name]}" for name in after if before[name] != after[name]
    ]
