"""The state of all seeds as arrays with names, as a checkpoint holds them, and back."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from purejax_mgtopo.checkpoints.stored import DIGEST, BadCheckpoint, array_shapes
from purejax_mgtopo.population.population import LANES, PopulationState


def named_arrays(state: Any) -> dict[str, Any]:
    """Every array by its path, random keys as their words; empty ones hold nothing to save."""
    named = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        array = _words(leaf)
        if array.size:
            named[name] = array
    return named


def _words(leaf: Any) -> Any:
    if not jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return leaf
    if isinstance(leaf, jax.ShapeDtypeStruct):
        words = jax.eval_shape(jax.random.key_data, leaf)
        return jax.ShapeDtypeStruct(words.shape, words.dtype, sharding=leaf.sharding)
    return jax.random.key_data(leaf)


def unnamed(
    arrays: Mapping[str, jax.Array], like: PopulationState, place: Callable[[jax.Array], jax.Array]
) -> PopulationState:
    """The inverse of `named_arrays`."""

    def leaf(path: Any, shape: jax.ShapeDtypeStruct) -> jax.Array:
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        if (
            name not in arrays
        ):  # empty; placed as a program places them, lest its second call be compiled anew
            everywhere = NamedSharding(shape.sharding.mesh, PartitionSpec())
            return jax.device_put(np.zeros(shape.shape, shape.dtype), everywhere)
        array = place(arrays[name]) if name.startswith("lanes.") else arrays[name]
        if jax.dtypes.issubdtype(shape.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(array)
        return array

    return jax.tree_util.tree_map_with_path(leaf, like)


def resized(like: PopulationState, lanes: int) -> PopulationState:
    """The shapes of a state with another number of lanes, whole on every device where they cannot be shared out."""

    def resize(x: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
        mesh = x.sharding.mesh
        spec = LANES if lanes % mesh.size == 0 else PartitionSpec()
        return jax.ShapeDtypeStruct(
            (lanes, *x.shape[1:]), x.dtype, sharding=NamedSharding(mesh, spec)
        )

    return dataclasses.replace(like, lanes=jax.tree.map(resize, like.lanes))


def digest_shapes(like: Mapping[str, Any]) -> dict[str, jax.ShapeDtypeStruct]:
    """What lies beside arrays of these shapes."""
    return {
        DIGEST + name: jax.ShapeDtypeStruct(
            (x.shape[0] if x.ndim else 1, 2),
            jnp.uint32,
            sharding=x.sharding if x.ndim else NamedSharding(x.sharding.mesh, PartitionSpec()),
        )
        for name, x in like.items()
    }


def check_structure(path: Path, tree: Mapping[str, Any]) -> None:
    """Raise BadCheckpoint unless names, shapes and dtypes are the expected ones: Orbax would cast."""
    stored = array_shapes(path)
    for name in sorted({*tree, *stored}):
        if name not in stored or name not in tree:
            raise BadCheckpoint(f"{name} is {'missing' if name in tree else 'not of this program'}")
        expected = (tuple(tree[name].shape), str(np.dtype(tree[name].dtype)))
        if stored[name] != expected:
            raise BadCheckpoint(f"{name} is {stored[name]}, not {expected}")


def same_here(a: jax.Array, b: jax.Array) -> bool:
    """Whether two arrays are equal, as far as this process can see them."""
    ours = {str(shard.index): np.asarray(shard.data) for shard in a.addressable_shards}
    theirs = {str(shard.index): np.asarray(shard.data) for shard in b.addressable_shards}
    if ours.keys() == theirs.keys():
        return all(np.array_equal(ours[index], theirs[index]) for index in ours)
    return np.array_equal(np.asarray(a), np.asarray(b))
