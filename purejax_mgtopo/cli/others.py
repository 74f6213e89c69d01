"""Commands apart from runs: lists of tasks and methods, new prey, and measurements of this machine."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from purejax_mgtopo.bench.bench import BenchSettings
from purejax_mgtopo.cli.flags import Command, Debug, Imports
from purejax_mgtopo.methods import CRITICS, MESSAGES, METHODS, TOPOLOGIES
from purejax_mgtopo.options.learner import LEARNER_PRESETS
from purejax_mgtopo.plugins.registry import find_entry_points
from purejax_mgtopo.prey.settings import PreySettings


@dataclass(frozen=True)
class TasksCommand(Command):
    """List the tasks: agents, width of an observation, mean returns of random actions and of the expert."""

    imports: Imports = ()
    debug: Debug = False

    def do(self) -> int:
        from rich.padding import Padding

        from purejax_mgtopo.analysis.normalised import ends
        from purejax_mgtopo.cli.tables import console, table_of, tell
        from purejax_mgtopo.plugins import tasks

        columns: dict[str, list[str]] = {
            name: [] for name in ("task", "agents", "observation", "random", "expert")
        }
        abouts: dict[str, list[str]] = {}
        for name in tasks.names():
            task = tasks.make(name)
            scale = ends(name)
            returns = ("-", "-") if scale is None else (f"{end:.1f}" for end in scale)
            cells = (name, str(task.num_agents), str(task.observation_size), *returns)
            for column, cell in zip(columns.values(), cells, strict=True):
                column.append(cell)
            abouts.setdefault(first_paragraph(type(task)), []).append(name)
        shown = console()
        shown.print(table_of(columns, words=("task",)))
        for about, names in abouts.items():
            shown.print(f"{', '.join(names)}:")
            shown.print(Padding(about, (0, 0, 1, 2)))
        tell(
            "Other sizes follow the grammar <scenario>_N<agents>[_l<landmarks seen>], "
            "e.g. navigation_N4_l2."
        )
        return 0


def first_paragraph(kind: type) -> str:
    """The first paragraph of a class's words, as one line."""
    return " ".join((inspect.getdoc(kind) or "").partition("\n\n")[0].split())


@dataclass(frozen=True)
class MethodsCommand(Command):
    """List the methods: topology rules, message interpreters, critics, and the presets."""

    imports: Imports = ()
    debug: Debug = False

    def do(self) -> int:
        from rich.table import Table

        from purejax_mgtopo.cli.tables import console, tell

        find_entry_points()
        shown = console()
        for title, axis in (
            ("--topology: who receives from whom", TOPOLOGIES),
            ("--messages: what is sent, and how it is read", MESSAGES),
            ("--critic: what judges the actions of all agents", CRITICS),
        ):
            table = Table("", "", title=title, title_justify="left", box=None, show_header=False)
            for entry in axis.values():
                table.add_row(f"  {entry.name}", entry.about)
            shown.print(table, "")
        shown.print("presets (--method), and where they were published:")
        wide = shown.width >= 100
        presets = Table("", "", *("", "") * wide, box=None, show_header=False)
        for name, method in METHODS.items():
            about = method.about if name == method.name else f"the same as {method.name}"
            axes = f"{method.topology} + {method.messages}"
            cells = (axes, about, method.source)
            presets.add_row(f"  {name}", *(cells if wide else ["; ".join(x for x in cells if x)]))
        shown.print(presets, "")
        learners = Table("", "", box=None, show_header=False)
        for name, settings in LEARNER_PRESETS.items():
            words = ", ".join(f"{setting} {value}" for setting, value in settings.items())
            learners.add_row(f"  {name}", words)
        shown.print("presets of the base learner (--learner-preset):")
        shown.print(learners, "")
        tell(
            "Any rule goes with any interpreter: --method none+commnet, "
            "or --topology none --messages commnet; a pair without a preset is experimental."
        )
        return 0


@dataclass(frozen=True)
class GlossaryCommand(Command):
    """Say what the columns of `metrics.parquet` mean, and those that a loaded frame adds."""

    imports: Imports = ()
    debug: Debug = False

    def do(self) -> int:
        from rich.table import Table

        from purejax_mgtopo.cli.tables import console, tell
        from purejax_mgtopo.plugins.meanings import all_meanings
        from purejax_mgtopo.records import glossary

        find_entry_points()
        shown = console()
        own = [
            (name, f"{sentence} ({', '.join(who)})")
            for name, sentences in all_meanings().items()
            for sentence, who in sentences.items()
        ]
        for title, words in (
            ("metrics.parquet: a row for each seed and evaluation", glossary.GLOSSARY.items()),
            ("what rules and interpreters measure since the evaluation before, each its own", own),
            ("load_run(DIR).to_pandas() adds", glossary.FRAME.items()),
            (
                "metrics.parquet of `mgtopo meta-train`: a row for each update and task",
                glossary.META_TABLE.items(),
            ),
        ):
            table = Table("", "", title=title, title_justify="left", box=None, show_header=False)
            for name, about in words:
                table.add_row(f"  {name}", about)
            shown.print(table, "")
        tell(
            "Other columns are measures of a plug-in that says nothing of them, by their own names."
        )
        return 0


@dataclass(frozen=True)
class PreyCommand(Command):
    """Train prey for predator-prey tasks in self-play, freeze the best, measure it."""

    out: Annotated[
        Path | None, arg(metavar="FILE", help_behavior_hint="(default: prey_N<agents>.npz)")
    ] = None
    """The prey file to write. Use it as task `predator_prey_N3_l3@FILE`."""
    settings: Annotated[PreySettings, arg(name="")] = field(default_factory=PreySettings)
    debug: Debug = False

    def do(self) -> int:
        from purejax_mgtopo.prey.command import prey_command

        return prey_command(self.settings, self.out or Path(f"prey_N{self.settings.agents}.npz"))


@dataclass(frozen=True)
class BenchCommand(Command):
    """Measure this machine: environment steps/s, training episodes/s, compile times."""

    settings: Annotated[BenchSettings, arg(name="")] = field(default_factory=BenchSettings)
    debug: Debug = False

    def do(self) -> int:
        from purejax_mgtopo.bench import bench

        bench.run(self.settings)
        return 0
