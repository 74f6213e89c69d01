"""How many seeds fit: bytes per lane from compiled programs of two sizes, solved, and checked by compiling.

A *lane* is a seed inside the program; more seeds than lanes run in waves. On an accelerator, where lanes advance
together, activations may be what limits; then micro-batches of lanes share them (see `population`).
"""

from __future__ import annotations

import math
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from purejax_mgtopo.config import Config
from purejax_mgtopo.errors import ConfigError
from purejax_mgtopo.machine import processes
from purejax_mgtopo.population.lanes import devices_for, seed_axis
from purejax_mgtopo.population.population import Population
from purejax_mgtopo.population.waves import even_lanes

MARGIN = 0.9
"""Share of the memory to plan with: other programs, fragmentation and the evaluation of reports need some."""
SMALLEST_MICROBATCH = 64
"""Fewer lanes at a time leave a large GPU idle."""
_OPTIMIZER = ("optimizer", "nu")


@dataclass(frozen=True)
class LaneBytes:
    """What one seed keeps between chunks, in bytes."""

    parameters: int
    """Bytes of networks and their targets."""
    optimizers: int
    replay: int
    rest: int
    """Bytes of the current trajectory, random keys and sums of metrics."""
    memories: int = 0
    """Bytes of what topology rule and message interpreter remember besides their parameters."""

    @property
    def total(self) -> int:
        """All bytes of a seed."""
        return self.parameters + self.optimizers + self.replay + self.rest + self.memories


@dataclass(frozen=True)
class ProgramBytes:
    """What compiled programs need on one device, in bytes."""

    state: int
    temporary: int

    @property
    def total(self) -> int:
        """All bytes of the program."""
        return self.state + self.temporary


@dataclass(frozen=True)
class Fit:
    """A plan for the seeds of a configuration, and what it rests on."""

    config: Config
    """The configuration with the means `lanes` and `microbatch` settled."""
    devices: int
    memory: int
    """Bytes of one device that the plan may use."""
    lane: LaneBytes
    activations: float
    """Temporary bytes that one more lane, of those that advance together, needs."""
    predicted: int
    """Bytes expected on one device."""
    compiled: ProgramBytes | None
    """The check: what the program with these lanes needs; None where nothing was near the limit."""

    @property
    def waves(self) -> int:
        """Number of waves in which all seeds are done."""
        return -(-self.config.experiment.seeds // self.config.means.lanes)


def lane_bytes(config: Config) -> LaneBytes:
    """What one seed keeps, exactly, from shapes; nothing is computed or compiled."""
    one = Population(_of_seeds(config, 1), 1, jax.local_devices()[:1])
    lanes = one.abstract().lanes
    remembered = one.algorithm.parts.remembered(lanes.seed.parts)
    memories = {id(leaf) for leaf in jax.tree.leaves(remembered)}  # the very leaves of the state
    sizes = dict.fromkeys(("parameters", "optimizers", "replay", "rest", "memories"), 0)
    for path, leaf in jax.tree_util.tree_leaves_with_path(lanes):
        parts = jax.tree_util.keystr(path, simple=True, separator=".").split(".")
        group = "rest"
        if parts[0] == "seed" and parts[1] == "replay":
            group = "replay"
        elif id(leaf) in memories:
            group = "memories"
        elif parts[0] == "seed" and parts[1] in ("learner", "parts", "target"):
            optimizer = any(part.endswith(_OPTIMIZER) for part in parts)
            group = "optimizers" if optimizer else "parameters"
        words = jax.eval_shape(jax.random.key_data, leaf) if _is_key(leaf) else leaf
        sizes[group] += int(np.prod(words.shape)) * words.dtype.itemsize
    return LaneBytes(**sizes)


def program_bytes(config: Config, lanes: int) -> ProgramBytes:
    """What the chunk's program, or the evaluation's, needs with so many lanes on one device, by compiling them."""
    population = Population(_of_seeds(config, lanes), lanes, jax.local_devices()[:1])
    state = population.abstract()
    chunk = population.compiled(state).memory_analysis()
    evaluation = population.compiled_evaluation(state).memory_analysis()
    if chunk is None or evaluation is None:
        raise ConfigError("this backend does not tell how much memory a program needs; set lanes")
    kept = chunk.argument_size_in_bytes + chunk.output_size_in_bytes - chunk.alias_size_in_bytes
    temporary = max(chunk.temp_size_in_bytes, evaluation.temp_size_in_bytes)
    return ProgramBytes(state=int(kept), temporary=int(temporary))


def device_memory() -> int:
    """Bytes of one device: what an accelerator's allocator may use, or a host device's share of free memory."""
    device = jax.local_devices()[0]
    stats = device.memory_stats() or {}
    if "bytes_limit" in stats:
        return int(stats["bytes_limit"])
    return available_memory() // jax.local_device_count()


def available_memory() -> int:
    """Bytes that this machine can give without swapping, or all it has where it does not say."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def plan(config: Config, memory: int | None = None, check: bool = False) -> Fit:
    """Lanes and micro-batches for the seeds of `config`; settings that are given are kept.

    Where all seeds together need a small part of the memory, nothing is compiled unless `check` asks for it.

    Args:
        memory: bytes of one device; by default what this machine has.

    Raises ConfigError when not even one seed fits.
    """
    memory = int(MARGIN * (device_memory() if memory is None else memory))
    memory = int(processes.gather([memory]).min())  # all processes come to the same plan
    lane = lane_bytes(config)
    means, seeds = config.means, config.experiment.seeds
    devices = len(devices_for(means, min(means.lanes or seeds, seeds)))
    wanted = -(-(means.lanes or seeds) // devices)
    together = seed_axis(means) == "vmap"
    # Activations have never been measured above ten times the state of a lane at the paper's sizes.
    generous = lane.total * (wanted + 10 * (wanted if together else 1))
    if not check and (generous <= memory // 4 or means.lanes):
        settled = _with_lanes(config, min(means.lanes or seeds, seeds), means.microbatch)
        return Fit(settled, devices, memory, lane, math.nan, generous, None)
    small, large = (1, 2) if together else (2, 4)
    at_small, at_large = (program_bytes(config, n) for n in (small, large))
    state = (at_large.state - at_small.state) / (large - small)
    activations = max((at_large.temporary - at_small.temporary) / (large - small), 0.0)
    fixed = at_small.total - small * (state + activations)
    lanes, batch = _solve(wanted, memory - fixed, state, activations, together, means.microbatch)
    while True:
        if lanes < 1:
            raise ConfigError(
                f"one seed needs {at_small.total / 1e6:,.0f} MB and a device has {memory / 1e6:,.0f} MB to give; "
                "lower learner.replay_transitions or learner.hidden"
            )
        total = even_lanes(means.lanes or seeds, lanes * devices)
        settled = _with_lanes(config, total, batch if batch < lanes else 0)
        per_device = -(-total // devices)
        compiled = program_bytes(settled, per_device)
        if compiled.total <= memory:
            break
        lanes = min(per_device - 1, int(per_device * memory / compiled.total))
    predicted = _predicted(
        per_device, settled.means.microbatch, fixed, state, activations, together
    )
    return Fit(settled, devices, memory, lane, activations, int(predicted), compiled)


def burst(fit: Fit, chunks: int = 3, profile: Path | None = None) -> float:
    """Training episodes per second of all devices in steady state, measured now; the first chunk compiles.

    In turn, lanes cost the same however many there are, so that one a device is enough.

    Args:
        profile: a folder for a profile of one more chunk, as TensorBoard and Perfetto read it.
    """
    means = fit.config.means
    lanes = means.lanes if seed_axis(means) == "vmap" else min(means.lanes, fit.devices)
    population = Population(_of_seeds(fit.config, lanes), lanes)
    state, _ = population.advance(population.init())
    began = time.perf_counter()
    for _ in range(chunks):
        state, _ = population.advance(state)  # waits for its report
    seconds = time.perf_counter() - began
    if profile is not None:
        with jax.profiler.trace(str(profile)):
            population.advance(state)
    return chunks * fit.config.experiment.chunk_episodes * lanes / seconds


def _solve(
    wanted: int, memory: float, state: float, activations: float, together: bool, batch: int
) -> tuple[int, int]:
    """Lanes of a device and how many of them advance together (0: all)."""
    if not together:
        return int(min(wanted, memory // state)), 0
    if batch:
        return int(min(wanted, (memory - batch * (state + activations)) // state)), batch
    everyone = int(memory // (state + activations))
    if everyone >= wanted:
        return wanted, 0
    # Micro-batches pay with one more copy of their own states; as few as needed, none too small.
    for batches in range(2, wanted + 1):
        batch = -(-wanted // batches)
        if batch < min(SMALLEST_MICROBATCH, wanted):
            break
        if wanted * state + batch * (state + activations) <= memory:
            return wanted, batch
    batch = SMALLEST_MICROBATCH // 2  # half as many, rather than a second wave
    if batch < wanted and wanted * state + batch * (state + activations) <= memory:
        return wanted, batch
    batch = min(SMALLEST_MICROBATCH, everyone)
    lanes = int((memory - batch * (state + activations)) // state) // max(batch, 1) * batch
    return (lanes, batch) if lanes > everyone else (everyone, 0)


def _predicted(
    lanes: int, batch: int, fixed: float, state: float, activations: float, together: bool
) -> float:
    if not together:
        return fixed + lanes * (state + activations)
    if not batch:
        return fixed + lanes * (state + activations)
    return fixed + lanes * state + batch * (state + activations)


def _of_seeds(config: Config, seeds: int) -> Config:
    return replace(config, experiment=replace(config.experiment, seeds=seeds))


def _with_lanes(config: Config, lanes: int, microbatch: int) -> Config:
    return replace(config, means=replace(config.means, lanes=lanes, microbatch=microbatch))


def _is_key(leaf: Any) -> bool:
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
