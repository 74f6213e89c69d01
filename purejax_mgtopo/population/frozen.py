"""Lanes whose numbers are finite no more: they stay as they were, and touch nobody."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

from purejax_mgtopo.algorithm.algorithm import LearnerState
from purejax_mgtopo.algorithm.kernels.target import platform
from purejax_mgtopo.population.state import LaneState


def all_finite(tree: Any) -> Bool[Array, ""]:
    """Every number is finite; whole numbers and random keys always are."""
    numbers = [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.inexact)]
    if not numbers:
        return jnp.ones((), bool)
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(x)) for x in numbers]))


def alive(
    lane: LaneState, seed: LearnerState, followed: Callable[[LearnerState], Any]
) -> LaneState:
    """A lane with `seed` for a state, or with all that learns as it was where that is not finite any more.

    To keep means a copy through the chunk: so the replay goes on, and on a GPU optimisers' memories are cleared, and
    targets become what they have `followed`.
    """
    sound, before = lane.alive & all_finite((seed.learner, seed.parts)), lane.seed
    lean = platform() != "cpu"

    def one(path: tuple, old: Any, new: Any) -> Any:
        cleared = lean and "optimizer" in jax.tree_util.keystr(path)
        return jnp.where(sound, new, jnp.zeros_like(new) if cleared else old)

    keep = partial(jax.tree_util.tree_map_with_path, one)
    kept = replace(
        seed,
        learner=keep(before.learner, seed.learner),
        parts=keep(before.parts, seed.parts),
        target=keep(followed(before) if lean else before.target, seed.target),
    )
    return replace(lane, seed=kept, alive=sound)
