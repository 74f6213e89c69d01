"""Training episodes per second over all seeds, and the time until the first chunk is trained.

One measurement is one process, because the number of host devices is fixed once JAX runs:
``python -m purejax_mgtopo.bench.training --method none --task navigation_N3_l3 --seeds 2``. Whether
compiled programs are found on disk is up to the caller, through JAX_COMPILATION_CACHE_DIR.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import time
from typing import Any

from purejax_mgtopo.config import Config, EvaluationConfig, Experiment, with_method
from purejax_mgtopo.machine.startup import configure_platform

CHUNK = Experiment().chunk_episodes
"""Episodes between two looks at the clock, as in any run."""

REFERENCE_GFLOP = {3: 1.1, 6: 5.5}
"""Cost of one training episode of `meta` by number of agents, as the plain algorithm spends it. A
fixed figure, so that work which the program saves counts as speed."""


def reference_rate(task: str, episodes_per_second: float) -> float:
    """Reference GFLOP/s of training `meta` on `task`. Raises ValueError where none is known."""
    agents = re.search(r"_N(\d+)", task)
    if agents is None or int(agents[1]) not in REFERENCE_GFLOP:
        raise ValueError(f"no reference cost is known for {task!r}")
    return REFERENCE_GFLOP[int(agents[1])] * episodes_per_second


def benchmark(method: str, task: str, seeds: int) -> Experiment:
    """The method's defaults, with no evaluation before the measurement ends."""
    never = EvaluationConfig(every=10**9)
    experiment = Experiment(
        task=task, seeds=seeds, chunk_episodes=CHUNK, episodes=10**9, evaluation=never
    )
    return with_method(experiment, method)


def measure(method: str, task: str, seeds: int, seconds: float) -> dict[str, Any]:
    """Train for about `seconds`, at least three chunks, after one that is not counted.

    `episodes_per_second` counts the episodes of all seeds; `per_cpu_second`, by the processor time
    that was spent, says more where other programs run on the same cores. `compile_seconds` is the
    time from the configuration to the end of the first chunk, warm-up episodes included, less one
    usual chunk.
    """
    config = Config(benchmark(method, task, seeds))
    configure_platform(config.means)
    from purejax_mgtopo.population.population import Population  # starts JAX

    start = time.perf_counter()
    program = Population(config)
    state = program.init()
    state, _ = program.advance(state)
    first = time.perf_counter() - start

    durations: list[float] = []
    cpu = time.process_time()
    while sum(durations) < seconds or len(durations) < 3:
        start = time.perf_counter()
        state, report = program.advance(state)  # waits for the report, which comes last
        durations.append(time.perf_counter() - start)
    cpu = time.process_time() - cpu
    if not report.finite.all():
        raise FloatingPointError(f"{method} on {task} left the finite numbers")
    episodes = CHUNK * seeds * len(durations)
    return {
        "method": method,
        "task": task,
        "seeds": seeds,
        "devices": program.mesh.size,
        "episodes_per_second": episodes / sum(durations),
        "per_cpu_second": episodes / cpu,
        "compile_seconds": first - statistics.median(durations),
    }


def main() -> None:
    """Measure in this process and print one line of JSON."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--method", default="none")
    parser.add_argument("--task", default="navigation_N3_l3")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=10.0)
    flags = parser.parse_args()
    print(json.dumps(measure(flags.method, flags.task, flags.seeds, flags.seconds)))


if __name__ == "__main__":
    main()
