"""What a GPU gives to training: `mgtopo bench --parts device`, one command for the day that one is there.

Ceilings first (products, bandwidth), then what matters most, each in a process of its own, for the numbers are fixed
once JAX runs. All is written as it comes: whoever stops it, or whatever does, keeps what was measured. Beside each
figure stands what the compiled program's text predicts (see `machine.hlo`).
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from purejax_mgtopo.analysis.drawing import AS_IT_IS, plain_legend
from purejax_mgtopo.bench.kernels import compare
from purejax_mgtopo.errors import ConfigError, RunError

KERNELS = "kernels"
"""The measurement that tells whether kernels of our own give what they should."""
MINUTES = 8.75
"""The whole measurement ends before this."""
EPISODES = 50_000
"""A complete training of the paper's."""
SHORTEST = 20.0
"""Seconds without which no further step is begun."""
TASKS = ("navigation_N3_l3", "navigation_N6_l6")


@dataclass(frozen=True)
class Trial:
    """One measurement, as a command line of this module."""

    name: str
    words: tuple[str, ...]
    needs: str = ""
    """A measurement that must not have failed before this one."""


def steps(seeds: Sequence[int], extra: Sequence[str] = ()) -> list[Trial]:
    """All measurements, the most telling first; `extra` words go to each training."""

    def training(task: str, method: str, count: int, *words: str, needs: str = "") -> Trial:
        name = " ".join((task, method, f"{count:,} seeds", *(w.strip("-") for w in words)))
        flags = ("--task", task, "--method", method, "--seeds", str(count))
        return Trial(name, ("train", *flags, *words, *extra), needs)

    small, large = TASKS
    many = 1_024 if 1_024 in seeds else max(seeds)
    found = [
        Trial("ceilings", ("ceilings",)),
        training(small, "meta", many, "--profile"),
        training(small, "meta", many, "--precision", "bfloat16", "--profile"),
        Trial(KERNELS, (KERNELS,)),
        training(
            small, "meta", many, "--precision", "bfloat16", "--kernels", "fused", needs=KERNELS
        ),
        training(large, "meta", max(many // 2, 1)),
        training(large, "meta", max(many // 2, 1), "--precision", "bfloat16"),
        training(small, "none", many),
        training(small, "meta", many, "--precision", "float32"),
        training(small, "meta", many, "--deterministic"),
        Trial("environments", ("environments", "--task", small)),
    ]
    found += [
        training(task, method, count)
        for method in ("meta", "none")
        for task in TASKS
        for count in sorted(seeds, reverse=True)
    ]
    found.append(training(small, "meta", 16 * many, "--as-fits"))
    return list({step.words: step for step in found}.values())


def measure(
    todo: Sequence[Trial],
    note: Callable[[str], None],
    write: Callable[[dict[str, Any]], None],
    minutes: float = MINUTES,
) -> dict[str, Any]:
    """Take the steps in turn while there is time; `write` is called after each with all that is known."""
    found: dict[str, Any] = {"steps": {}, "failed": {}, "left_out": []}
    began = time.monotonic()

    def left() -> float:
        return 60 * minutes - (time.monotonic() - began)

    with tempfile.TemporaryDirectory() as cache:
        for done, step in enumerate(todo):
            if left() < SHORTEST:
                late = [later.name for later in todo[done:]]
                found["left_out"] += late
                note(f"out of time: left out {', '.join(late)}")
                break
            note(f"{done + 1} of {len(todo)}: {step.name}; {left() / 60:.1f} min left at most")
            if step.needs in found["failed"]:
                found["left_out"].append(step.name)
                note(f"    left out, for {step.needs} failed")
                continue
            try:
                result = found["steps"][step.name] = _taken(step, cache, left())
                note("    " + _told(result))
            except RunError as error:
                found["failed"][step.name] = str(error)
                note(f"    failed: {error}")
            write(found)
    write(found)
    return found


def _taken(step: Trial, cache: str, seconds: float) -> dict[str, Any]:
    command = [sys.executable, "-m", __name__, *step.words]
    environment = {"JAX_COMPILATION_CACHE_DIR": cache} | os.environ
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=seconds, env=environment
        )
    except subprocess.TimeoutExpired:
        raise RunError("out of time") from None
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        last = (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1]
        raise RunError(last[:300])
    return json.loads(lines[-1])


def _told(result: dict[str, Any]) -> str:
    """A result in one line."""
    if "episodes_per_second" not in result:
        return ", ".join(f"{name} {_number(value)}" for name, value in result.items())
    return (
        f"{result['episodes_per_second']:,.0f} episodes/s, {result['milliseconds']:.1f} ms an episode of all; "
        f"predicted {result['kernels']:,.0f} kernels, {result['gbytes_per_second']:,.0f} GB/s; "
        f"{result['seeds']:,} seeds x {EPISODES:,} episodes in {result['minutes_for_all']:,.0f} min"
    )


def _number(value: Any) -> str:
    return f"{value:,.4g}" if isinstance(value, float) else str(value)


def ceilings(size: int = 8_192, megabytes: int = 2_048, seconds: float = 1.0) -> dict[str, Any]:
    """What the device does at its best: products by their precision in TFLOP/s, and copying in GB/s."""
    import jax

    from purejax_mgtopo.bench.matmul import measure as multiply
    from purejax_mgtopo.bench.scaling import bandwidth
    from purejax_mgtopo.machine.compiler import matmul_precision

    found: dict[str, Any] = {"device": jax.devices()[0].device_kind, "jax": jax.__version__}
    for precision in ("float32", "tf32", "bfloat16"):
        with matmul_precision(precision):
            found[f"tflops_{precision}"] = multiply((size,), seconds, 3)[size] / 1e3
    found["gbytes_per_second"] = bandwidth(megabytes)
    return found


def train(
    task: str,
    method: str,
    seeds: int,
    precision: str = "auto",
    kernels: str = "xla",
    deterministic: bool = False,
    as_fits: bool = False,
    profile: bool = False,
    seconds: float = 6.0,
    overrides: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Train for about `seconds` after a chunk that compiles; with what the program's text predicts.

    Args:
        as_fits: run as many seeds at a time as `mgtopo fit` says, rather than all.
        profile: tell the hottest kernels of one more chunk.
    """
    from purejax_mgtopo.bench.training import benchmark
    from purejax_mgtopo.config import Config, Means, override
    from purejax_mgtopo.machine.startup import configure_platform

    config = Config(benchmark(method, task, seeds), Means())
    means = {"precision": precision, "kernels": kernels, "deterministic": deterministic}
    config = override(config, means | (overrides or {}))
    configure_platform(config.means)
    import jax

    from purejax_mgtopo.machine.hlo import traffic
    from purejax_mgtopo.population.fit import plan
    from purejax_mgtopo.population.population import Population

    config = plan(config, check=as_fits).config
    lanes, chunk = config.means.lanes, config.experiment.chunk_episodes
    if lanes < seeds and not as_fits:
        raise RunError(f"{seeds:,} seeds do not fit; {lanes:,} do")
    began = time.perf_counter()
    population = Population(config, lanes)
    state = population.init()
    state, _ = population.advance(state)
    first = time.perf_counter() - began
    durations: list[float] = []
    while len(durations) < 2 or (sum(durations) < seconds and len(durations) < 10):
        began = time.perf_counter()
        state, _ = population.advance(state)  # waits for its report
        durations.append(time.perf_counter() - began)
    took = statistics.median(durations)
    compiled = population.compiled(population.abstract())
    read, memory = traffic(compiled.as_text()), compiled.memory_analysis()
    devices = population.mesh.size
    peak = (jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use", 0)
    found: dict[str, Any] = {
        "device": jax.devices()[0].device_kind,
        "devices": devices,
        "seeds": lanes,
        "microbatch": config.means.microbatch,
        "precision": precision,
        "compile_seconds": first - took,
        "milliseconds": 1e3 * took / chunk,
        "episodes_per_second": chunk * lanes / took,
        "seconds_per_1000_episodes": 1e3 * took / chunk,
        "minutes_for_all": EPISODES * took / chunk / 60,
        "kernels": read.kernels / chunk,
        "moved_mb": read.bytes / chunk / population.lanes_per_device / 1e6,
        "gbytes_per_second": devices * read.bytes / took / 1e9,
        "tflops": devices * read.flops / took / 1e12,
        "predicted_mb": (memory.argument_size_in_bytes + memory.temp_size_in_bytes) / 1e6,
        "peak_mb": peak / 1e6,
    }
    if profile:
        with tempfile.TemporaryDirectory() as folder:
            with jax.profiler.trace(folder, create_perfetto_trace=True):
                population.advance(state)
            found["hottest"] = hottest(Path(folder))
    return found


def hottest(folder: Path, count: int = 15) -> list[dict[str, Any]]:
    """The kernels that took longest, from a profile in `folder`: name, share of the device's time, calls."""
    spent: Counter[str] = Counter()
    calls: Counter[str] = Counter()
    traces = sorted(folder.rglob("perfetto_trace.json.gz")) or sorted(folder.rglob("*.json.gz"))
    for path in traces[:1]:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            events = json.load(file).get("traceEvents", [])
        names = [e for e in events if e.get("ph") == "M"]
        gpus = {
            e["pid"]
            for e in names
            if e.get("name") == "process_name" and "GPU" in str(e.get("args", {}).get("name", ""))
        }
        streams = {
            (e["pid"], e["tid"])
            for e in names
            if e.get("name") == "thread_name" and "Stream" in str(e.get("args", {}).get("name", ""))
        }
        for event in events:
            if event.get("ph") != "X" or event.get("pid") not in gpus:
                continue
            if streams and (event["pid"], event.get("tid")) not in streams:
                continue
            spent[event["name"]] += event.get("dur", 0)
            calls[event["name"]] += 1
    total = sum(spent.values()) or 1
    return [
        {"name": name[:120], "share": time_ / total, "calls": calls[name]}
        for name, time_ in spent.most_common(count)
    ]


def draw(found: dict[str, Any], path: Path) -> None:
    """Seeds against throughput, and what was found of predicted bandwidth, as a picture."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    rate, moved = figure.subplots(1, 2)
    curves: dict[str, list[tuple[int, float, float]]] = {}
    for name, result in found["steps"].items():
        words = name.split()
        if "episodes_per_second" in result and len(words) == 4:
            point = (
                result["seeds"],
                result["episodes_per_second"],
                result["gbytes_per_second"],
            )
            curves.setdefault(" ".join(words[:2]), []).append(point)
    for label, points in curves.items():
        seeds, rates, traffic = zip(*sorted(points), strict=True)
        rate.plot(seeds, rates, "o-", label=label)
        moved.plot(seeds, traffic, "o-", label=label)
    ceiling = found["steps"].get("ceilings", {})
    if "gbytes_per_second" in ceiling:
        moved.axhline(ceiling["gbytes_per_second"], color="0.5", ls="--", label="a copy")
    rate.set_ylabel("training episodes/s, all seeds")
    moved.set_ylabel("GB/s, by the program's text")
    for axes in (rate, moved):
        axes.set_xlabel("seeds at a time")
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        if curves:
            axes.set_xscale("log", base=2)
            axes.set_yscale("log")
            plain_legend(axes.legend(fontsize=8, frameon=False))
    figure.suptitle(str(ceiling.get("device", "")), **AS_IT_IS)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def main(words: Sequence[str] | None = None) -> None:
    """Take one step in this process and print one line of JSON."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("kind", choices=("ceilings", "train", "environments", "kernels"))
    parser.add_argument("--task", default=TASKS[0])
    parser.add_argument("--method", default="meta")
    parser.add_argument("--seeds", type=int, default=16)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--kernels", default="xla")
    for flag in ("--deterministic", "--as-fits", "--profile"):
        parser.add_argument(flag, action="store_true")
    parser.add_argument("--seconds", type=float, default=6.0)
    flags = parser.parse_args(words)
    try:
        if flags.kind == "train":
            result = train(**{k: v for k, v in vars(flags).items() if k != "kind"})
        elif flags.kind == "environments":
            from purejax_mgtopo.bench.environments import side_by_side

            result = side_by_side(flags.task)
        else:
            result = ceilings() if flags.kind == "ceilings" else compare()
    except (ConfigError, RunError) as error:
        raise SystemExit(str(error)) from None
    print(json.dumps(result))


if __name__ == "__main__":
    main()
