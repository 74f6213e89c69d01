"""Runs whose program, checkpoints or mirror are stand-ins, in place of what `training.run` would build or open."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from purejax_mgtopo.config import Config
from purejax_mgtopo.training import run as runner
from purejax_mgtopo.training import sweep as sweeps

Make = Callable[..., Any]
"""What stands in for a function of `training.run`, and takes what that takes."""


@contextlib.contextmanager
def stand_ins(
    population: Make | None = None, store: Make | None = None, mirror: Make | None = None
) -> Iterator[None]:
    """While it is open, runs get what these make; None leaves the real thing.

    Args:
        population: from a configuration, in place of `build_population`.
        store: in place of `open_checkpoints`.
        mirror: in place of `open_mirror`.
    """
    yield


def train(config: Config, folder: Path, **options: Any) -> runner.RunResult:
    """`training.run.train` of a pair; stand-ins by the names that `stand_ins` gives them."""
    made, options = _apart(options)
    factories = {f"{name}_factory": make for name, make in made.items()}
    return runner.train(config.experiment, folder, means=config.means, **factories, **options)


def resume(folder: Path, **options: Any) -> runner.RunResult:
    made, options = _apart(options)
    return runner.resume(folder, **{f"{n}_factory": make for n, make in made.items()}, **options)


def sweep(*args: Any, **options: Any) -> sweeps.SweepResult:
    made, options = _apart(options)
    return sweeps.sweep(*args, **{f"{n}_factory": make for n, make in made.items()}, **options)


def _apart(options: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    names = ("population", "store", "mirror")
    made = {name: options[name] for name in names if name in options}
    return made, {name: value for name, value in options.items() if name not in names}
