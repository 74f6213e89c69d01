"""How `trial` and `formula` are asked, and how they end where they cannot begin: with one line, and an exit code."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from purejax_mgtopo.config import Means
from purejax_mgtopo.errors import ConfigError, RunError, require
from purejax_mgtopo.machine.paths import expanded
from purejax_mgtopo.machine.startup import configure_platform, use_cache
from purejax_mgtopo.machine.streams import show_any_name
from purejax_mgtopo.records.files import make_ready_for
from purejax_mgtopo.records.record import each_once, read_config

USAGE, FAILURE = 2, 1


class Questions(argparse.ArgumentParser):
    """The words that both commands know: a rule, teams, how many lifetimes of how many updates, and a file.

    Raises ConfigError in place of printing how it is called.
    """

    def __init__(self, name: str, description: str | None, lifetimes: int) -> None:
        super().__init__(prog=name, description=description)
        self.add_argument("rule", type=expanded)
        self.add_argument("teams", type=expanded, nargs="+")
        self.add_argument("--updates", type=count, default=300)
        self.add_argument("--lifetimes", type=count, default=lifetimes)
        self.add_argument("--out", type=_writable)

    def error(self, message: str) -> NoReturn:
        """Raise ConfigError."""
        raise ConfigError(message)


def count(text: str) -> int:
    """A number of something there must be one of. Raises ArgumentTypeError, or ValueError for what is no number."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {number}")
    return number


def _writable(text: str) -> Path:
    """A file that is written in the end, whose folder has to be there, and to take files, at the beginning."""
    path = expanded(text)
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {path.parent}")
    try:
        make_ready_for(path)
    except RunError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return path


def check_teams(teams: Sequence[Path], updates: int) -> None:
    """Refuse teams that were not trained under random topologies, and lifetimes that end before a rule is judged once.

    Raises ConfigError, and RunError for what is no run.
    """
    for folder in teams:
        experiment = read_config(folder).experiment
        require(
            experiment.topology == "random",
            f"{folder} is a run of {experiment.method}; teams for trials come from runs of the method random, whose "
            "policies have learned under all topologies",
        )
        least = experiment.updates_per_iteration
        require(
            updates >= least,
            f"a lifetime must have at least the K = {least} gate updates of {experiment.task}, not {updates}",
        )


def answered(
    questions: Questions, do: Callable[[argparse.Namespace], Any], words: Sequence[str] | None
) -> int:
    """Ask, keep what `do` makes of it as JSON where a file is named, and answer with an exit code: 0, 1 failed, 2 bad
    input."""
    show_any_name()
    try:
        asked = questions.parse_args(words)
        asked.teams = each_once(asked.teams)
        check_teams(asked.teams, asked.updates)
        use_cache(True)
        configure_platform(Means())
        text = json.dumps(do(asked), indent=1)
        if asked.out is not None:
            asked.out.write_text(text + "\n", encoding="utf-8")
    except ConfigError as error:
        return _told(questions, error, USAGE)
    except (RunError, OSError) as error:
        return _told(questions, error, FAILURE)
    return 0


def _told(questions: Questions, error: Exception, code: int) -> int:
    print(f"{questions.prog}: {error}", file=sys.stderr)
    return code
