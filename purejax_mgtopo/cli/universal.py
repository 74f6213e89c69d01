"""`mgtopo meta-train`: one update rule for every task, learned over a population of lifetimes."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from purejax_mgtopo.cli.flags import Debug, NoCache
from purejax_mgtopo.cli.running import TrainingCommand, get_ready, stopped


@dataclass(frozen=True)
class MetaTrainCommand(TrainingCommand):
    """Learn one topology rule over many tasks, sizes and prices. Called again, it goes on where it stopped."""

    recipe: Annotated[Positional[Path], arg(metavar="RECIPE")]
    """A TOML file, or a folder that holds such a meta_train.toml: tasks and settings as in a recipe of `mgtopo sweep`,
    for the runs with random topologies that make the teams, and a table [meta_train]. With `phase = "learning"` there,
    no teams are made: every lifetime is a training run of its own. With `estimator = "evolution"` the rule learns from
    how whole lifetimes went, not from every few updates of them."""
    out: Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="(required)")] = None
    """Folder for teams, records and rule. The rule is DIR/universal.npz: `--method universal --member.universal.file
    DIR/universal.npz`. Beside it are metrics.parquet (a row for each update and task; `mgtopo glossary` says what its
    columns mean), curve.jsonl, events.jsonl and state.npz, which `mgtopo status` and `mgtopo verify` read."""
    wandb: Annotated[
        Literal["auto", "online", "offline", "off"] | None,
        arg(help_behavior_hint="(default: the recipe's)"),
    ] = None
    """Whether to mirror meta-training to W&B, as one run, and the runs that make the teams, as `mgtopo train --wandb`
    does."""
    no_cache: NoCache = False
    debug: Debug = False

    def train(self) -> int:
        import signal

        from purejax_mgtopo.cli.tables import note, say
        from purejax_mgtopo.errors import ConfigError
        from purejax_mgtopo.training.progress import make_reporter
        from purejax_mgtopo.training.recipe import Setting
        from purejax_mgtopo.training.stop import heard
        from purejax_mgtopo.universal.recipe import load_meta_recipe

        if self.out is None:
            raise ConfigError("say where the results go, for example --out results/universal")
        changes = [] if self.wandb is None else [Setting("wandb", self.wandb)]
        recipe = load_meta_recipe(self.recipe, changes)
        get_ready(recipe.configs, cache=not self.no_cache)
        from purejax_mgtopo.universal.training import meta_train  # which starts JAX

        with closing(make_reporter()) as reporter:
            rule = meta_train(recipe, self.out, reporter)
        if rule is not None:
            say(f"rule  {rule}")
            return 0
        note("mgtopo: stopped, and saved; go on by calling the same again")
        with heard() as stop:
            return stopped(stop.signal or signal.SIGTERM)
