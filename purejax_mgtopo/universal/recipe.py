"""A recipe of meta-training: TOML in, settings and the runs that make frozen teams out. Starts no JAX."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from purejax_mgtopo.config import Config, Experiment, flatten, override
from purejax_mgtopo.errors import ConfigError
from purejax_mgtopo.machine.paths import expanded
from purejax_mgtopo.settings import completed
from purejax_mgtopo.training.recipe import Recipe, Setting, parse_recipe
from purejax_mgtopo.universal.settings import MetaTraining

FILE_NAME, TABLE = "meta_train.toml", "meta_train"


@dataclass(frozen=True)
class MetaRecipe:
    """What is meta-trained, and on what: the runs that make frozen teams are those of a sweep of the rule random."""

    settings: MetaTraining
    teams: Recipe
    changes: tuple[Setting, ...] = ()
    """Settings of the runs that win over the recipe's."""

    @property
    def configs(self) -> list[Config]:
        """The runs that make the teams, one for each task; the first one's means are those of meta-training itself."""
        return [run.config for run in self.teams.runs(self.changes)]

    def told(self) -> dict[str, Any]:
        """All of it, for JSON."""
        runs = [flatten(config.experiment) for config in self.configs]
        return {TABLE: asdict(self.settings), "teams": runs}


def with_defaults(told: Mapping[str, Any]) -> dict[str, Any]:
    """What `MetaRecipe.told` would tell today of a recipe that was told before some settings were there.

    Raises AttributeError, KeyError or TypeError for what no recipe has told.
    """
    usual = flatten(Experiment())
    teams = [usual | completed(team) for team in told["teams"]]
    return {TABLE: asdict(MetaTraining()) | told[TABLE], "teams": teams}


def load_meta_recipe(path: Path, changes: Iterable[Setting] = ()) -> MetaRecipe:
    """A TOML file as `mgtopo sweep` reads it, without methods and with a table `[meta_train]`, or its folder.

    Args:
        changes: settings of the runs that win over the recipe's, as from the command line.

    Raises ConfigError, in one line.
    """
    path = expanded(path)
    file = path / FILE_NAME if path.is_dir() else path
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{file}: not valid TOML: {error}") from None
    table = document.pop(TABLE, {})
    if "methods" in document or not isinstance(table, dict):
        raise ConfigError(
            f"{file}: a recipe of meta-train has no methods, and a table [{TABLE}] of settings"
        )
    try:
        settings = override(MetaTraining(), table)
    except ConfigError as error:
        raise ConfigError(f"{file}: [{TABLE}]: {error}") from None
    teams = parse_recipe(document | {"methods": ["random"]}, file)
    recipe = MetaRecipe(settings, teams, tuple(changes))
    if len(recipe.configs) != len(recipe.teams.tasks):
        raise ConfigError(f"{file}: a setting of meta-train has one value, not a list")
    for experiment in (config.experiment for config in recipe.configs):
        if settings.longest_delay and experiment.learner.discount == 0:
            raise ConfigError(
                f"{file}: under meta_train.longest_delay {experiment.task} needs a learner.discount above 0: "
                "without one nothing that comes later counts"
            )
    return recipe
