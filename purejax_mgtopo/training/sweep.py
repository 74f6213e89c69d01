"""A sweep: every run of a recipe in turn, what is finished skipped, and one picture of all."""

from __future__ import annotations

import contextlib
import json
import secrets
import signal
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from purejax_mgtopo.analysis.curves import RunSummary, summarise_run, try_to_draw
from purejax_mgtopo.config import differences
from purejax_mgtopo.errors import RunError
from purejax_mgtopo.machine import processes
from purejax_mgtopo.machine.paths import expanded
from purejax_mgtopo.machine.startup import configure_platform
from purejax_mgtopo.plugins.registry import IMPORTING
from purejax_mgtopo.records.files import clear_disk_errors, strict_json, write_atomically
from purejax_mgtopo.records.fingerprint import rule_files_of
from purejax_mgtopo.records.folders import refuse_unfit
from purejax_mgtopo.records.provenance import command_line
from purejax_mgtopo.records.record import FIGURES, SWEEP, Status, all_lost, read_config, status
from purejax_mgtopo.records.run_data import load_run
from purejax_mgtopo.training.progress import Reporter, make_reporter
from purejax_mgtopo.training.recipe import Recipe, RecipeRun, Setting
from purejax_mgtopo.training.run import RunResult, alone, resume, train
from purejax_mgtopo.training.stop import Stopped, heard


@dataclass(frozen=True)
class SweepResult:
    """What a sweep left. Ctrl-C ends it in the run `interrupted`, or between two; later ones were not begun."""

    folder: Path
    summaries: tuple[RunSummary, ...]
    figure: Path | None
    interrupted: RunResult | None
    stopped_by: signal.Signals | None = None
    """What ended it early, in a run or between two; None when all runs are finished."""
    lost: tuple[str, ...] = ()
    """Runs of which no seed stayed finite."""
    unsaved: tuple[str, ...] = ()
    """Runs whose last state could not be saved."""


@alone()
def sweep(
    recipe: Recipe,
    out: Path | None = None,
    *,
    changes: Iterable[Setting] = (),
    reporter: Reporter | None = None,
    command: str | None = None,
    tasks: Collection[str] = (),
    methods: Collection[str] = (),
) -> SweepResult:
    """Run `recipe`, each run in ``<out>/<task>/<method>``; out is by default the recipe's `results`.

    A finished run of the same configuration is kept and skipped, also one that another sweep has finished
    meanwhile; an interrupted one is taken up where it stopped, by the means that are asked for now; and one of which
    other results would come is refused before anything starts.

    Args:
        changes: overrides from the command line; they win.
        tasks, methods: run only these of the recipe's; by default all.

    Raises ConfigError or RunError, each in one line.
    """
    folder = recipe.results if out is None else expanded(out)
    recipe.check_claims()
    whole = recipe.runs(changes)
    runs = recipe.chosen(whole, tasks, methods)
    states = {run.name: _state(run, folder) for run in runs}
    _check_files([run for run in runs if states[run.name] is not Status.FINISHED])
    _describe(recipe, folder, whole, {run.folder for run in runs}, command)
    done: list[RecipeRun] = []
    interrupted: RunResult | None = None
    unsaved: list[str] = []
    with contextlib.ExitStack() as stack:
        stop = stack.enter_context(heard())
        if reporter is None:
            reporter = make_reporter()
            stack.callback(reporter.close)
        for number, run in enumerate(runs, start=1):
            place = folder / run.folder
            reporter.part(number, len(runs), _work(runs[number:], states))
            if states[run.name] is not Status.FINISHED:
                if stop.requested_anywhere:
                    break
                states[run.name] = _state_now(run, folder)
            if states[run.name] is Status.FINISHED:
                reporter.note(f"{run.name}: already finished with these settings, kept")
            elif states[run.name] is Status.UNFINISHED and all_lost(place):
                reporter.note(f"{run.name}: no seed of it stayed finite; left as it is")
            else:
                means = run.config.means
                try:
                    if states[run.name] is Status.UNFINISHED:
                        result = resume(place, means=means, reporter=reporter, name=run.name)
                    else:
                        result = train(
                            run.config.experiment,
                            place,
                            means=means,
                            reporter=reporter,
                            name=run.name,
                            command=command,
                        )
                except Stopped:
                    break
                if result.unsaved is not None:
                    unsaved.append(run.name)
                if result.interrupted:
                    interrupted = result
                    break
            done.append(run)
        data = {run.name: load_run(folder / run.folder) for run in done}
        loaded = [(run.method, data[run.name]) for run in done]
        target = folder / FIGURES / "curves.png"
        figure = try_to_draw(loaded, target, reporter.note, title=recipe.question or None)
    return SweepResult(
        folder=folder,
        summaries=tuple(summarise_run(method, data) for method, data in loaded),
        figure=figure,
        interrupted=interrupted,
        lost=tuple(name for name, run in data.items() if run.lost),
        unsaved=tuple(unsaved),
        stopped_by=None if len(done) == len(runs) else stop.signal or signal.SIGTERM,
    )


def _check_files(runs: Sequence[RecipeRun]) -> None:
    """Raise ConfigError where a run cannot begin with a rule that its settings name, the last as well as the first."""
    reading = [run for run in runs if rule_files_of(run.config.experiment)]
    if reading:
        configure_platform(reading[0].config.means)  # before anything starts JAX
    for experiment in dict.fromkeys(run.config.experiment for run in reading):
        with IMPORTING:
            import jax

            from purejax_mgtopo.algorithm.algorithm import Algorithm

        jax.eval_shape(Algorithm(experiment).init, jax.random.key(0))  # reads, and computes nothing


def _work(runs: Sequence[RecipeRun], states: Mapping[str, Status]) -> int:
    """Episodes that all seeds of the unfinished `runs` have to go; half-done ones count whole."""
    waiting = [run.config.experiment for run in runs if states[run.name] is not Status.FINISHED]
    return sum(experiment.seeds * experiment.episodes for experiment in waiting)


def _describe(
    recipe: Recipe,
    folder: Path,
    runs: Sequence[RecipeRun],
    asked: Collection[Path],
    command: str | None,
) -> None:
    """What the sweep asks and consists of, beside its results: a report begins with it.

    Beside each run of the recipe stands whether it was ever asked for here, as a part of it may be.
    """
    if processes.index():
        return
    if (folder / SWEEP).exists() and not _is_ours(folder / SWEEP):
        raise RunError(f"{folder / SWEEP} holds something else already; choose another folder")
    document = {
        "id": _written(folder / SWEEP, "id") or secrets.token_hex(6),
        "command": command_line() if command is None else command,
        **described(recipe, runs),
    }
    before = _asked(folder / SWEEP)
    for run in document["runs"]:
        run["asked"] = Path(run["folder"]) in asked or run["folder"] in before
    with clear_disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / SWEEP, strict_json(document, indent=2).encode())


def described(recipe: Recipe, runs: Sequence[RecipeRun]) -> dict[str, Any]:
    """What a sweep asks, claims and consists of."""
    return {
        "recipe": recipe.name,
        "question": recipe.question,
        "runs": [
            {
                "task": run.task,
                "method": run.method,
                "word": run.word or run.method,
                "folder": str(run.folder),
            }
            for run in runs
        ],
        "claims": [claim.document() for claim in recipe.claims],
    }


def question_of(folder: Path) -> str | None:
    """What the sweep in `folder` asks, if it says so."""
    return _written(folder / SWEEP, "question") or None


def not_begun(folder: Path) -> dict[Path, tuple[int, int]]:
    """The sweeps at or beneath `folder` that lack runs which were asked for: how many, and of how many."""
    found = {}
    for path in sorted(folder.rglob(SWEEP)):
        listed = _asked(path)
        # A file that is not ours may hold names that no folder can have.
        with contextlib.suppress(OSError, ValueError):
            absent = [run for run in listed if status(path.parent / run) is Status.ABSENT]
            if absent:
                found[path.parent] = (len(absent), len(listed))
    return found


def _asked(path: Path) -> list[str]:
    """The folders of the runs that calls of a sweep have asked for; older descriptions do not tell: then of all."""
    with contextlib.suppress(OSError, ValueError, AttributeError, KeyError, TypeError):
        listed = json.loads(path.read_text(encoding="utf-8-sig"))["runs"]
        return [str(run["folder"]) for run in listed if run.get("asked", True)]
    return []


def _written(path: Path, key: str) -> str:
    """What a sweep's description says, where it was begun before."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return str(json.loads(path.read_text(encoding="utf-8-sig")).get(key) or "")
    return ""


def _is_ours(path: Path) -> bool:
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))
        return {"recipe", "runs"} <= document.keys()
    except (OSError, ValueError, AttributeError):
        return False


def _state_now(run: RecipeRun, folder: Path) -> Status:
    """What stands in the way of `run` by now, as the first process sees it: another sweep may have come by."""
    known = list(Status)
    found = processes.gather([known.index(_state(run, folder))])
    return known[int(found[0, 0])]


def _state(run: RecipeRun, folder: Path) -> Status:
    """What stands in the way of `run`; raises RunError where nothing but the user can decide."""
    place = folder / run.folder
    found = status(place)
    if found is not Status.FINISHED:
        refuse_unfit(place)
    if found is Status.RUNNING:
        raise RunError(
            f"{place} is in use by another mgtopo; wait for it, or choose another folder"
        )
    if found is not Status.ABSENT:
        difference = differences(read_config(place).computed, run.config.computed)
        if difference:
            raise RunError(
                f"{place} holds {found.value} with other settings: {'; '.join(difference)}; "
                "choose another folder, or delete this one"
            )
    return found
