"""The command `fit`, which says before a run how many seeds fit, on this machine or on a card that is not there."""

from __future__ import annotations

import dataclasses
import itertools
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from purejax_mgtopo.cli.flags import (
    Command,
    Debug,
    Imports,
    LearnerPreset,
    MethodName,
    NoCache,
    Switch,
)
from purejax_mgtopo.cli.running import check_method, get_ready
from purejax_mgtopo.config import Config, Experiment, Means, flatten, override, with_method
from purejax_mgtopo.errors import ConfigError
from purejax_mgtopo.records.files import make_ready_for


@dataclass(frozen=True)
class FitCommand(Command):
    """Tell, before a run, how many seeds fit at a time, what each needs, and how long all will take."""

    method: MethodName = None
    learner_preset: LearnerPreset = None
    memory: Annotated[
        float | None, arg(metavar="GB", help_behavior_hint="(default: what this machine has)")
    ] = None
    """Memory of one device in GB (10^9 bytes), to plan for another machine."""
    card: Annotated[
        tuple[str, ...],
        arg(metavar="v100|a100|h100|h200|FILE", help_behavior_hint="(default: this machine)"),
    ] = ()
    """Compile for one such GPU, which need not be there, and tell what fits and the least that it can take; several, or
    a FILE with XLA's description of another, may be given. Needs one of the extras cuda12 and cuda13."""
    tasks: Annotated[
        tuple[str, ...], arg(metavar="TASK", help_behavior_hint="(default: that of --task)")
    ] = ()
    """With --card: a row for each of these tasks."""
    methods: Annotated[
        tuple[str, ...], arg(metavar="NAME", help_behavior_hint="(default: that of --method)")
    ] = ()
    """With --card: a row for each of these methods."""
    table: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="(default: none)")] = None
    """With --card: file for all rows as a Markdown table, written anew after each."""
    no_burst: Switch = False
    """Skip the short training that measures the speed."""
    profile: Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="(default: none)")] = None
    """Folder for a JAX profile of that short training, which TensorBoard or Perfetto can show."""
    experiment: Annotated[Experiment, arg(name="")] = field(default_factory=Experiment)
    means: Annotated[Means, arg(name="")] = field(default_factory=Means)
    imports: Imports = ()
    no_cache: NoCache = False
    debug: Debug = False

    def do(self) -> int:
        check_method(self.method, self.experiment)
        if self.memory is not None and not 0 < self.memory < 1e9:  # what is not a number is neither
            raise ConfigError(f"memory must be a number of GB above 0, not {self.memory}")
        if self.card:
            return self._for_cards()
        for flag in ("tasks", "methods", "table"):
            if getattr(self, flag):
                raise ConfigError(f"--{flag} goes with --card; for this machine, run one fit each")
        memory = None if self.memory is None else int(self.memory * 1e9)
        config = Config(self.experiment, self.means)
        get_ready([config], cache=not self.no_cache)
        from purejax_mgtopo.cli.tables import console, fit_table
        from purejax_mgtopo.population.fit import burst, plan

        fit = plan(config, memory, check=True)
        rate = None if self.no_burst else burst(fit, profile=self.profile)
        console().print(fit_table(fit, rate))
        return 0

    def _for_cards(self) -> int:
        if self.memory is not None or self.profile is not None:
            other = "--memory" if self.memory is not None else "--profile"
            raise ConfigError(f"{other} does not go with --card, on which nothing runs")
        from purejax_mgtopo.machine.cards import card_named

        cards = [card_named(name) for name in self.card]
        wanted = itertools.product(
            self.tasks or (self.experiment.task,), self.methods or (self.method,)
        )
        if self.table is not None:
            make_ready_for(self.table)
        configs = [Config(self.planned(task, method), self.means) for task, method in wanted]
        os.environ["JAX_PLATFORMS"] = "cpu"  # a GPU that is there is not asked for
        get_ready(configs, cache=False)
        from purejax_mgtopo.cli.tables import card_table, console, markdown, note
        from purejax_mgtopo.population.cards import plan_for

        found = []
        shown = console()
        for card, config in itertools.product(cards, configs):
            experiment = config.experiment
            note(f"compiling {experiment.method} on {experiment.task} for {card.name} ...")
            found.append(plan_for(card, config))
            if self.table is None:
                shown.print(card_table(found[-1]))
                continue
            self.table.write_text(markdown(found), encoding="utf-8")
        if self.table is not None:
            shown.print(markdown(found))
        return 0

    def planned(self, task: str, method: str | None) -> Experiment:
        """What is asked, by another method: its preset lies beneath the flags, as that of the method asked for does."""
        asked = dataclasses.replace(self.experiment, task=task)
        if method is None:
            return asked
        bare = Experiment(task=task)
        beneath = flatten(bare if self.method is None else with_method(bare, self.method))
        flags = {name: value for name, value in flatten(asked).items() if value != beneath[name]}
        return override(with_method(bare, method), flags)
