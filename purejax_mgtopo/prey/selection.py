"""Which pair's prey is frozen: the hardest to catch for predators that it never trained against.

These are the trained teams of all other pairs, and hunters that head straight for the nearest prey. Either may be weak
in a way that the other is not: trained teams may hunt badly, straight hunters run after one prey in a row. So both
count for half.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.typing import NDArray

from purejax_mgtopo.algorithm.team import Policy
from purejax_mgtopo.algorithm.types import Purpose, PyTree, Streams
from purejax_mgtopo.errors import RunError
from purejax_mgtopo.prey.selfplay import Duel

EPISODES = 200
"""Episodes that every predator team plays against every prey team, without exploration."""
SEED = 20_211


class CrossPlay(NamedTuple):
    """Every predator team against every prey team; columns are the prey's pairs.

    Rows are the predators' pairs, and last the straight hunters.
    """

    contacts: Float[np.ndarray, "S+1 S"]
    """Pairs of predator and prey in contact, summed over the steps of an episode."""
    inside: Float[np.ndarray, "S+1 S"]
    """Share of the prey's steps within the arena."""

    def held_out(self) -> tuple[NDArray, NDArray]:
        """Contacts and share inside for each prey, [S] each.

        Half comes from the mean over the predators of all *other* pairs (of its own where there is no other), half
        from the straight hunters.
        """
        seeds = self.contacts.shape[1]
        strangers = (np.eye(seeds) == 0) | (seeds == 1)
        contacts, inside = ((np.mean(x[:-1], axis=0, where=strangers) + x[-1]) / 2 for x in self)
        return contacts, inside


def cross_play(duel: Duel, predators: Policy, prey: Policy) -> CrossPlay:
    """Let all teams meet; policies have a leading axis of pairs. All meet in the same episodes."""
    seeds = jax.tree.leaves(prey)[0].shape[0]
    keys = jax.vmap(Streams.split)(jax.random.split(Purpose.CROSS_PLAY.key(SEED), EPISODES))

    def watch(one: Policy, other: Policy, straight: bool) -> tuple[Array, Array]:
        play = partial(duel.play, one, other, straight=straight)
        metrics = jax.vmap(lambda keys: duel.measure(play(keys)))(keys)
        return jnp.mean(metrics.contacts), jnp.mean(metrics.inside)

    def meet(pair: Array) -> tuple[Array, Array]:
        one = jax.tree.map(lambda x: x[pair // seeds], predators)
        other = jax.tree.map(lambda x: x[pair % seeds], prey)
        return watch(one, other, straight=False)

    def hunted(pair: Array) -> tuple[Array, Array]:
        one, other = jax.tree.map(lambda x: x[pair], (predators, prey))
        return watch(one, other, straight=True)

    teams = jax.jit(lambda pairs: jax.lax.map(meet, pairs))(jnp.arange(seeds * seeds))
    straight = jax.jit(lambda pairs: jax.lax.map(hunted, pairs))(jnp.arange(seeds))
    met = (
        np.concatenate([np.asarray(x, float).reshape(seeds, seeds), np.asarray(y, float)[None]])
        for x, y in zip(teams, straight, strict=True)
    )
    return CrossPlay(*met)


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
