"""Measurements of speed: `mgtopo bench`.

Every figure comes from a process of its own, because the number of JAX's host devices is fixed once
it runs. Sides of a ratio are measured in turns, so that other load on the machine hits both; each
figure is a median over the turns. Nothing heavy is imported before the arguments are parsed.
"""

from __future__ import annotations

import importlib.util
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from tyro.conf import arg

from purejax_mgtopo.bench import tables
from purejax_mgtopo.bench.host import describe, keep, machine, make_ready
from purejax_mgtopo.bench.pace import MEASUREMENTS, Pace
from purejax_mgtopo.machine.startup import cores
from purejax_mgtopo.settings import check_numbers

if TYPE_CHECKING:
    from rich.table import Table

BenchPart = Literal["environments", "training", "matmul", "compile", "scaling", "presets", "device"]
PARTS: tuple[BenchPart, ...] = get_args(BenchPart)[:-2]
META_TASKS = ("navigation_N3_l3", "navigation_N6_l6")
DEVICE_SEEDS = (16, 64, 256, 1_024, 4_096)
INSTALL = "pip install 'purejax_mgtopo[bench]'"

Note = Callable[[str], None]
Keep = Callable[[Any], None]


def _nothing(found: Any) -> None:
    """Keep no unfinished result."""


@dataclass(frozen=True)
class BenchSettings:
    """Measure this machine: environment steps/s, training episodes/s, compile times."""

    parts: tuple[BenchPart, ...] = PARTS
    """What to measure: environments (and JaxMARL), training (and PyTorch), matmul rate, compile times, scaling;
    presets: speed, memory and start of each beside `none` (give it --seconds 40); and device, which is for a GPU, tells
    in under nine minutes all that it gives to training, and writes as it goes."""
    seconds: float = 5.0
    """Seconds that one measurement lasts, about, without its start; a part ends after sixty times as long, with what it
    has by then."""
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
    """File for a picture of the part `scaling`, or of `device` (PNG)."""

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
    """Measure and print. Raises ConfigError under modes of JAX that forbid it, RunError for files that cannot be."""
    from rich.console import Console

    make_ready(settings.json, settings.figure)
    console = Console(markup=False, emoji=False)
    results: dict[str, Any] = {"machine": machine(), "settings": asdict(settings)}
    console.print(describe(results["machine"]))
    for part in settings.parts:
        measure, drawn = _PARTS[part]
        console.print(f"{part} ...")
        results[part] = {}
        keep_so_far = partial(keep, settings.json, results, part)
        results[part] = measure(settings, console.print, keep_so_far)
        for table in drawn(results[part]):
            console.print(table)
        keep(settings.json, results, part, results[part])


def measure_environments(settings: BenchSettings, note: Note, keep: Keep = _nothing) -> list[dict]:
    """Steps per second against JaxMARL's, in equal work."""
    if importlib.util.find_spec("jaxmarl") is None:
        note(f"JaxMARL is missing, so ours stands alone; {INSTALL}")
    call = f"seconds={settings.seconds / 5}, repeats={settings.turns}"
    code = (
        "import dataclasses, json, sys; from purejax_mgtopo.bench import environments\n"
        "print(json.dumps({'tasks': environments.TASKS}), flush=True)\n"
        "for line in sys.stdin:\n task, count = line.split()\n"
        f" [row] = environments.measure([int(count)], [task], {call})\n"
        " print(json.dumps(dataclasses.asdict(row)), flush=True)"
    )
    process = _start("-c", code)
    told, heard = process.stdin, process.stdout
    assert told is not None and heard is not None

    def answer() -> Any:
        line = next((line for line in heard if line.startswith("{")), None)  # JaxMARL greets
        return None if line is None else json.loads(line)

    rows: list[dict] = []
    tasks = (answer() or {"tasks": ()})["tasks"]
    # Every task's usual numbers before any other: what is left out for want of time tells least.
    counts = ((64, 1_024), (1, 8_192))
    wanted = [(task, count) for group in counts for task in tasks for count in group]
    pace = Pace(note, MEASUREMENTS * settings.seconds)
    for task, count in pace.over(wanted, lambda pair: f"{pair[0]} x {pair[1]:,}"):
        with suppress(BrokenPipeError):  # its last words are read below
            print(task, count, file=told, flush=True)
        if (row := answer()) is None:
            break
        rows.append(row)
        note(f"    {row['ours']:,.0f} steps/s")
        keep(rows)
    _finish(process)
    return rows


def measure_training(settings: BenchSettings, note: Note, keep: Keep = _nothing) -> dict[str, Any]:
    """Episodes per second of `none` and of the same learner in PyTorch, a process for each core."""
    styles = ["plain", "tuned"]
    if importlib.util.find_spec("torch") is None:
        note(f"PyTorch is missing, so ours stands alone; {INSTALL}")
        styles = []
    elif not settings.task.startswith("navigation_"):
        note(f"PyTorch's side has no {settings.task}, so ours stands alone")
        styles = []
    turns: list[dict[str, float]] = []
    pace = Pace(note, MEASUREMENTS * settings.seconds)
    with tempfile.TemporaryDirectory() as cache:
        for _ in pace.over(range(1, settings.turns + 1), _turn):
            turn = {"ours": _train(settings, "none", settings.task, cache)["episodes_per_second"]}
            for style in styles:
                turn[style] = _train_in_torch(settings, style, cores())
            turns.append(turn)
            keep({"task": settings.task, "turns": turns})
    return {
        "task": settings.task,
        "processes": cores(),
        "turns": turns,
        "episodes_per_second": {name: _median(turns, name) for name in turns[0]},
        "ratio": {s: statistics.median(turn["ours"] / turn[s] for turn in turns) for s in styles},
    }


def measure_matmul(settings: BenchSettings, note: Note, keep: Keep = _nothing) -> dict[str, Any]:
    """`meta` at the reference cost of an episode, against float32 matmul."""
    from purejax_mgtopo.bench.training import reference_rate

    turns: list[dict[str, float]] = []
    pace = Pace(note, MEASUREMENTS * settings.seconds)
    with tempfile.TemporaryDirectory() as cache:
        for _ in pace.over(range(1, settings.turns + 1), _turn):
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
            keep({"turns": turns})
    medians = {name: _median(turns, name) for name in turns[0]}
    rates = {name: rate for name, rate in medians.items() if " on " in name}
    return {
        "turns": turns,
        "gflop_per_second": rates,
        "best": max(rates.values()),
        "episodes_per_second": {task: medians[task] for task in META_TASKS},
        "share": {task: medians[f"share {task}"] for task in META_TASKS},
    }


def measure_compile(settings: BenchSettings, note: Note, keep: Keep = _nothing) -> dict[str, Any]:
    """Seconds until the first chunk, with and without compiled programs on disk."""
    found: dict[str, Any] = {"task": settings.task}
    for method in Pace(note, math.inf).over(("none", "meta")):  # each is the other's measure
        with tempfile.TemporaryDirectory() as cache:
            cold, warm = (_train(settings, method, settings.task, cache, 0) for _ in range(2))
        found[method] = {"cold": cold["compile_seconds"], "warm": warm["compile_seconds"]}
        keep(found)
    return found


def measure_scaling(settings: BenchSettings, note: Note, keep: Keep = _nothing) -> dict[str, Any]:
    """Seeds against throughput and memory of `meta`, and the same seeds on more and more devices."""
    from purejax_mgtopo.bench.scaling import draw
    from purejax_mgtopo.bench.training import reference_rate

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
        pace = Pace(note, MEASUREMENTS * settings.seconds)
        for seeds in pace.over(settings.scaling_seeds, lambda count: f"{count:,} seeds"):
            measured = point(cache, seeds)
            if "does_not_fit" in measured:
                note(measured["does_not_fit"])
                break
            found["seeds"].append(measured)
            note(f"    {measured['episodes_per_second']:,.0f} episodes/s")
            keep(found)
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


def measure_presets(settings: BenchSettings, note: Note, keep: Keep = _nothing) -> list[dict]:
    """Every preset beside `none`, at three agents and at six."""
    from purejax_mgtopo.bench import presets

    def point(task: str, method: str, cache: str) -> dict[str, Any]:
        words = ("--task", task, "--method", method, "--seeds", str(settings.seeds or cores()))
        return _result(_start_module("scaling", *words, JAX_COMPILATION_CACHE_DIR=cache))

    return presets.measure(META_TASKS, point, Pace(note, MEASUREMENTS * settings.seconds), keep)


def measure_device(settings: BenchSettings, note: Note, keep: Keep = _nothing) -> dict[str, Any]:
    """All that a GPU gives to training, with what its program's text predicts."""
    from purejax_mgtopo.bench import device

    def write(found: dict[str, Any]) -> None:
        keep(found)
        if settings.figure is not None:
            device.draw(found, settings.figure)

    return device.measure(device.steps(DEVICE_SEEDS), note, write)


_PARTS: dict[str, tuple[Callable[..., Any], Callable[..., list[Table]]]] = {
    "environments": (measure_environments, tables.environment_tables),
    "training": (measure_training, tables.training_tables),
    "matmul": (measure_matmul, tables.matmul_tables),
    "compile": (measure_compile, tables.compile_tables),
    "scaling": (measure_scaling, tables.scaling_tables),
    "presets": (measure_presets, tables.preset_tables),
    "device": (measure_device, tables.device_tables),
}


def _train(
    settings: BenchSettings, method: str, task: str, cache: str, seconds: float | None = None
) -> dict[str, Any]:
    seconds = settings.seconds if seconds is None else seconds
    flags = ("--method", method, "--task", task, "--seconds", str(seconds))
    seeds = ("--seeds", str(settings.seeds or cores()))
    return _result(_start_module("training", *flags, *seeds, JAX_COMPILATION_CACHE_DIR=cache))


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
        command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=os.environ | environment
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


def _turn(number: int) -> str:
    return f"turn {number}"


def _median(turns: list[dict[str, float]], name: str) -> float:
    return statistics.median(turn[name] for turn in turns)
