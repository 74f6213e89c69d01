"""Antithetic evolution: a rule and its mirror image live the same whole lives, and the better of the two shows the way.

Nothing is cut off after K updates, so that what pays late counts; and nothing is differentiated.
"""

from __future__ import annotations

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from purejax_mgtopo.algorithm.topology.edgewise.judged import Edgewise
from purejax_mgtopo.algorithm.types import Measures, PyTree
from purejax_mgtopo.population.frozen import all_finite
from purejax_mgtopo.universal.lives import Lives

MEASURES = ("return", "difference", "edge_rate")
"""What a pair tells of all episodes of both lives: the mean priced return in the task's scale, by how much the two
differ in it, and the share of open edges."""


@flax.struct.dataclass
class Pair:
    """Two lifetimes that are about to begin."""

    key: Key[Array, ""]


class Evolution:
    """Pairs of one task's whole lifetimes, as something to learn a rule from.

    The two begin as the same lifetime and are lived with the same keys, one under the rule with Gaussian noise added,
    one with it taken away. The direction is the noise, towards the one with the higher return (Salimans et al. 2017,
    arXiv 1703.03864, with the sign of the difference: lifetimes differ in scale and length).
    """

    def __init__(self, lives: Lives) -> None:
        self.lives = lives
        self.deviation = lives.settings.deviation

    @property
    def rule(self) -> Edgewise:
        """How gates learn, and are judged."""
        return self.lives.rule

    def first(self, key: Key[Array, ""]) -> Pair:
        """A pair."""
        return Pair(key)

    def step(self, eta: PyTree, pair: Pair) -> tuple[Pair, tuple[PyTree, Measures]]:
        """The next pair, the direction in which this one would move eta, and its measures."""
        key, birth_key, noise_key = jax.random.split(pair.key, 3)
        life, noise = self.lives.born(birth_key), _noise(noise_key, eta)

        def under(sign: Float[Array, ""]) -> tuple[Array, Array]:
            changed = jax.tree.map(lambda x, n: x + sign * self.deviation * n, eta, noise)
            return self.whole(changed, life)

        # One after the other: two rules in one batch would double what every product reads.
        worth, opened = jax.lax.map(under, jnp.array([1.0, -1.0]))
        difference = worth[0] - worth[1]
        direction = jax.tree.map(lambda n: jnp.sign(difference) * n, noise)
        values = (jnp.mean(worth), jnp.abs(difference), jnp.mean(opened))
        return Pair(key), (direction, dict(zip(MEASURES, values, strict=True)))

    def whole(self, eta: PyTree, life: PyTree) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """The mean priced return and the share of open edges of a lifetime, from here to its end.

        NaN where it has not stayed finite.
        """

        def lasts(state: tuple) -> Array:
            life = state[0]
            return life.age < life.lot.length

        def window(state: tuple) -> tuple:
            life, returned, opened, count = state
            life, (taus, _) = self.lives.lived(eta, life)
            returned += jnp.mean(jnp.sum(taus.reward, axis=-1))
            return life, returned, opened + jnp.mean(taus.gates.decision), count + 1

        none = jnp.zeros(())
        life, returned, opened, count = jax.lax.while_loop(lasts, window, (life, none, none, none))
        returned = jnp.where(all_finite(life.moving), returned, jnp.nan)
        return returned / count / life.lot.scale, opened / count


def _noise(key: Key[Array, ""], like: PyTree) -> PyTree:
    leaves, structure = jax.tree.flatten(like)
    keys = jax.random.split(key, len(leaves))
    drawn = [jax.random.normal(k, x.shape, x.dtype) for k, x in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(structure, drawn)
