"""The rate at which this machine multiplies float32 matrices in JAX, used as training uses it.

Every device multiplies matrices of its own, all at once, in one program under `jax.shard_map`, as
training does with its seeds. On a CPU the number of devices is a choice: one for each core, or a
single one whose matmul is spread over the cores. The best of both and of all sizes is the rate.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Sequence

SIZES = (512, 1024, 2048)
LARGE = 8192
"""The size measured on an accelerator besides: smaller products do not fill it."""


def matmul_flop(size: int) -> int:
    """Operations of a product of square matrices: a multiplication and an addition each."""
    return 2 * size**3


def measure(
    sizes: Sequence[int] = SIZES, seconds: float = 1.0, repeats: int = 5
) -> dict[int, float]:
    """GFLOP/s of all devices together, by size of the matrices: medians over repeats.

    Args:
        sizes: of the square matrices.
        seconds: for each size, all repeats together.
        repeats: timed runs of each size.
    """
    return {size: _measure_one(size, seconds / repeats, repeats) for size in sizes}


def _measure_one(size: int, seconds: float, repeats: int) -> float:
    import jax
    import jax.numpy as jnp
    import numpy as np
    from jax.sharding import NamedSharding, PartitionSpec

    devices = jax.devices()
    mesh = jax.make_mesh((len(devices),), ("device",))
    each, shared = PartitionSpec("device"), PartitionSpec()

    def chain(x: jax.Array, w: jax.Array, count: jax.Array) -> jax.Array:
        return jax.lax.fori_loop(0, count, lambda _, y: jnp.matmul(y, w), x)

    run = jax.jit(
        jax.shard_map(
            chain, mesh=mesh, in_specs=(each, shared, shared), out_specs=each, check_vma=False
        )
    )
    random = np.random.default_rng(0)
    # A reflection is dense and keeps lengths, so a chain of any length neither grows nor vanishes.
    v = random.normal(size=(size, 1))
    w = np.eye(size) - 2 * v @ v.T / np.sum(v * v)
    x = random.normal(size=(len(devices) * size, size))
    x = jax.device_put(x.astype(np.float32), NamedSharding(mesh, each))
    w = jax.device_put(w.astype(np.float32), NamedSharding(mesh, shared))

    def timed(count: int) -> float:
        start = time.perf_counter()
        jax.block_until_ready(run(x, w, jnp.int32(count)))
        return time.perf_counter() - start

    timed(1)  # compiles
    count = max(1, round(2 * seconds / max(timed(2), 1e-9)))
    rates = [count * len(devices) * matmul_flop(size) / timed(count) for _ in range(repeats)]
    return statistics.median(rates) / 1e9


def main() -> None:
    """Measure in this process and print one line of JSON."""
    import jax

    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--devices", type=int, default=1, help="host devices, on a CPU")
    parser.add_argument("--seconds", type=float, default=1.0, help="for each size")
    flags = parser.parse_args()
    jax.config.update("jax_num_cpu_devices", flags.devices)
    large = () if jax.default_backend() == "cpu" else (LARGE,)
    rates = measure((*SIZES, *large), seconds=flags.seconds)
    print(json.dumps({"devices": len(jax.devices()), "gflop_per_second": rates}))


if __name__ == "__main__":
    main()
