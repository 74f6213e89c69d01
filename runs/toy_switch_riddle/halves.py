"""RIAL in the switch riddle with one half of it given: what is done about the bit, or what the bit says.

    mgtopo sweep runs/toy_switch_riddle/halves.toml

Together the two scripts are the best strategy (0.741 a riddle), so that each half can be learned if the other is there.
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from purejax_mgtopo.algorithm.messages.rial import Rial
from purejax_mgtopo.algorithm.messages.slots import slots
from purejax_mgtopo.algorithm.part import Heard, Moment
from purejax_mgtopo.algorithm.types import Gates, PyTree, Seen
from purejax_mgtopo.plugins.registry import register_interpreter

IN_ROOM, YESTERDAY, BEEN, FIRST_DAY = range(4)
"""Where an observation says so."""
CERTAIN = 1e3
"""Added to an action before it is squashed."""


class GivenDeeds(Rial):
    """RIAL that learns what to say, to hearers who act on the bit as is best: who finds it set and is there for the
    first time tells, nobody else does. Without an action penalty: it would be all that is left to learn, and undo the
    script."""

    def hear(
        self, params: PyTree, acting: PyTree, seen: Seen, gates: Gates, moment: Moment
    ) -> Heard:
        """Symbols by Q-values; motion by script."""
        heard = super().hear(params, acting, seen, gates, moment)
        finds = bit(slots(seen.delivered, gates), self.symbols)
        room, been = seen.observation[..., IN_ROOM], seen.observation[..., BEEN]
        tells = 2 * room * (1 - been) * finds - 1
        return heard._replace(offset=CERTAIN * jnp.stack([tells, jnp.zeros_like(tells)], axis=-1))


class GivenWords(Rial):
    """RIAL's hearers, who learn what to do about a bit that says what is best: that two have been there."""

    def _chosen(
        self, values: PyTree, observation: Array, received: Array, moment: Moment
    ) -> Int[Array, "*batch N"]:
        del values
        kept = observation[..., YESTERDAY] * (moment.carry == 1)  # who stays finds its own bit
        found = jnp.maximum(bit(received, self.symbols), kept)
        two = jnp.maximum(found, 1 - observation[..., BEEN]) * (1 - observation[..., FIRST_DAY])
        return two.astype(jnp.int32)


def bit(received: Float[Array, "*batch N _"], symbols: int) -> Float[Array, "*batch N"]:
    """1 for each agent to whom the second symbol came from anybody."""
    by_sender = received.reshape(*received.shape[:-1], -1, symbols)
    return jnp.sum(by_sender[..., 1], axis=-1)


register_interpreter("given_deeds", GivenDeeds)
register_interpreter("given_words", GivenWords)
