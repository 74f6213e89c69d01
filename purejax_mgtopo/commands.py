"""What the subcommands do once their arguments are known."""

from __future__ import annotations

import math
import os
import shlex
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table

from purejax_mgtopo import processes
from purejax_mgtopo.accelerator import advice, installed, visible_gpus
from purejax_mgtopo.config import Config, ConfigError
from purejax_mgtopo.curves import Summary
from purejax_mgtopo.methods import MESSAGES, METHODS, TOPOLOGIES
from purejax_mgtopo.progress import duration, make_reporter
from purejax_mgtopo.recipe import Setting, load_recipe, parse_setting
from purejax_mgtopo.record import CHECKPOINTS, RunError, read_config
from purejax_mgtopo.runner import RunResult, resume, train
from purejax_mgtopo.startup import configure_platform, use_cache
from purejax_mgtopo.sweeps import sweep

if TYPE_CHECKING:
    from purejax_mgtopo.assessment import Assessment
    from purejax_mgtopo.cli import Evaluate, Export, Report, Resume, Sweep, Train, Verify, Watch
    from purejax_mgtopo.statistics import Interval

INTERRUPTED = 130


def train_command(command: Train) -> int:
    assert command.out is not None  # the parser has seen to it
    use_cache(not command.no_cache)
    processes.join(command.distributed)
    check_tasks([command.config])
    reporter = make_reporter()
    try:
        name = f"{command.config.task}/{command.method or command.config.method}"
        result = train(command.config, command.out, reporter=reporter, name=name)
    finally:
        reporter.close()
    return _ended(result)


def resume_command(command: Resume) -> int:
    config = read_config(command.run)
    use_cache(not command.no_cache)
    processes.join(command.distributed)
    check_tasks([config if command.devices is None else replace(config, devices=command.devices)])
    reporter = make_reporter()
    try:
        result = resume(command.run, reporter=reporter, devices=command.devices)
    finally:
        reporter.close()
    return _ended(result)


def fit_command(command: Fit) -> int:
    use_cache(not command.no_cache)
    check_tasks([command.config])
    from purejax_mgtopo.fit import burst, plan

    memory = None if command.memory is None else int(command.memory * 1e9)
    fit = plan(command.config, memory, check=True)
    rate = None if command.no_burst else burst(fit, profile=command.profile)
    _console().print(fit_table(fit, rate))
    return 0


def fit_table(fit: Fit_, rate: float | None) -> Table:
    """What a seed needs, how many fit, and how long all will take at so many episodes per second."""
    config, lane = fit.config, fit.lane
    table = Table(box=box.SIMPLE_HEAD, show_header=False)
    table.add_column()
    table.add_column(justify="right", no_wrap=True)

    def megabytes(size: float) -> str:
        return f"{size / 1e6:,.2f} MB"

    table.add_row(f"{config.task}, {config.method}: one seed keeps", megabytes(lane.total))
    for name in ("parameters", "optimizers", "replay", "rest"):
        table.add_row(f"    {name}", megabytes(getattr(lane, name)))
    if fit.activations:
        table.add_row("and while it advances with others", megabytes(fit.activations))
    table.add_row("memory to use, of each device", megabytes(fit.memory))
    each = "each device" if fit.devices > 1 else "the device"
    table.add_row(f"predicted for {each}", megabytes(fit.predicted))
    if fit.compiled is not None:
        table.add_row("as compiled", megabytes(fit.compiled.total))
    table.add_row("devices", f"{fit.devices}")
    table.add_row("seeds at a time (--lanes)", f"{config.lanes:,} of {config.seeds:,}")
    if config.microbatch:
        table.add_row("advancing together (--microbatch)", f"{config.microbatch:,}")
    table.add_row("waves", f"{fit.waves:,}")
    if rate is not None:
        seconds = config.seeds * config.episodes / rate
        table.add_row("speed, measured just now", f"{rate:,.0f} episodes/s")
        table.add_row(f"time for {config.episodes:,} episodes of all seeds", duration(seconds))
    return table


def verify_command(command: Verify) -> int:
    read_config(command.run)
    from purejax_mgtopo.stored import verify

    findings = list(verify(command.run / CHECKPOINTS))
    for finding in findings:
        _say(
            f"{'good' if finding.problem is None else 'BAD '}  {finding.path}  {finding.problem or ''}"
        )
    bad = sum(finding.problem is not None for finding in findings)
    if bad:
        raise RunError(
            f"{bad} of {len(findings)} checkpoints are damaged; `mgtopo resume` uses the latest good one"
        )
    if not findings:
        _say("no checkpoints yet")
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
        _console().print(summary_table(result.summaries))
    if result.figure is not None:
        _say(f"picture  {result.figure}")
    return 0 if result.interrupted is None else _interrupted(result.interrupted)


def watch_command(command: Watch) -> int:
    use_cache(True)
    from purejax_mgtopo.watch import watch  # starts JAX

    pictures = watch(
        command.run,
        seed=command.seed,
        greedy=command.greedy,
        episode_seed=command.episode_seed,
        out=command.out,
        name=command.name,
    )
    _say(f"picture    {pictures.picture}")
    _say(f"animation  {pictures.animation}")
    return 0


def evaluate_command(command: Evaluate) -> int:
    from purejax_mgtopo.report.collect import find_runs

    folders = find_runs([command.run])
    use_cache(True)
    from purejax_mgtopo.assessment import FILE_NAME, assess, write_table  # starts JAX

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
        _console().print(assessment_table(assessment))
    if not done:
        raise RunError(f"none of the {len(folders)} runs in {command.run} can be evaluated")
    _say(f"table  {write_table(done, command.out or command.run / FILE_NAME)}")
    return 0


def export_command(command: Export) -> int:
    use_cache(True)
    from purejax_mgtopo.export import export

    _say(f"policy  {export(command.run, command.seed, command.out)}")
    return 0


def report_command(command: Report) -> int:
    if not command.runs:
        raise ConfigError("say which runs to report, for example `mgtopo report results`")
    use_cache(True)
    from purejax_mgtopo.report import write_report

    def note(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    path = write_report(command.runs, command.out, episodes=not command.no_episodes, say=note)
    _say(f"report  {path}")
    return 0


def tasks_command() -> int:
    import jax_mpe

    table = Table("task", "agents", "observation", "", box=box.SIMPLE_HEAD)
    for name in jax_mpe.registered_tasks():
        task = jax_mpe.make(name)
        about = (type(task).__doc__ or "").strip().splitlines()
        row = (str(task.num_agents), str(task.observation_size), about[0] if about else "")
        table.add_row(name, *row)
    _console().print(table)
    _say(
        "Other sizes follow the grammar <scenario>_N<agents>[_l<landmarks seen>], "
        "e.g. navigation_N4_l2."
    )
    return 0


def methods_command() -> int:
    console = _console()
    for title, axis in (
        ("--topology: who receives from whom", TOPOLOGIES),
        ("--messages: what is sent, and how it is read", MESSAGES),
    ):
        table = Table("", "", title=title, title_justify="left", box=None, show_header=False)
        for name, about in axis.items():
            table.add_row(f"  {name}", about)
        console.print(table, "")
    grid = Table("presets (--method)", *MESSAGES, box=box.SIMPLE_HEAD)
    for topology in TOPOLOGIES:
        cells = [
            ", ".join(
                name
                for name, method in METHODS.items()
                if (method.topology, method.messages) == (topology, messages)
            )
            or f"{topology}+{messages}"
            for messages in MESSAGES
        ]
        grid.add_row(topology, *cells)
    console.print(grid)
    presets = Table("", "", box=None, show_header=False)
    for name, method in METHODS.items():
        about = method.summary if name == method.name else f"the same as {method.name}"
        presets.add_row(f"  {name}", about)
    console.print(presets, "")
    _say(
        "Any rule goes with any interpreter: --method TOPOLOGY+MESSAGES, "
        "or --topology and --messages."
    )
    return 0


def summary_table(summaries: Sequence[Summary]) -> Table:
    """Task x method: final return with its interval over seeds, edge rate, minutes."""
    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("task", "method"):
        table.add_column(heading, overflow="fold")
    for heading in ("final return [95 %]", "edges", "seeds", "minutes"):
        table.add_column(heading, justify="right", no_wrap=True)
    task = None
    for summary in summaries:
        final = summary.final_return
        interval = "" if math.isnan(final.low) else f" [{final.low:.2f}, {final.high:.2f}]"
        all_finite = summary.finite == summary.seeds
        table.add_row(
            "" if summary.task == task else summary.task,
            summary.method,
            "-" if math.isnan(final.point) else f"{final.point:.2f}{interval}",
            "-" if math.isnan(summary.edge_rate) else f"{summary.edge_rate:.0%}",
            f"{summary.seeds}" if all_finite else f"{summary.finite} of {summary.seeds} finite",
            f"{summary.minutes:.1f}",
        )
        task = summary.task
    return table


def assessment_table(assessment: Assessment) -> Table:
    """Condition x measures: interquartile means over the finite seeds, with their intervals."""
    from purejax_mgtopo.assessment import summarise

    config, finite = assessment.config, int(assessment.finite.sum())
    seeds = (
        f"{finite} seeds"
        if finite == len(assessment.seeds)
        else (f"{finite} of {len(assessment.seeds)} seeds (the others are not finite)")
    )
    table = Table(
        title=f"{config.task}, {config.method}: {seeds}, {assessment.episodes:,} episodes each",
        title_justify="left",
        box=box.SIMPLE_HEAD,
    )
    table.add_column("edges are")
    for heading in ("return [95 %]", "vs sampled", "edges", *assessment.outcome.measures):
        table.add_column(heading, justify="right")
    for row in summarise(assessment):
        table.add_row(
            row.condition,
            _with_interval(row.episodic_return),
            "" if row.condition == "sampled" else _with_interval(row.difference, "+.2f"),
            f"{row.edge_rate.point:.0%}",
            *(_with_interval(interval) for interval in row.measures.values()),
        )
    return table


def _with_interval(interval: Interval, style: str = ".2f") -> str:
    if math.isnan(interval.low):  # of a single seed
        return f"{interval.point:{style}}"
    return f"{interval.point:{style}} [{interval.low:{style}}, {interval.high:{style}}]"


def check_tasks(configs: Sequence[Config]) -> None:
    """Raise ConfigError for a task that does not exist. This starts JAX."""
    if os.environ.get("JAX_PLATFORMS", "") != "cpu":
        line = advice(visible_gpus(), installed())
        if line is not None:
            print(f"mgtopo: {line}", file=sys.stderr)
    configure_platform(configs[0])
    import jax_mpe

    for name in dict.fromkeys(config.task for config in configs):
        try:
            jax_mpe.make(name)
        except ValueError as error:
            raise ConfigError(str(error)) from None


def _ended(result: RunResult) -> int:
    if result.interrupted:
        return _interrupted(result)
    _say(f"results  {result.folder}")
    if result.figure is not None:
        _say(f"picture  {result.figure}")
    return 0


def _interrupted(result: RunResult) -> int:
    """0 where a scheduler asked for it: the run has done all that it should."""
    print(
        f"mgtopo: interrupted after {result.episode:,} episodes, and saved; go on by: "
        f"mgtopo resume {shlex.quote(str(result.folder))}",
        file=sys.stderr,
    )
    return INTERRUPTED if result.stopped_by is signal.SIGINT else 0


def _console() -> Console:
    # A pipe has no width; tables in it should not break their lines.
    return Console(highlight=False, width=None if sys.stdout.isatty() else 120)


def _say(line: str) -> None:
    print(line, flush=True)
