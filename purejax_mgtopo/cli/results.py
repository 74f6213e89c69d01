"""Commands that need what runs have trained: `verify`, `watch`, `evaluate`, `export`."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from purejax_mgtopo.cli.flags import (
    Command,
    Debug,
    EpisodeSeed,
    RunFolder,
    Switch,
    is_run,
)
from purejax_mgtopo.errors import ConfigError, RunError

if TYPE_CHECKING:
    from purejax_mgtopo.checkpoints.stored import Finding
    from purejax_mgtopo.trained.assess import Assessment


@dataclass(frozen=True)
class VerifyCommand(Command):
    """Check all that a run or a meta-training keeps: table and events, and each file and array of what was saved."""

    run: Annotated[Positional[Path], arg(metavar="DIR")]
    """The folder of a run or of a meta-training, or one that holds such, as a sweep's results do."""
    debug: Debug = False

    def do(self) -> int:
        from purejax_mgtopo.cli.tables import note
        from purejax_mgtopo.records.folders import RECIPE, find_trainings

        if is_run(self.run) and not any(self.run.rglob(RECIPE)):
            return self._verify(self.run)
        runs, meta = find_trainings([self.run])
        checks = [partial(self._verify, run) for run in runs]
        checks += [partial(self._verify_meta_training, folder) for folder in meta]
        if len(checks) == 1:
            return checks[0]()
        problems = []
        for check in checks:
            try:
                check()
            except RunError as error:
                problems.append(str(error))
                note(f"BAD   {error}")
        if problems:
            raise RunError(
                f"{len(problems)} of {len(checks)} runs in {self.run} are damaged, as told above"
            )
        return 0

    def _verify(self, run: Path) -> int:
        from purejax_mgtopo.checkpoints.whole import verify_run
        from purejax_mgtopo.cli.tables import say

        findings, bad = _told(verify_run(run))
        checkpoints = [finding for finding in findings if finding.path.name.isdigit()]
        damaged = sum(finding.problem is not None for finding in checkpoints)
        if len(bad) > damaged:
            raise RunError(
                f"{len(bad)} of {len(findings)} things that {run} keeps are damaged or missing: put the "
                "originals back, or train again in another folder"
            )
        if damaged:
            raise RunError(
                f"{damaged} of {len(checkpoints)} checkpoints are damaged; `mgtopo resume` uses the latest good one"
            )
        if not checkpoints:
            say("no checkpoints yet")
        return 0

    def _verify_meta_training(self, folder: Path) -> int:
        from purejax_mgtopo.universal.kept.whole import verify_meta_training

        findings, bad = _told(verify_meta_training(folder))
        if bad:
            raise RunError(
                f"{len(bad)} of {len(findings)} things that {folder} keeps are damaged or missing: put the originals "
                "back, or begin again in another folder"
            )
        return 0


def _told(found: Iterable[Finding]) -> tuple[list[Finding], list[Finding]]:
    """Say what was found; all of it, and what is bad."""
    from purejax_mgtopo.cli.tables import say

    findings = list(found)
    for finding in findings:
        verdict = "good" if finding.problem is None else "BAD "
        say(f"{verdict}  {finding.path}  {finding.problem or ''}")
    return findings, [finding for finding in findings if finding.problem is not None]


@dataclass(frozen=True)
class WatchCommand(Command):
    """Play an episode of a run's trained networks, or of a task's expert; write it as a picture and an animation."""

    run: Annotated[
        Positional[Path | None],
        arg(metavar="DIR", help_behavior_hint="(required without --expert)"),
    ] = None
    """The run's folder."""
    expert: Annotated[
        str | None, arg(metavar="TASK", help_behavior_hint="(default: trained networks play)")
    ] = None
    """Watch the scripted expert of this task, which sees everything, in place of a run."""
    seed: Annotated[int | None, arg(metavar="INT", help_behavior_hint="(default: the first)")] = (
        None
    )
    """Which of the run's seeds plays."""
    greedy: Switch = False
    """Open every edge that is more likely open than not, rather than draw it by its probability."""
    episode_seed: EpisodeSeed = 0
    out: Annotated[
        Path | None,
        arg(
            metavar="DIR",
            help_behavior_hint="(default: figures in the run's folder; of an expert: here)",
        ),
    ] = None
    """Folder for the picture and the animation."""
    name: Annotated[
        str | None,
        arg(
            metavar="NAME",
            help_behavior_hint="(default: seed<i>_episode<e>[_greedy], or TASK_expert_episode<e>)",
        ),
    ] = None
    """Name of both files, without .png and .gif."""
    debug: Debug = False

    def do(self) -> int:
        from purejax_mgtopo.cli.tables import say
        from purejax_mgtopo.machine.startup import use_cache

        if (self.run is None) == (self.expert is None):
            raise ConfigError("say what to watch: a run's folder, or --expert TASK, and not both")
        if self.expert is not None and (self.seed is not None or self.greedy):
            raise ConfigError("--seed and --greedy are of trained networks; an expert has neither")
        use_cache(True)
        from purejax_mgtopo.trained.watch import watch, watch_expert  # starts JAX

        if self.run is None:
            pictures = watch_expert(
                str(self.expert), episode_seed=self.episode_seed, out=self.out, name=self.name
            )
        else:
            pictures = watch(
                self.run,
                seed=self.seed,
                greedy=self.greedy,
                episode_seed=self.episode_seed,
                out=self.out,
                name=self.name,
            )
        say(f"picture    {pictures.picture}")
        say(f"animation  {pictures.animation}")
        return 0


@dataclass(frozen=True)
class EvaluateCommand(Command):
    """Play fresh episodes with trained networks, as trained and with other edges: what communication is worth."""

    run: Annotated[Positional[Path], arg(metavar="DIR")]
    """A run's folder, or a folder that holds runs, such as a sweep's results."""
    seeds: Annotated[
        tuple[int, ...], arg(metavar="INT...", help_behavior_hint="(default: all)")
    ] = ()
    """Which of the run's seeds play."""
    channel: tuple[Literal["own", "shuffled", "constant", "cut", "open", "random"], ...] = (
        "cut", "open", "random", "own", "shuffled", "constant",
    )  # fmt: skip
    """Which other channels to play over: receivers hear themselves, another episode or zeros, or over no, all or any
    edges."""
    episodes: Annotated[int, arg(metavar="INT")] = 1000
    """Episodes for each seed and channel (the trained one with edges sampled and greedy, and the others)."""
    episode_seed: EpisodeSeed = 0
    out: Annotated[
        Path | None, arg(metavar="FILE", help_behavior_hint="(default: DIR/evaluation.parquet)")
    ] = None
    """File for the table (Parquet), a row per seed and condition."""
    debug: Debug = False

    def do(self) -> int:
        from purejax_mgtopo.cli.tables import assessment_table, console, say
        from purejax_mgtopo.machine.startup import use_cache
        from purejax_mgtopo.records.record import find_runs

        folders = find_runs([self.run])
        use_cache(True)
        from purejax_mgtopo.trained.assess import (  # starts JAX
            assess,
        )
        from purejax_mgtopo.trained.table import FILE_NAME, refuse_foreign_table, write_table

        target = self.out or self.run / FILE_NAME
        refuse_foreign_table(target)  # before an hour is spent
        done: list[Assessment] = []
        for folder in folders:
            try:
                assessment = assess(
                    folder,
                    self.seeds or None,
                    channels=self.channel,
                    episodes=self.episodes,
                    episode_seed=self.episode_seed,
                )
            except (ConfigError, RunError) as error:  # as of a seed that only other runs have
                if len(folders) == 1:
                    raise
                print(f"mgtopo: left out: {error}", file=sys.stderr)
                continue
            done.append(assessment)
            shown = console()
            shown.print(assessment_table(assessment, shown.width))
        if not done:
            raise RunError(f"none of the {len(folders)} runs in {self.run} can be evaluated")
        say(f"table  {write_table(done, target)}")
        return 0


@dataclass(frozen=True)
class ExportCommand(Command):
    """Write a trained seed as a small file, which `purejax_mgtopo.load_policy` turns into a function."""

    run: RunFolder
    seed: Annotated[int, arg(metavar="INT")]
    """Which of the run's seeds to export."""
    part: Literal["policy", "eta"] = "policy"
    """What to write: the team that acts, or the update rule eta by which it learned its gates, for `mgtopo train
    --meta.start FILE`."""
    out: Annotated[
        Path | None,
        arg(metavar="FILE", help_behavior_hint="(default: DIR/policies/seed<i>_episode<e>.npz)"),
    ] = None
    """File to write: NumPy arrays and a JSON header (layout: `python -m pydoc purejax_mgtopo.trained.policy`)."""
    debug: Debug = False

    def do(self) -> int:
        from purejax_mgtopo.cli.tables import say
        from purejax_mgtopo.machine.startup import use_cache

        use_cache(True)
        from purejax_mgtopo.trained.export import export  # starts JAX

        say(f"{self.part}  {export(self.run, self.seed, self.out, self.part)}")
        return 0
