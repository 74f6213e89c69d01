"""Runs whose program, checkpoints or mirror are stand-ins, in place of what `training.run` would build or open."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

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
    functions = {
        "build_population": population,
        "open_checkpoints": store,
        "open_mirror": mirror,
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, make in functions.items():
            if make is not None:
                patch.setattr(runner, name, make)
        yield


def train(config: Config, folder: Path, **options: Any) -> runner.RunResult:
    """`training.run.train` of a pair, with stand-ins among the options."""
    with stand_ins(**_taken(options)):
        return runner.train(config.experiment, folder, means=config.means, **options)


def resume(folder: Path, **options: Any) -> runner.RunResult:
    """`training.run.resume`, with stand-ins among the options."""
    with stand_ins(**_taken(options)):
        return runner.resume(folder, **options)


def sweep(*args: Any, **options: Any) -> sweeps.SweepResult:
    """`training.sweep.sweep`, with stand-ins among the options."""
    with stand_ins(**_taken(options)):
        return sweeps.sweep(*args, **options)


def _taken(options: dict[str, Any]) -> dict[str, Make]:
    return {
        name: options.pop(name) for name in ("population", "store", "mirror") if name in options
    }
