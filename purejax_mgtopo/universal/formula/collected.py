"""Whole lifetimes among frozen teams under a rule, and all that it says of edges in them."""

from __future__ import annotations

from collections.abc import Iterator

import jax
import numpy as np
from jaxtyping import Array, Key

from purejax_mgtopo.algorithm.kernels.target import platform
from purejax_mgtopo.algorithm.topology.edgewise.said import Said, said
from purejax_mgtopo.algorithm.types import Purpose, PyTree
from purejax_mgtopo.config import Means
from purejax_mgtopo.machine.compiler import compiler_options
from purejax_mgtopo.population.lanes import lanes_together, over_lanes
from purejax_mgtopo.universal.lifetimes import Group, Lifetime


def question_keys(seed: int, lifetimes: int) -> Key[Array, " lifetimes"]:
    """One key for each lifetime; none of them is a lifetime of a trial."""
    return jax.random.split(Purpose.QUESTIONING.key(seed), lifetimes)


def window(group: Group, eta: PyTree, life: Lifetime) -> tuple[Lifetime, Said]:
    """A lifetime K gate updates later, and what the rule has said in them, [K, T, N, N-1]."""
    after, (taus, told) = group.lived(eta, life)
    return after, said(group.rule, eta, life.moving.memory, taus, told)


def windows(
    group: Group, eta: PyTree, updates: int, keys: Key[Array, " lifetimes"]
) -> Iterator[Said]:
    """All that a rule says in whole lifetimes of so many gate updates, K of them at a time: [lifetimes, K, T, N, N-1].

    Lifetimes are lived as in a trial: updates beyond the last whole K are left out.
    """
    batch, options = lanes_together(Means(), len(keys)), compiler_options(platform())

    def lived(eta: PyTree, lives: PyTree) -> PyTree:
        return over_lanes(lambda life: window(group, eta, life), batch)(lives)

    live = jax.jit(lived, donate_argnums=(1,), compiler_options=options)
    lives = jax.jit(over_lanes(lambda key: group.lasting(updates, key), batch))(keys)
    for _ in range(updates // group.updates):
        lives, told = live(eta, lives)
        yield jax.tree.map(np.asarray, told)
