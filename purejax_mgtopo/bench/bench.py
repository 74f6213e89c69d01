"""Measurements of speed: `mgtopo bench`.

Every figure comes from a process of its own, because the number of JAX's host devices is fixed once
it runs. Sides of a ratio are measured in turns, so that other load on the machine hits both; each
figure is a median over the turns. Nothing heavy is imported before the arguments are parsed.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from tyro.conf import arg

from purejax_mgtopo.bench.tables import (
    compile_tables,
    environment_tables,
    matmul_tables,
    scaling_tables,
    training_tables,
)
from purejax_mgtopo.settings import check_numbers

if TYPE_CHECKING:
    from rich.table import Table

BenchPart = Literal["environments", "training", "matmul", "compile", "scaling"]
PARTS: tuple[BenchPart, ...] = get_args(BenchPart)
META_TASKS = ("navigation_N3_l3", "navigation_N6_l6")
INSTALL = "pip install 'purejax_mgtopo[bench]'"


@dataclass(frozen=True)
class BenchSettings:
    """Measure this machine: environment steps/s, training episodes/s, compile times."""

    parts: tuple[BenchPart, ...] = PARTS
    """What to measure: environments (and JaxMARL), training (and PyTorch), matmul rate, compile times, scaling."""
    seconds: float = 5.0
    """Seconds that one measurement lasts, about, without its start."""
    turns: int = 3
    """How often each measurement is repeated; the median counts."""
    task: str = "navigation_N3_l3"
    """The task that is trained in the parts `training` and `compile`."""
    seeds: int = 0
    """Seeds that our side trains at once; 0 takes one for each core."""
    scaling_seeds: tuple[int, ...] = (1, 4, 16, 64, 256, 1_024, 4_096)
    """Numbers of seeds in the part `scaling`, as far as they fit."""
    json: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="(default: none)")] = None
    """File to write all numbers to, as JSON."""
    figure: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="(default: none)")] = None
    """File for a picture of the part `scaling` (PNG)."""

    def __post_init__(self) -> None:
        check_numbers(self)


def main(settings: BenchSettings | Sequence[str] = ()) -> None:
    """Measure and print; `settings` may also be the words of a command line."""
    run(settings if isinstance(settings, BenchSettings) else parse(settings))


def parse(words: Sequence[str]) -> BenchSettings:
    """Settings from the words of a command line."""
    import tyro

    return tyro.cli(BenchSettings, prog="mgtopo bench", args=list(words))


def run(settings: BenchSettings) -> None:
    """Measure and print."""
    from rich.console import Console

    console = Console(markup=False, emoji=False)
    results: dict[str, Any] = {"machine": machine(), "settings": asdict(settings)}
    console.print(describe(results["machine"]))
    for part in settings.parts:
        measure, tables = _PARTS[part]
        results[part] = measure(settings, console.print)
        for table in tables(results[part]):
            console.print(table)
        if settings.json is not None:  # now, so that nothing is lost should the next part fail
            settings.json.write_text(json.dumps(results, indent=2, default=str) + "\n")


def machine() -> dict[str, Any]:
    """What the figures were measured on, and how busy it was before."""
    from purejax_mgtopo.machine.startup import cores

    model = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        lines = information.read_text().splitlines()
        names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
        model = next(names, model)
    versions = {}
    for package in ("jax", "jaxlib", "torch", "jaxmarl"):
        if importlib.util.find_spec(package) is not None:
            versions[package] = importlib.metadata.version(package)
    return {"cpu": model, "cores": cores(), "load": os.getloadavg()[0], "versions": versions}


def describe(found: dict[str, Any]) -> str:
    """The machine in one line."""
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    line = f"{found['cpu']}, {found['cores']} cores, {versions}; load before: {found['load']:.1f}"
    if found["load"] > 0.5:
        line += " (other programs run: absolute figures will be too low)"
    return line


def measure_environments(settings: BenchSettings, note: Callable[[str], None]) -> list[dict]:
    """Steps per second against JaxMARL's, in equal work."""
    if importlib.util.find_spec("jaxmarl") is None:
        note(f"JaxMARL is missing, so ours stands alone; {INSTALL}")
    call = f"measure(tasks=[task], seconds={settings.seconds / 5}, repeats={settings.turns})"
    code = (
        "import dataclasses, json; from purejax_mgtopo.bench import environments\n"
        f"for task in environments.TASKS:\n for row in environments.{call}:\n"
        "  print(json.dumps(dataclasses.asdict(row)), flush=True)"
    )
    process, rows = _start("-c", code), []
    for line in process.stdout or ():
        if line.startswith("{"):  # JaxMARL greets when it is imported
            row = json.loads(line)
            note(f"{row['task']}, {row['num_envs']:,} at a time: {row['ours']:,.0f} steps/s")
            rows.append(row)
    _finish(process)
    return rows


def measure_training(settings: BenchSettings, note: Callable[[str], None]) -> dict[str, Any]:
    """Episodes per second of `none` and of the same learner in PyTorch, a process for each core."""
    from purejax_mgtopo.machine.startup import cores

    styles = ["plain", "tuned"]
    if importlib.util.find_spec("torch") is None:
        note(f"PyTorch is missing, so ours stands alone; {INSTALL}")
        styles = []
    elif not settings.task.startswith("navigation_"):
        note(f"PyTorch's side has no {settings.task}, so ours stands alone")
        styles = []
    turns = []
    with tempfile.TemporaryDirectory() as cache:
        for _ in range(settings.turns):
            turn = {"ours": _train(settings, "none", settings.task, cache)["episodes_per_second"]}
            for style in styles:
                turn[style] = _train_in_torch(settings, style, cores())
            turns.append(turn)
    return {
        "task": settings.task,
        "processes": cores(),
        "turns": turns,
        "episodes_per_second": {name: _median(turns, name) for name in turns[0]},
        "ratio": {s: statistics.median(turn["ours"] / turn[s] for turn in turns) for s in styles},
    }


def measure_matmul(settings: BenchSettings, note: Callable[[str], None]) -> dict[str, Any]:
    """`meta` at the reference cost of an episode, against float32 matmul."""
    from purejax_mgtopo.bench.training import reference_rate
    from purejax_mgtopo.machine.startup import cores

    del note
    turns = []
    with tempfile.TemporaryDirectory() as cache:
        for _ in range(settings.turns):
            turn = {}
            for devices in sorted({1, cores()}):
                flags = ("--devices", str(devices), "--seconds", str(settings.seconds / 3))
                result = _result(_start_module("matmul", *flags))
                for size, rate in result["gflop_per_second"].items():
                    turn[f"{size} on {result['devices']}"] = rate
            best = max(turn.values())
            for task in META_TASKS:
                rate = _train(settings, "meta", task, cache)["episodes_per_second"]
                turn[task] = rate
                turn[f"share {task}"] = reference_rate(task, rate) / best
            turns.append(turn)
    medians = {name: _median(turns, name) for name in turns[0]}
    rates = {name: rate for name, rate in medians.items() if " on " in name}
    return {
        "turns": turns,
        "gflop_per_second": rates,
        "best": max(rates.values()),
        "episodes_per_second": {task: medians[task] for task in META_TASKS},
        "share": {task: medians[f"share {task}"] for task in META_TASKS},
    }


def measure_compile(settings: BenchSettings, note: Callable[[str], None]) -> dict[str, Any]:
    """Seconds until the first chunk, with and without compiled programs on disk."""
    del note
    found: dict[str, Any] = {"task": settings.task}
    for method in ("none", "meta"):
        with tempfile.TemporaryDirectory() as cache:
            cold, warm = (_train(settings, method, settings.task, cache, 0) for _ in range(2))
        found[method] = {"cold": cold["compile_seconds"], "warm": warm["compile_seconds"]}
    return found


def measure_scaling(settings: BenchSettings, note: Callable[[str], None]) -> dict[str, Any]:
    """Seeds against throughput and memory of `meta`, and the same seeds on more and more devices."""
    from purejax_mgtopo.bench.scaling import draw
    from purejax_mgtopo.bench.training import reference_rate
    from purejax_mgtopo.machine.startup import cores

    def point(cache: str, seeds: int, devices: int = 0) -> dict[str, Any]:
        flags = ("--task", settings.task, "--seeds", str(seeds), "--devices", str(devices))
        return _result(_start_module("scaling", *flags, JAX_COMPILATION_CACHE_DIR=cache))

    memory = _result(_start_module("scaling", "--bandwidth"))
    rates = []
    for devices in sorted({1, cores()}):
        flags = ("--devices", str(devices), "--seconds", str(settings.seconds / 3))
        rates += _result(_start_module("matmul", *flags))["gflop_per_second"].values()
    found: dict[str, Any] = {
        "task": settings.task,
        "method": "meta",
        "where": memory["kind"],
        "gflop_per_second": max(rates),
        "gbytes_per_second": memory["gbytes_per_second"],
        "seeds": [],
        "share": [],
        "devices": [],
    }
    with tempfile.TemporaryDirectory() as cache:
        for seeds in settings.scaling_seeds:
            measured = point(cache, seeds)
            if "does_not_fit" in measured:
                note(measured["does_not_fit"])
                break
            found["seeds"].append(measured)
            note(f"{seeds:,} seeds: {measured['episodes_per_second']:,.0f} episodes/s")
            try:
                useful = reference_rate(settings.task, measured["episodes_per_second"])
                found["share"].append(useful / found["gflop_per_second"])
            except ValueError:
                found["share"].append(math.nan)
        count = found["seeds"][0]["devices"] if found["seeds"] else 0
        most = max((measured["devices"] for measured in found["seeds"]), default=0)
        if most > count:
            halves = [2**power for power in range(most.bit_length()) if 2**power <= most]
            found["devices"] = [point(cache, 2 * most, n) for n in sorted({*halves, most})]
    if settings.figure is not None:
        draw(found, settings.figure)
    return found


_PARTS: dict[str, tuple[Callable[..., Any], Callable[..., list[Table]]]] = {
    "environments": (measure_environments, environment_tables),
    "training": (measure_training, training_tables),
    "matmul": (measure_matmul, matmul_tables),
    "compile": (measure_compile, compile_tables),
    "scaling": (measure_scaling, scaling_tables),
}


def _train(
    settings: BenchSettings, method: str, task: str, cache: str, seconds: float | None = None
) -> dict[str, Any]:
    from purejax_mgtopo.machine.startup import cores

    seconds = settings.seconds if seconds is None else seconds
    flags = ("--method", method, "--task", task, "--seconds", str(seconds))
    seeds = ("--seeds", str(settings.seeds or cores()))
    process = _start_module("training", *flags, *seeds, JAX_COMPILATION_CACHE_DIR=cache)
    return _result(process)


def _train_in_torch(settings: BenchSettings, style: str, processes: int) -> float:
    flags = ("--task", settings.task, "--style", style, "--seconds", str(settings.seconds))
    running = [
        _start_module("torch_maddpg", *flags, "--seed", str(seed), OMP_NUM_THREADS="1")
        for seed in range(processes)
    ]
    return sum(_result(process)["episodes_per_second"] for process in running)


def _start_module(name: str, *words: str, **environment: str) -> subprocess.Popen[str]:
    """One of this folder's modules, as a program of its own."""
    return _start("-m", f"{__package__}.{name}", *words, **environment)


def _start(*words: str, **environment: str) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    command = [sys.executable, *words]
    return subprocess.Popen(
        command, stdout=pipe, stderr=pipe, text=True, env=os.environ | environment
    )


def _result(process: subprocess.Popen[str]) -> Any:
    """What the process printed last, as JSON. Raises RuntimeError where it failed."""
    return json.loads(_finish(process).strip().splitlines()[-1])


def _finish(process: subprocess.Popen[str]) -> str:
    """What is left of its output. Raises RuntimeError where it failed."""
    output, errors = process.communicate()
    if process.returncode:
        last = (errors.strip() or f"exit code {process.returncode}").splitlines()[-1]
        raise RuntimeError(f"a measurement failed: {last}")
    return output


def _median(turns: list[dict[str, float]], name: str) -> float:
    return statistics.median(turn[name] for turn in turns)
