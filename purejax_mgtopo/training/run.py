"""One run from configuration to records: begun anew, or taken up where it was interrupted."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from purejax_mgtopo.config import Config, Experiment, Means, differences, override
from purejax_mgtopo.errors import ConfigError, RunError
from purejax_mgtopo.machine import processes
from purejax_mgtopo.machine.paths import expanded
from purejax_mgtopo.machine.programs import let_go_if_many
from purejax_mgtopo.machine.startup import configure_platform, unused_cores, use_cache
from purejax_mgtopo.plugins.registry import IMPORTING
from purejax_mgtopo.population.waves import Wave
from purejax_mgtopo.records.events import ends_unsaved
from purejax_mgtopo.records.files import clear_disk_errors
from purejax_mgtopo.records.fingerprint import in_common
from purejax_mgtopo.records.folders import refuse_unfit, write_means
from purejax_mgtopo.records.record import (
    CHECKPOINTS,
    RunRecord,
    Status,
    read_config,
    refuse_existing,
    status,
)
from purejax_mgtopo.records.run_data import is_lost
from purejax_mgtopo.records.run_names import word_for
from purejax_mgtopo.training.loop import Loop
from purejax_mgtopo.training.outcome import RunResult
from purejax_mgtopo.training.progress import Reporter, make_reporter
from purejax_mgtopo.training.stop import heard

if TYPE_CHECKING:
    from purejax_mgtopo.checkpoints.checkpoints import Checkpoints
    from purejax_mgtopo.mirror.mirror import WandbMirror
    from purejax_mgtopo.population.population import Population

_TRAINS = threading.RLock()
"""Whose thread may train, one run after the other."""
_RUNNING = threading.Lock()

__all__ = ["RunResult", "build_population", "open_checkpoints", "resume", "train"]


def build_population(config: Config) -> Population:
    """The program of a run. JAX starts here and not before; compiled programs are kept for the next start."""
    with IMPORTING:
        if os.environ.get("JAX_ENABLE_COMPILATION_CACHE", "").lower() != "false":
            use_cache(True)
        configure_platform(config.means)
        let_go_if_many()
        from purejax_mgtopo.population.fit import plan
        from purejax_mgtopo.population.population import Population

    settled = plan(config).config
    return Population(settled, settled.means.lanes)


def open_checkpoints(
    folder: Path, population: Population, wave: Wave, say: Callable[[str], None]
) -> Checkpoints:
    """The checkpoints of one wave, in a folder of its own."""
    with IMPORTING:
        from purejax_mgtopo.checkpoints.checkpoints import Checkpoints

    keep = population.config.means.checkpoint.keep
    return Checkpoints(folder, population, wave, keep=keep, say=say)


def open_mirror(folder: Path, config: Config, say: Callable[[str], None]) -> WandbMirror | None:
    """The mirror that the configuration asks for, if any; of several processes, the first one has it."""
    if config.means.wandb == "off" or processes.index() != 0:
        return None
    from purejax_mgtopo.mirror.mirror import open_wandb  # imports W&B only if it is to be used

    return open_wandb(folder, config, say)


def train(
    experiment: Experiment,
    folder: str | Path,
    *,
    means: Means = Means(),  # noqa: B008 - frozen
    reporter: Reporter | None = None,
    name: str | None = None,
    command: str | None = None,
) -> RunResult:
    """Train every seed of `experiment` and leave records, checkpoints and a picture in `folder`.

    The first Ctrl-C (or SIGTERM, SIGUSR1, SIGHUP) ends the run after the current chunk, with all that `resume` needs; a
    second Ctrl-C quits at once.

    Args:
        folder: made if need be; must not hold a run, for nothing is ever overwritten.
        means: devices, lanes, precision, checkpoints, W&B; by default whatever suits this machine.
        reporter: what to show; by default a bar in a terminal and plain lines elsewhere.
        name: what to call the run on screen.
        command: the command line for config.json; by default this process's.

    Raises ConfigError or RunError, each in one line, before anything is written where that is possible.
    """
    folder, config = expanded(folder), Config(experiment, means)
    with _one_run(), heard() as stop:
        processes.agree(in_common([config], command="train"))
        processes.in_first(partial(refuse_existing, folder))
        population = _build(config)
        stop.refuse_to_begin()
        return _run(population, folder, reporter, name, command, (), resume_it=False)


def resume(
    folder: str | Path,
    *,
    reporter: Reporter | None = None,
    name: str | None = None,
    means: Means | None = None,
    devices: int | None = None,
    anew: bool = False,
    episodes: int | None = None,
) -> RunResult:
    """Go on with an interrupted run from its latest sound checkpoint, or from the start if it has none.

    On the same kind of device, with the same versions and as many devices, the result equals an uninterrupted run's
    bit for bit, records included.

    Args:
        means: by which to go on from now on, by default as before. `lanes` stay as they were, for seeds are in waves
            already, and `microbatch` does where it is 0.
        devices: how many devices to use from now on; by default as `means` say.
        episodes: train each seed for so many in all, also where the run had finished with fewer. What it does then is
            what a run of that length does; but where the method follows a schedule over the whole training, the old one
            had ended: the run says so, and that it is not bitwise that of such a run.
        anew: begin from the start where checkpoints were saved and none is left; what was recorded is made again.

    Raises RunError for a folder that holds no run, a finished one, one in use, or one that has lost its checkpoints,
    and for means of which other results would come.
    """
    folder = expanded(folder)
    config, notes = _going_on(read_config(folder), means, devices, folder)
    with _one_run(), heard() as stop:
        facts = in_common([config], command="resume", anew=anew, episodes=episodes)
        processes.agree(facts)
        if episodes is not None and episodes != config.experiment.episodes:
            config = extended(config, folder, episodes)
        processes.in_first(partial(_refuse_unless_resumable, folder, config.experiment.episodes))
        population = _build(config)
        stop.refuse_to_begin()
        return _run(population, folder, reporter, name, None, notes, resume_it=True, anew=anew)


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Signals, devices and compiled programs belong to the whole process: raise RunError in a second thread.

    Taken before anything is imported that begins with JAX, which no two threads may do at once. What trains several
    runs takes it as well as each of them.
    """
    with _held(_TRAINS):
        yield


@contextlib.contextmanager
def _one_run() -> Iterator[None]:
    """Raise RunError for a second run at a time, from within the first one as from another thread."""
    with alone(), _held(_RUNNING):
        yield


@contextlib.contextmanager
def _held(lock: Any) -> Iterator[None]:
    if not lock.acquire(blocking=False):
        raise RunError(
            "another run is under way in this process, which trains one at a time; "
            "wait for it, or start a process for each"
        )
    try:
        yield
    finally:
        lock.release()


def _run(
    population: Population,
    folder: Path,
    reporter: Reporter | None,
    name: str | None,
    command: str | None,
    notes: Sequence[str],
    resume_it: bool,
    anew: bool = False,
) -> RunResult:
    config = population.config
    with contextlib.ExitStack() as stack:
        stack.enter_context(processes.to_go_on(f"start all again by `mgtopo resume {folder}`"))
        if reporter is None:
            reporter = make_reporter()
            stack.callback(reporter.close)
        for line in (*notes, unused_cores(config.means)):
            if line is not None:
                reporter.note(line)
        record = RunRecord(
            folder,
            config,
            command,
            resume=resume_it,
            process=processes.index(),
            processes=processes.count(),
        )
        processes.in_first(partial(stack.enter_context, record))
        if resume_it and not processes.index():
            with clear_disk_errors(folder):
                write_means(folder, config.means)
        if processes.index():  # begins once the first one has taken up what all have recorded
            stack.enter_context(record)
        name = name or f"{config.experiment.task}/{word_for(folder, config.experiment)}"
        say = reporter.note

        def checkpoints(wave: Wave) -> Checkpoints:
            return open_checkpoints(
                folder / CHECKPOINTS / f"wave_{wave.index}", population, wave, say
            )

        mirror = open_mirror(folder, config, say)
        result = None
        try:
            loop = Loop(population, record, reporter, mirror, checkpoints, name, resume_it, anew)
            result = loop.run()
        finally:
            if mirror is not None:
                finished = result is not None and not (result.interrupted or result.hopeless)
                mirror.close(finished=finished)
        return result


def _going_on(
    config: Config, asked: Means | None, devices: int | None, folder: Path
) -> tuple[Config, Sequence[str]]:
    """The run in `folder` by the means that are asked for now, and a line about each that must stay as it was."""
    before, seeds, notes = config.means, config.experiment.seeds, []
    means = before if asked is None else asked
    if different := differences(config.computed, replace(config, means=means).computed):
        raise RunError(
            f"{folder} holds a run of other means: {'; '.join(different)}, by which other results would come; "
            "choose another folder, or delete this one"
        )
    if means.lanes and before.lanes and min(means.lanes, seeds) != min(before.lanes, seeds):
        notes.append(
            f"{folder} goes on with lanes = {before.lanes}, not {means.lanes}: its waves of seeds were begun so"
        )
    kept = {
        "lanes": before.lanes or means.lanes,
        "microbatch": means.microbatch or before.microbatch,
        "devices": means.devices if devices is None else devices,
    }
    return replace(config, means=override(means, kept)), notes


def extended(config: Config, folder: Path, episodes: int) -> Config:
    """The configuration of the run in `folder`, with more episodes. Raises ConfigError where that cannot be."""
    experiment = config.experiment
    if episodes < experiment.episodes:
        raise ConfigError(
            f"{folder} is a run of {experiment.episodes:,} episodes; {episodes:,} would shorten it, "
            "which needs a run of its own"
        )
    if experiment.episodes % experiment.evaluation.every:
        raise ConfigError(
            f"{folder} ends between two evaluations (every {experiment.evaluation.every:,} episodes) and cannot be "
            "extended; begin a longer run in another folder"
        )
    if config.means.lanes and config.means.lanes < experiment.seeds:
        raise ConfigError(
            f"{folder} trains its seeds in waves, one after the other, and cannot be extended; begin a longer run "
            "in another folder"
        )
    return override(config, {"episodes": episodes})


def _refuse_unless_resumable(folder: Path, episodes: int) -> None:
    """A finished run is taken up again only where its last checkpoint was never saved or is damaged, to make it."""
    with IMPORTING:
        from purejax_mgtopo.checkpoints.stored import lacks_its_end

    refuse_unfit(folder)
    found = status(folder)
    if is_lost(folder):
        raise RunError(
            f"all seeds of {folder} have left the finite numbers; there is nothing to go on with: begin again with "
            "other settings, in another folder"
        )
    lacking = ends_unsaved(folder) or lacks_its_end(folder / CHECKPOINTS, episodes)
    if found is Status.FINISHED and not lacking:
        before = read_config(folder).experiment.episodes
        if episodes > before:
            raise RunError(
                f"{folder} holds a finished run of {before:,} episodes, and no checkpoint of it is left to go on from: "
                f"put them back, or begin a run of {episodes:,} in another folder"
            )
        extends = lacks_its_end(folder / CHECKPOINTS, before + 1)  # where any is left
        more = "episodes=N extends it to N" if extends else "no checkpoint of it is left to extend"
        raise RunError(f"{folder} holds a finished run; there is nothing to resume ({more})")
    if found is Status.RUNNING:
        raise RunError(f"{folder} is in use by another mgtopo; wait for it, or stop it first")


def _build(config: Config) -> Population:
    try:
        return build_population(config)
    except ConfigError:
        raise
    except ValueError as error:
        # Packages below know nothing of ConfigError, e.g. the environments with an unknown task.
        raise ConfigError(str(error)) from error
