"""Which pair's prey is frozen: the hardest to catch for predators that it never trained against."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.typing import NDArray

from purejax_mgtopo.prey.selfplay import Duel
from purejax_mgtopo.record import RunError
from purejax_mgtopo.team import Policy
from purejax_mgtopo.types import PyTree, Streams

EPISODES = 200
"""Of every predator team against every prey team, without exploration."""
SEED = 20_211


class CrossPlay(NamedTuple):
    """Every predator team against every prey team; rows are predators', columns prey's pairs."""

    contacts: Float[np.ndarray, "S S"]
    """An episode."""
    inside: Float[np.ndarray, "S S"]
    """Share of the prey's steps within the arena."""

    def held_out(self) -> tuple[NDArray, NDArray]:
        """Means for each prey over the predators of all *other* pairs, [S] each."""
        seeds = len(self.contacts)
        if seeds == 1:
            return self.contacts[0], self.inside[0]
        strangers = np.eye(seeds) == 0
        contacts, inside = (np.mean(x, axis=0, where=strangers) for x in self)
        return contacts, inside


def cross_play(duel: Duel, predators: Policy, prey: Policy) -> CrossPlay:
    """Let all teams meet; policies have a leading axis of pairs. All meet in the same episodes."""
    seeds = jax.tree.leaves(prey)[0].shape[0]
    keys = jax.vmap(Streams.split)(jax.random.split(jax.random.key(SEED), EPISODES))

    def meet(pair: Array) -> tuple[Array, Array]:
        one = jax.tree.map(lambda x: x[pair // seeds], predators)
        other = jax.tree.map(lambda x: x[pair % seeds], prey)
        told = jax.vmap(lambda keys: duel.measure(duel.play(one, other, keys)))(keys)
        return jnp.mean(told.contacts), jnp.mean(told.inside)

    met = jax.jit(lambda pairs: jax.lax.map(meet, pairs))(jnp.arange(seeds * seeds))
    return CrossPlay(*(np.asarray(x, float).reshape(seeds, seeds) for x in met))


def choose(met: CrossPlay, stays: float) -> int:
    """The prey with the fewest contacts among those that stay in the arena.

    Raises RunError where none does.
    """
    contacts, inside = met.held_out()
    fit = np.isfinite(contacts) & (inside >= stays)
    if not fit.any():
        raise RunError(
            f"no prey stays in the arena for {stays:.0%} of its steps (best: {np.nanmax(inside):.0%}); "
            "train longer, or raise --boundary-cost"
        )
    return int(np.argmin(np.where(fit, contacts, np.inf)))


def frozen(prey: Policy, seed: int) -> dict[str, NDArray[np.float32]]:
    """The arrays of a prey file, of one pair's prey."""
    params: PyTree = prey.head["params"]
    layers = (params["from_observation"], params["rest"]["Dense_0"], params["rest"]["Dense_1"])
    arrays = {}
    for i, layer in enumerate(layers):
        for name in ("kernel", "bias"):
            arrays[f"{name}_{i}"] = np.asarray(layer[name][seed], np.float32)
    return arrays
