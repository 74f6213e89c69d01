"""Commands that follow runs from their records: `status`, `wandb-rebuild`, `wandb-dashboard`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from purejax_mgtopo.cli.flags import Command, Debug, RunFolders
from purejax_mgtopo.errors import ConfigError


@dataclass(frozen=True)
class StatusCommand(Command):
    """How far runs are: task, method, episodes, return, edges, speed, time left."""

    runs: RunFolders
    debug: Debug = False

    def do(self) -> int:
        if not self.runs:
            raise ConfigError("say which runs to look at, for example `mgtopo status results`")
        from purejax_mgtopo.cli.status import read_states, status_table
        from purejax_mgtopo.cli.tables import console, note
        from purejax_mgtopo.records.record import find_runs

        states, problems = read_states(find_runs(self.runs))
        if states:
            shown = console(width=160)
            shown.print(status_table(states, shown.width))
        for problem in problems:
            note(problem)
        return 1 if problems and not states else 0


@dataclass(frozen=True)
class WandbRebuildCommand(Command):
    """Write the W&B mirror of runs anew from their records, as new W&B runs."""

    runs: RunFolders
    debug: Debug = False

    def do(self) -> int:
        if not self.runs:
            raise ConfigError(
                "say which runs to mirror, for example `mgtopo wandb-rebuild results`"
            )
        from purejax_mgtopo.cli.tables import note, say
        from purejax_mgtopo.mirror.mirror import rebuild
        from purejax_mgtopo.records.record import find_runs

        for run in find_runs(self.runs):
            say(f"{run}: {rebuild(run, note)}")
        return 0


@dataclass(frozen=True)
class WandbDashboardCommand(Command):
    """Save a W&B view of a sweep: curves by method with their bands, edges, meta-learning health, the machine."""

    sweep: Annotated[
        Positional[Path | None],
        arg(metavar="DIR", help_behavior_hint="(default: the whole project)"),
    ] = None
    """The sweep's results: the view shows its runs alone, in the project that they went to."""
    entity: Annotated[str | None, arg(metavar="NAME", help_behavior_hint="(default: yours)")] = None
    """W&B user or team that owns the project."""
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
