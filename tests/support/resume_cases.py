"""Runs small enough to be killed many times over, what they leave, and how two of them are compared."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from quick_xla import quick_flags

from purejax_mgtopo.checkpoints.stored import array_names, latest_steps, read_arrays
from purejax_mgtopo.config import Config, Experiment, flatten, override, with_method
from purejax_mgtopo.records.record import CHECKPOINTS, METRICS, read_events
from purejax_mgtopo.training.progress import SilentReporter

TINY: dict[str, Any] = {
    "task": "toy_follow_holder",
    "seeds": 3,
    "learner.hidden": 4,
    "learner.batch_size": 4,
    "learner.replay_transitions": 200,
    "learner.warmup_episodes": 3,
    "meta.hidden": 4,
    "updates_per_iteration": 2,
    "chunk_episodes": 2,
    "evaluation.every": 4,
    "evaluation.episodes": 2,
    "evaluation.final_episodes": 4,
    "episodes": 12,
    "seed_axis": "map",
    "checkpoint.minutes": 0.0,
    "checkpoint.keep": 3,
    "wandb": "off",
}
ROOT = Path(__file__).parents[2]


def tiny(method: str = "meta", **changes: Any) -> Config:
    return override(Config(with_method(Experiment(), method)), TINY | changes)


class Notes(SilentReporter):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, line: str) -> None:
        self.notes.append(line)


class Stopping:
    """A program whose user presses Ctrl-C while chunk `at` (from 1) is computed."""

    def __init__(self, population: Any, at: int, number: int = signal.SIGTERM) -> None:
        self._population, self._at, self._number, self._done = population, at, number, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._population, name)

    def advance(self, state: Any, wave: Any) -> Any:
        self._done += 1
        if self._done == self._at:
            os.kill(os.getpid(), self._number)
        return self._population.advance(state, wave)


def state_of(run: Path, wave: int = 0) -> dict[str, NDArray]:
    """Every array of a wave's latest checkpoint, read without JAX."""
    path = latest_steps(run / CHECKPOINTS / f"wave_{wave}")[0]
    return read_arrays(path, array_names(path))


def same_state(one: dict[str, NDArray], other: dict[str, NDArray]) -> None:
    """Bit for bit: NaN equals NaN, and 0.0 is not -0.0."""
    assert one.keys() == other.keys()
    for name, array in one.items():
        assert array.dtype == other[name].dtype, name
        assert array.tobytes() == other[name].tobytes(), name


def table(run: Path) -> bytes:
    return (run / METRICS).read_bytes()


def told(run: Path, kinds: Sequence[str] = ("chunk", "evaluation", "end")) -> list[tuple]:
    """What happened, without the times at which it did."""
    timed = ("time", "seconds", "wall", "episodes_per_second")
    return [
        tuple((key, value) for key, value in event.items() if key not in timed)
        for event in read_events(run)
        if event["event"] in kinds
    ]


def same_run(one: Path, other: Path, waves: int = 1) -> None:
    """State, table and events."""
    for wave in range(waves):
        same_state(state_of(one, wave), state_of(other, wave))
    assert table(one) == table(other)
    assert told(one) == told(other)


def flags(config: Config) -> list[str]:
    """The command line that gives `config`."""
    plain = flatten(Config())
    words = []
    for name, value in flatten(config).items():
        if value != plain[name]:
            words += [f"--{name.replace('_', '-')}", str(value)]
    return words


def environment(devices: int = 2, **more: str) -> dict[str, str]:
    """For a process of its own: compiled fast rather than well, and kept for the next."""
    flags = f"--xla_force_host_platform_device_count={devices} {quick_flags()}"
    cache = os.environ["JAX_COMPILATION_CACHE_DIR"]
    return os.environ | {
        "XLA_FLAGS": flags,
        "MGTOPO_CACHE_DIR": cache,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "envs"), *sys.path]),
        **more,
    }


def mgtopo(*words: object, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
    """Start the command."""
    return subprocess.Popen(
        [sys.executable, "-m", "purejax_mgtopo", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=env or environment(),
    )


def finished(process: subprocess.Popen[str], seconds: float = 280) -> tuple[int, str, str]:
    """Exit code, stdout and stderr; the process is gone in any case."""
    try:
        out, err = process.communicate(timeout=seconds)
    finally:
        process.kill()
        process.wait()
    return process.returncode, out, err
