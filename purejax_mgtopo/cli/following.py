"""Commands that read the records of runs: `status`, `report`, `figures`, `verdicts`, and the mirrors of W&B."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from purejax_mgtopo.cli.flags import Command, Debug, RunFolders, Switch
from purejax_mgtopo.errors import ConfigError, RunError
from purejax_mgtopo.machine.paths import expanded

if TYPE_CHECKING:
    from purejax_mgtopo.mirror.access import Say
    from purejax_mgtopo.records.run_data import RunData


@dataclass(frozen=True)
class StatusCommand(Command):
    """How far runs and meta-trainings are: task, method, episodes, return, edges, speed, time left."""

    runs: RunFolders
    debug: Debug = False

    def do(self) -> int:
        if not self.runs:
            raise ConfigError("say which runs to look at, for example `mgtopo status results`")
        from purejax_mgtopo.cli.status import meta_table, status_table
        from purejax_mgtopo.cli.tables import console, note
        from purejax_mgtopo.records.folders import find_trainings
        from purejax_mgtopo.training.run_state import read_states

        runs, meta = find_trainings(self.runs)
        states, problems = read_states(runs)
        shown = console(width=160)
        if states:
            shown.print(status_table(states, shown.width))
        standings = []
        for folder in meta:
            from purejax_mgtopo.universal.kept.standing import read_standing

            try:
                standings.append(read_standing(folder))
            except RunError as error:
                problems.append(str(error))
        if standings:
            shown.print(meta_table(standings, shown.width))
        for problem in problems:
            note(problem)
        return 1 if problems and not (states or standings) else 0


@dataclass(frozen=True)
class ReportCommand(Command):
    """Put runs on one HTML page: ranking, curves, edges, episodes to watch. It needs no network."""

    runs: RunFolders
    out: Annotated[
        Path | None,
        arg(
            metavar="FILE",
            help_behavior_hint="(default: report.html in DIR, or here if there are several)",
        ),
    ] = None
    """The HTML file to write."""
    no_episodes: Switch = False
    """Leave out the episodes to watch, which take longest: JAX must start to play them."""
    debug: Debug = False

    def do(self) -> int:
        if not self.runs:
            raise ConfigError("say which runs to report, for example `mgtopo report results`")
        from purejax_mgtopo.cli.tables import note, say
        from purejax_mgtopo.machine.startup import use_cache

        use_cache(True)
        from purejax_mgtopo.report.report import write_report

        path = write_report(self.runs, self.out, episodes=not self.no_episodes, say=note)
        say(f"report  {path}")
        return 0


@dataclass(frozen=True)
class FiguresCommand(Command):
    """Draw the learning curves of runs as vector graphics for a paper: PDF and SVG, with intervals over seeds."""

    runs: RunFolders
    out: Annotated[
        Path | None,
        arg(
            metavar="DIR",
            help_behavior_hint="(default: figures in DIR, or here if there are several)",
        ),
    ] = None
    """Folder for the figures."""
    formats: Annotated[tuple[Literal["pdf", "svg", "png"], ...], arg(metavar="pdf|svg|png...")] = (
        "pdf",
        "svg",
    )
    """What to write."""
    advantages: Annotated[int, arg(metavar="INT")] = 0
    """Episodes for which to draw, besides, what REINFORCE and the learned rule make of each step (Figures 4, right, and
    5 of Zhang & Chen 2021): of each run whose rule judges every edge, the median seed; with all numbers as JSON beside
    the picture. This starts JAX."""
    agent: Annotated[int, arg(metavar="INT")] = 0
    """The receiver whose advantages are drawn."""
    debug: Debug = False

    def do(self) -> int:
        if not self.runs:
            raise ConfigError("say which runs to draw, for example `mgtopo figures results`")
        if self.advantages < 0 or self.agent < 0:
            raise ConfigError("--advantages and --agent count from 0")
        if self.advantages:
            from purejax_mgtopo.machine.startup import refuse_strict_modes, use_cache

            use_cache(True)
            refuse_strict_modes()  # before curves are drawn: this starts JAX
        from purejax_mgtopo.analysis.curves import draw_curves
        from purejax_mgtopo.cli.tables import note, say
        from purejax_mgtopo.records.files import spared
        from purejax_mgtopo.records.record import FIGURES, find_runs
        from purejax_mgtopo.report.collect import compare, read_run

        found = []
        for folder in find_runs(self.runs):
            try:
                found.append(read_run(folder))
            except RunError as error:
                note(f"left out: {error}")
        data = {run.folder: loaded for run, loaded in found}
        named = [run for one in compare(run for run, _ in found) for run in one.runs]
        curves = [(run.method, data[run.folder]) for run in named if len(data[run.folder].episodes)]
        if not curves:
            raise RunError("none of these runs has an evaluation yet; there is nothing to draw")
        home = self.runs[0] / FIGURES if len(self.runs) == 1 else Path()
        for ending in dict.fromkeys(self.formats):
            target = spared((self.out or home) / f"curves.{ending}")
            say(f"figure  {draw_curves(curves, target)}")
        if self.advantages:
            self._draw_advantages(curves, self.out or home)
        return 0

    def _draw_advantages(self, runs: Sequence[tuple[str, RunData]], home: Path) -> None:
        from purejax_mgtopo.analysis.drawing import save_figure
        from purejax_mgtopo.cli.tables import note, say
        from purejax_mgtopo.records.files import spared
        from purejax_mgtopo.report.analyses import judge_run

        drawn, problems, why = False, [], ""
        for method, data in runs:
            try:
                judged = judge_run(data, method, self.advantages, self.agent)
            except (ConfigError, RunError) as error:
                problems.append(f"{data.experiment.task}/{method} is left out: {error}")
                why = why or f"no advantages are drawn: {error}"
                continue
            if judged is None:
                continue
            drawn = True
            figure = judged.draw()
            name = f"advantages_{data.experiment.task}_{method}".replace("/", "_")
            for ending in dict.fromkeys(self.formats):
                path = spared(home / f"{name.replace(', ', ',')}.{ending}")
                say(f"figure  {save_figure(figure, path)}")
            numbers = spared(home / f"{name.replace(', ', ',')}.json")
            say(f"numbers {judged.write(numbers)}")
        for problem in problems:
            note(problem)
        if not drawn:
            raise RunError(
                why
                or "none of these runs has checkpoints of a rule that judges every edge, as meta's does"
            )


@dataclass(frozen=True)
class VerdictsCommand(Command):
    """Tell which claims of a sweep's recipe its results bear out, and on which tasks seeds fall into two groups."""

    runs: RunFolders
    json: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="(default: none)")] = None
    """File to write all of it to as well."""
    debug: Debug = False

    def do(self) -> int:
        if not self.runs:
            raise ConfigError("say which sweeps to judge, for example `mgtopo verdicts results`")
        from purejax_mgtopo.analysis.verdicts import (
            read_verdicts,
            refuse_foreign_verdicts,
            write_verdicts,
        )
        from purejax_mgtopo.cli.tables import console, note, say, verdict_table
        from purejax_mgtopo.records.record import SWEEP

        file = None if self.json is None else expanded(self.json)
        if file is not None:
            refuse_foreign_verdicts(file)
        folders = [expanded(folder) for folder in self.runs]
        for folder in folders:
            if not folder.is_dir():
                raise RunError(f"{folder} is not a folder; give a sweep's results")
        told = read_verdicts(folders, note)
        if not told:
            raise RunError(
                f"{', '.join(map(str, folders))} holds no sweep (no {SWEEP} that can be read); give a sweep's results"
            )
        if not any(one.verdicts or one.groups for one in told):
            raise RunError(
                "these sweeps state no claim, and no seeds fall into two groups; where a recipe has gained a [[claim]] "
                "since, call the sweep again, which keeps what is finished"
            )
        shown = console()
        for one in told:
            shown.print(verdict_table(one, shown.width))
        if file is not None:
            say(f"verdicts  {write_verdicts(told, file)}")
        return 0


@dataclass(frozen=True)
class WandbRebuildCommand(Command):
    """Write the W&B mirror of runs and meta-trainings anew from their records, as new W&B runs."""

    runs: RunFolders
    debug: Debug = False

    def do(self) -> int:
        if not self.runs:
            raise ConfigError(
                "say which runs to mirror, for example `mgtopo wandb-rebuild results`"
            )
        from purejax_mgtopo.cli.tables import note, say
        from purejax_mgtopo.mirror.meta import rebuild_meta
        from purejax_mgtopo.mirror.mirror import rebuild
        from purejax_mgtopo.records.folders import find_trainings, read_config, read_recipe

        runs, meta = find_trainings(self.runs)
        found: list[tuple[Path, Callable[[Path], object], Callable[[Path, Say], str]]]
        found = [(folder, read_config, rebuild) for folder in runs]
        found += [(folder, read_recipe, rebuild_meta) for folder in meta]
        left_out = 0
        for folder, read, again in found:
            try:
                read(folder)
            except RunError as error:  # a damaged one must not cost the others their mirrors
                note(f"left out: {error}")
                left_out += 1
            else:
                say(f"{folder}: {again(folder, note)}")
        return 1 if left_out else 0


@dataclass(frozen=True)
class WandbDashboardCommand(Command):
    """Save a W&B view of a sweep: curves by method with their bands, edges, meta-learning health, the machine."""

    sweep: Annotated[
        Positional[Path | None],
        arg(metavar="DIR", help_behavior_hint="(default: the whole project)"),
    ] = None
    """The sweep's results: the view shows its runs alone, in the project that they went to."""
    entity: Annotated[str | None, arg(metavar="NAME", help_behavior_hint="(default: yours)")] = None
    """W&B user or team that owns the project; by default what WANDB_ENTITY says, else yours."""
    project: Annotated[str, arg(metavar="NAME", help_behavior_hint="(default: see there)")] = ""
    """The W&B project to look at; by default what WANDB_PROJECT says, else purejax_mgtopo."""
    debug: Debug = False

    def do(self) -> int:
        from purejax_mgtopo.cli.tables import say
        from purejax_mgtopo.mirror.dashboard import save_dashboard
        from purejax_mgtopo.mirror.places import sent_to, sweep_id

        project, group, key = self.project, "", ""
        if self.sweep is not None:
            project, group = sent_to(self.sweep)
            key = sweep_id(self.sweep)
        say(f"dashboard  {save_dashboard(self.entity, self.project or project, group, key)}")
        return 0
