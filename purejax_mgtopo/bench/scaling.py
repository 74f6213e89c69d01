"""Seeds against throughput, and devices against throughput: what this machine gives to many seeds.

Shares are of what the same machine does at its best, measured beside it: float32 matmul for arithmetic (see
`matmul`), a copy of a large array for memory. *Useful* arithmetic is the fixed reference cost of an episode (see
`training`); useful traffic is reading and writing everything that an update changes, once.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from purejax_mgtopo.analysis.drawing import AS_IT_IS

FEW = 16
"""Up to so many seeds, chunks are as long as in any run; beyond, as much shorter as seeds are more, to end today on a
CPU."""


@dataclass(frozen=True)
class Point:
    """One measurement of training: throughput and memory at a number of seeds."""

    seeds: int
    devices: int
    microbatch: int
    """0: all seeds of a device together, or each in turn."""
    episodes_per_second: float
    per_lane: float
    """Episodes per second of one seed."""
    compile_seconds: float
    bytes_per_lane: float
    """The program's state and temporaries, divided by the seeds."""
    state_bytes: float
    """What one seed keeps between chunks."""
    useful_gbytes: float
    """Useful traffic in GB/s, as described above."""


def measure(task: str, method: str, seeds: int, devices: int, chunks: int = 3) -> Point:
    """Train for a chunk that is not counted, then for `chunks` that are. Raises ConfigError where it does not fit."""
    import dataclasses

    from purejax_mgtopo.bench.training import benchmark
    from purejax_mgtopo.config import Config, Means
    from purejax_mgtopo.machine.startup import configure_platform

    experiment = benchmark(method, task, seeds)
    if seeds > FEW:
        iteration = experiment.updates_per_iteration
        iterations = max(1, FEW * experiment.chunk_episodes // (seeds * iteration))
        experiment = dataclasses.replace(experiment, chunk_episodes=iterations * iteration)
    config = Config(experiment, Means(devices=devices))
    configure_platform(config.means)
    from purejax_mgtopo.population.fit import lane_bytes, plan
    from purejax_mgtopo.population.population import Population

    fit = plan(config)
    if fit.waves > 1:
        raise MemoryError(f"{seeds} seeds do not fit; {fit.config.means.lanes} do")
    began = time.perf_counter()
    population = Population(fit.config, seeds)
    state = population.init()
    state, _ = population.advance(state)
    first = time.perf_counter() - began
    durations = []
    for _ in range(chunks):
        began = time.perf_counter()
        state, report = population.advance(state)  # waits for its report
        durations.append(time.perf_counter() - began)
    if not report.finite.all():
        raise FloatingPointError(f"{method} on {task} left the finite numbers")
    # Compiled once more only where no cache of compiled programs is set.
    memory = population.compiled(population.abstract()).memory_analysis()
    used = memory.argument_size_in_bytes + memory.temp_size_in_bytes
    rate = experiment.chunk_episodes * seeds / statistics.median(durations)
    lane = lane_bytes(config)
    return Point(
        seeds=seeds,
        devices=population.mesh.size,
        microbatch=fit.config.means.microbatch,
        episodes_per_second=rate,
        per_lane=rate / seeds,
        compile_seconds=first - statistics.median(durations),
        bytes_per_lane=used / population.lanes_per_device,
        state_bytes=lane.total,
        useful_gbytes=2 * (lane.parameters + lane.optimizers) * rate / 1e9,
    )


def bandwidth(megabytes: int = 256, repeats: int = 5) -> float:
    """GB/s at which all devices together read and write arrays far larger than their caches."""
    import jax
    import jax.numpy as jnp
    from jax.sharding import NamedSharding, PartitionSpec

    devices = jax.devices()
    mesh = jax.make_mesh((len(devices),), ("device",))
    spec = PartitionSpec("device")
    count = megabytes * 1_000_000 // 4
    add = jax.jit(
        jax.shard_map(lambda x: x + 1, mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False)
    )
    x = jax.device_put(jnp.zeros((len(devices), count)), NamedSharding(mesh, spec))
    x = jax.block_until_ready(add(x))
    rates = []
    for _ in range(repeats):
        began = time.perf_counter()
        jax.block_until_ready(add(x))
        rates.append(2 * x.nbytes / (time.perf_counter() - began))
    return max(rates) / 1e9


def draw(found: dict[str, Any], path: Path) -> None:
    """The throughput curve of a result of `bench.measure_scaling`, with its ceilings, as a picture."""
    from matplotlib.figure import Figure

    points = found["seeds"]
    seeds = [point["seeds"] for point in points]
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    rate, share, memory = figure.subplots(1, 3)
    rates = [point["episodes_per_second"] for point in points]
    rate.plot(seeds, rates, "o-", color="#0072B2")
    rate.set_ylabel("training episodes/s, all seeds")
    if rates and max(rates) > 10 * min(rates):
        rate.set_yscale("log")
    else:
        rate.set_ylim(bottom=0)
    if points and not math.isnan(found["share"][0]):
        share.plot(seeds, [100 * value for value in found["share"]], "o-", color="#D55E00")
    share.set_ylabel("useful arithmetic, % of float32 matmul")
    share.set_ylim(0, 100)
    memory.plot(seeds, [point["bytes_per_lane"] / 1e6 for point in points], "o-", color="#009E73")
    memory.set_ylabel("memory per seed, MB")
    memory.set_ylim(bottom=0)
    for axes in (rate, share, memory):
        axes.set_xscale("log", base=2)
        axes.set_xticks(seeds, [f"{n:,}" for n in seeds])
        axes.set_xlabel("seeds at a time")
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(f"{found['method']} on {found['task']}, {found['where']}", **AS_IT_IS)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def main() -> None:
    """Measure one point, or the bandwidth, in this process and print one line of JSON."""
    import jax

    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--task", default="navigation_N3_l3")
    parser.add_argument("--method", default="meta")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--devices", type=int, default=0)
    parser.add_argument("--bandwidth", action="store_true")
    flags = parser.parse_args()
    if flags.bandwidth:
        from purejax_mgtopo.config import Means
        from purejax_mgtopo.machine.startup import configure_platform

        configure_platform(Means())
        kind = jax.devices()[0].device_kind
        print(json.dumps({"gbytes_per_second": bandwidth(), "kind": kind}))
        return
    try:
        point = measure(flags.task, flags.method, flags.seeds, flags.devices)
    except MemoryError as error:
        print(json.dumps({"does_not_fit": str(error)}))
        return
    print(json.dumps(asdict(point)))


if __name__ == "__main__":
    main()
