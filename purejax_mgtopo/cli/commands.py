"""What the subcommands do once their arguments are known."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from purejax_mgtopo.cli.listings import methods_command, tasks_command
from purejax_mgtopo.cli.tables import assessment_table, console, fit_table, say, summary_table
from purejax_mgtopo.config import Config, override
from purejax_mgtopo.errors import ConfigError, RunError
from purejax_mgtopo.machine import processes
from purejax_mgtopo.machine.accelerator import advice, installed, visible_gpus
from purejax_mgtopo.machine.startup import configure_platform, use_cache
from purejax_mgtopo.records.record import CHECKPOINTS, read_config
from purejax_mgtopo.training.progress import make_reporter
from purejax_mgtopo.training.recipe import Setting, load_recipe, parse_setting
from purejax_mgtopo.training.run import RunResult, resume, train
from purejax_mgtopo.training.sweep import sweep

if TYPE_CHECKING:
    from purejax_mgtopo.cli.arguments import (
        Evaluate,
        Export,
        Fit,
        Report,
        Resume,
        Sweep,
        Train,
        Verify,
        Watch,
    )
    from purejax_mgtopo.trained.assess import Assessment

INTERRUPTED = 130

__all__ = ["methods_command", "tasks_command"]


def train_command(command: Train) -> int:
    assert command.out is not None  # the parser has seen to it
    use_cache(not command.no_cache)
    processes.join(command.distributed)
    check_tasks([Config(command.experiment, command.means)])
    reporter = make_reporter()
    try:
        experiment = command.experiment
        name = f"{experiment.task}/{command.method or experiment.method}"
        result = train(experiment, command.out, means=command.means, reporter=reporter, name=name)
    finally:
        reporter.close()
    return _ended(result)


def resume_command(command: Resume) -> int:
    config = read_config(command.run)
    use_cache(not command.no_cache)
    processes.join(command.distributed)
    if command.devices is not None:
        config = override(config, {"devices": command.devices})
    check_tasks([config])
    reporter = make_reporter()
    try:
        result = resume(command.run, reporter=reporter, devices=command.devices)
    finally:
        reporter.close()
    return _ended(result)


def fit_command(command: Fit) -> int:
    use_cache(not command.no_cache)
    config = Config(command.experiment, command.means)
    check_tasks([config])
    from purejax_mgtopo.population.fit import burst, plan

    memory = None if command.memory is None else int(command.memory * 1e9)
    fit = plan(config, memory, check=True)
    rate = None if command.no_burst else burst(fit, profile=command.profile)
    console().print(fit_table(fit, rate))
    return 0


def verify_command(command: Verify) -> int:
    read_config(command.run)
    from purejax_mgtopo.checkpoints.stored import verify

    findings = list(verify(command.run / CHECKPOINTS))
    for finding in findings:
        say(
            f"{'good' if finding.problem is None else 'BAD '}  {finding.path}  {finding.problem or ''}"
        )
    bad = sum(finding.problem is not None for finding in findings)
    if bad:
        raise RunError(
            f"{bad} of {len(findings)} checkpoints are damaged; `mgtopo resume` uses the latest good one"
        )
    if not findings:
        say("no checkpoints yet")
    return 0


def sweep_command(command: Sweep) -> int:
    changes = [parse_setting(text) for text in command.set]
    for name, value in (
        ("seeds", command.seeds),
        ("episodes", command.episodes),
        ("wandb", command.wandb),
    ):
        if value is not None:
            changes.append(Setting(name, value))
    recipe = load_recipe(command.recipe)
    runs = recipe.runs(changes)  # a mistake in it should not wait for JAX to start
    use_cache(not command.no_cache)
    processes.join(command.distributed)
    check_tasks([run.config for run in runs])  # nor a misspelt task for the runs before it
    reporter = make_reporter()
    try:
        result = sweep(recipe, command.out, changes=changes, reporter=reporter)
    finally:
        reporter.close()
    if result.summaries:
        console().print(summary_table(result.summaries))
    if result.figure is not None:
        say(f"picture  {result.figure}")
    return 0 if result.interrupted is None else _interrupted(result.interrupted)


def watch_command(command: Watch) -> int:
    use_cache(True)
    from purejax_mgtopo.trained.watch import watch  # starts JAX

    pictures = watch(
        command.run,
        seed=command.seed,
        greedy=command.greedy,
        episode_seed=command.episode_seed,
        out=command.out,
        name=command.name,
    )
    say(f"picture    {pictures.picture}")
    say(f"animation  {pictures.animation}")
    return 0


def evaluate_command(command: Evaluate) -> int:
    from purejax_mgtopo.records.record import find_runs

    folders = find_runs([command.run])
    use_cache(True)
    from purejax_mgtopo.trained.assess import FILE_NAME, assess, write_table  # starts JAX

    done: list[Assessment] = []
    for folder in folders:
        try:
            assessment = assess(
                folder,
                command.seeds or None,
                episodes=command.episodes,
                episode_seed=command.episode_seed,
            )
        except RunError as error:
            if len(folders) == 1:
                raise
            print(f"mgtopo: left out: {error}", file=sys.stderr)
            continue
        done.append(assessment)
        console().print(assessment_table(assessment))
    if not done:
        raise RunError(f"none of the {len(folders)} runs in {command.run} can be evaluated")
    say(f"table  {write_table(done, command.out or command.run / FILE_NAME)}")
    return 0


def export_command(command: Export) -> int:
    use_cache(True)
    from purejax_mgtopo.trained.export import export

    say(f"policy  {export(command.run, command.seed, command.out)}")
    return 0


def report_command(command: Report) -> int:
    if not command.runs:
        raise ConfigError("say which runs to report, for example `mgtopo report results`")
    use_cache(True)
    from purejax_mgtopo.report.report import write_report

    def note(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    path = write_report(command.runs, command.out, episodes=not command.no_episodes, say=note)
    say(f"report  {path}")
    return 0


def check_tasks(configs: Sequence[Config]) -> None:
    """Raise ConfigError for a task that does not exist. This starts JAX."""
    if os.environ.get("JAX_PLATFORMS", "") != "cpu":
        line = advice(visible_gpus(), installed())
        if line is not None:
            print(f"mgtopo: {line}", file=sys.stderr)
    configure_platform(configs[0].means)
    import jax_mpe

    for name in dict.fromkeys(config.experiment.task for config in configs):
        try:
            jax_mpe.make(name)
        except ValueError as error:
            raise ConfigError(str(error)) from None


def _ended(result: RunResult) -> int:
    if result.interrupted:
        return _interrupted(result)
    say(f"results  {result.folder}")
    if result.figure is not None:
        say(f"picture  {result.figure}")
    return 0


def _interrupted(result: RunResult) -> int:
    """0 where a scheduler asked for it: the run has done all that it should."""
    print(
        f"mgtopo: interrupted after {result.episode:,} episodes, and saved; go on by: "
        f"mgtopo resume {shlex.quote(str(result.folder))}",
        file=sys.stderr,
    )
    return INTERRUPTED if result.stopped_by is signal.SIGINT else 0
