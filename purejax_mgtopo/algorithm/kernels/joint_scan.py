"""A scan that writes all that a step tells, and all that it leaves to the next, in one kernel each, for a GPU.

A scan of JAX writes each output of a step by a kernel of its own, however small, and counts its turns in another.
Compiled for an H200, `meta` at N = 3: about 150 kernels an episode fewer by writing once, and 240 by turns of several
steps, with what the steps of `reversed_lstm` round and write. By what is left to the next: `none` on
`predator_prey_N6_l6` 424 for 448.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from purejax_mgtopo.algorithm.kernels.target import platform

TURNS = 5
"""Steps in one turn of the loop on a GPU, where counting turns is a kernel of its own, and so is handing on what a
step leaves."""


def joint_scan(
    step: Callable[[Any, Any], tuple],
    start: Any,
    inputs: Any,
    reverse: bool = False,
    turns: int = TURNS,
    many: bool = False,
) -> tuple[Any, Any]:
    """``jax.lax.scan(step, start, inputs)``; on a GPU outputs of one type travel side by side in one array.

    Args:
        turns: steps in one turn of the loop.
        many: what a step leaves to the next is many small arrays, which travel side by side from turn to turn.
    """
    if platform() == "cpu":
        return jax.lax.scan(step, start, inputs, reverse=reverse)
    carried = _Places(once=False)
    told = _Places(once=True)

    def joined(carry: Any, x: Any) -> tuple[Any, dict[str, Array]]:
        carry, tells = step(carried.apart(carry) if many else carry, x)
        return (carried.joined(carry) if many else carry), told.joined(tells)

    first = carried.joined(start) if many else start
    written: dict[str, Array]
    carry, written = jax.lax.scan(joined, first, inputs, reverse=reverse, unroll=turns)
    return (carried.apart(carry) if many else carry), told.apart(written, steps=True)


class _Places:
    """Where each leaf of a tree lies in the arrays that hold all leaves of one type; told by `joined`.

    Args:
        once: an array that is there twice is written once. Not for a carry, which must lie alike in every turn,
            whatever is the same array at first.
    """

    def __init__(self, once: bool) -> None:
        self._once = once
        self._structure: Any = None
        self._leaves: list[tuple[str, int, tuple[int, ...]]] = []  # its type, where, its shape

    def joined(self, tree: Any) -> dict[str, Array]:
        """One array of each type."""
        leaves, self._structure = jax.tree.flatten(tree)
        self._leaves = []
        rows: dict[str, list[Array]] = {}
        places: dict[int, tuple[str, int, tuple[int, ...]]] = {}
        widths: dict[str, int] = {}
        for leaf in leaves:
            if not (self._once and id(leaf) in places):
                kind = str(leaf.dtype)
                at = widths.get(kind, 0)
                places[id(leaf)] = (kind, at, leaf.shape)
                widths[kind] = at + leaf.size
                rows.setdefault(kind, []).append(leaf.reshape(-1))
            self._leaves.append(places[id(leaf)])
        return {kind: jnp.concatenate(parts) for kind, parts in rows.items()}

    def apart(self, rows: dict[str, Array], steps: bool = False) -> Any:
        """The tree again; if `steps`, each of its leaves with an axis of steps before its own."""
        ahead = (-1,) if steps else ()
        leaves = [
            rows[kind][..., at : at + int(np.prod(shape))].reshape(*ahead, *shape)
            for kind, at, shape in self._leaves
        ]
        return jax.tree.unflatten(self._structure, leaves)
