"""What a process reads of arrays [lanes, ...] that are spread over devices: NumPy arrays of its own lanes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Array
from numpy.typing import NDArray


def here(array: Array, read: Callable[[Any], NDArray]) -> NDArray:
    """What this process holds of an array [lanes, ...], in the order of its lanes."""
    shards = sorted(array.addressable_shards, key=lambda shard: shard.index[0].start or 0)
    return np.concatenate([read(shard) for shard in shards])


def of_lanes(tree: Any, ours: NDArray[np.bool_]) -> Any:
    """The lanes chosen of those that this process holds, of every array."""
    return jax.tree.map(lambda x: here(x, lambda shard: np.asarray(shard.data))[ours], tree)


def mean_of(batches: Sequence[NDArray], seeds: NDArray) -> NDArray[np.float32]:
    """The mean of the batches for each of the seeds; NaN where there are none."""
    if not batches:
        return np.full(len(seeds), np.nan, np.float32)
    return np.asarray(np.mean(batches, axis=0, dtype=np.float64), np.float32)
