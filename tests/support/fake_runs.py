"""Runs of the fake population, with checkpoints that are kept in memory."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import stand_ins
from fake_population import FakePopulation, FakeStore

from purejax_mgtopo.config import Config
from purejax_mgtopo.records import record
from purejax_mgtopo.training import sweep as sweeps
from purejax_mgtopo.training.run import RunResult

STORE = FakeStore({})


def train(*args: Any, **options: Any) -> RunResult:
    return stand_ins.train(*args, **{"store": STORE} | options)


def resume(*args: Any, **options: Any) -> RunResult:
    return stand_ins.resume(*args, **{"store": STORE} | options)


def _press(chunk: int) -> None:
    if chunk == 2:
        os.kill(os.getpid(), signal.SIGINT)


def pressing(config: Config) -> FakePopulation:
    return FakePopulation(config, before_chunk=_press)


def sweep(*args: Any, **options: Any) -> sweeps.SweepResult:
    return stand_ins.sweep(*args, **{"store": STORE} | options)


def rows(folder: Path) -> bytes:
    return (folder / "metrics.parquet").read_bytes()


def told(folder: Path) -> list[tuple]:
    """What happened, without the times at which it did, and without the words about interruptions."""
    dull = ("time", "seconds", "wall", "episodes_per_second")
    return [
        tuple((key, value) for key, value in event.items() if key not in dull)
        for event in record.read_events(folder)
        if event["event"] in ("chunk", "evaluation", "end")
    ]
