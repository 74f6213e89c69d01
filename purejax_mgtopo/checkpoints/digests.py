"""Digests of arrays, the same on a device and in NumPy, and of files.

Each lane of an array gets two 32-bit sums of its mixed words, each word mixed with its position. The mixing is a
bijection (MurmurHash3's finaliser), so that a change of any one word always changes the digest, and a change of many
goes unseen with a probability of 2**-64. It runs at memory speed on whatever holds the array.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, UInt32
from numpy.typing import NDArray

LITTLE = 2**28
"""Bytes that NumPy digests in about a second."""
_SALTS = (0x9E3779B9, 0x7F4A7C15)


def digest_arrays(arrays: Mapping[str, Array]) -> dict[str, UInt32[Array, "L 2"]]:
    """Digests by name: one for each lane of an array [L, ...], one for a scalar; they lie where the arrays do.

    A little on a CPU is digested by NumPy: to trace and compile the program for it takes seconds.
    """
    if not all(
        isinstance(array.sharding, NamedSharding) and _is_here(array) for array in arrays.values()
    ):
        return _digest_program(arrays)
    if sum(array.nbytes for array in arrays.values()) > LITTLE:
        return _digest_program(arrays)
    return {
        name: jax.device_put(digest_array(np.asarray(array)), digest_sharding(array))
        for name, array in arrays.items()
    }


@jax.jit
def _digest_program(arrays: Mapping[str, Array]) -> dict[str, UInt32[Array, "L 2"]]:
    return {name: _digest(_words(array), jnp) for name, array in arrays.items()}


def _is_here(array: Array) -> bool:
    """Whether NumPy can look at an array without a copy from elsewhere."""
    return array.is_fully_addressable and next(iter(array.devices())).platform == "cpu"


def digest_sharding(array: Array | jax.ShapeDtypeStruct) -> NamedSharding:
    """Where the digests of an array lie: those of its lanes beside them."""
    sharding: Any = array.sharding
    return NamedSharding(sharding.mesh, PartitionSpec(*sharding.spec[: min(1, array.ndim)]))


def digest_array(array: NDArray) -> UInt32[np.ndarray, "L 2"]:
    """Digests of one array's lanes, in NumPy: those of `digest_arrays`."""
    lanes = array.reshape(1, 1) if array.ndim == 0 else array.reshape(len(array), -1)
    raw = np.ascontiguousarray(lanes)
    if raw.dtype.itemsize >= 4:
        words = raw.view(np.uint32)
    else:
        words = raw.view({1: np.uint8, 2: np.uint16}[raw.dtype.itemsize]).astype(np.uint32)
    return np.asarray(_digest(words, np))


def digest_files(folder: Path) -> dict[str, str]:
    """SHA-256 of every file beneath `folder`, by relative path."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with open(path, "rb") as file:
                found[path.relative_to(folder).as_posix()] = hashlib.file_digest(
                    file, "sha256"
                ).hexdigest()
    return found


def _words(array: Array) -> UInt32[Array, "L W"]:
    lanes = array.reshape(1, 1) if array.ndim == 0 else array.reshape(len(array), -1)
    if lanes.dtype == bool:
        return lanes.astype(jnp.uint32)
    kind = {1: jnp.uint8, 2: jnp.uint16}.get(lanes.dtype.itemsize, jnp.uint32)
    words = jax.lax.bitcast_convert_type(lanes, kind).astype(jnp.uint32)
    return words.reshape(len(lanes), -1)


def _digest(words: Any, xp: Any) -> Any:
    position = xp.arange(words.shape[1], dtype=xp.uint32)
    sums = [
        xp.sum(_mix(words ^ _mix(position + xp.uint32(salt), xp), xp), axis=1, dtype=xp.uint32)
        for salt in _SALTS
    ]
    return xp.stack(sums, axis=1)


def _mix(x: Any, xp: Any) -> Any:
    x = (x ^ (x >> xp.uint32(16))) * xp.uint32(0x85EBCA6B)
    x = (x ^ (x >> xp.uint32(13))) * xp.uint32(0xC2B2AE35)
    return x ^ (x >> xp.uint32(16))
