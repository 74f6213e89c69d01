"""Channels that do not deliver what was sent, or not to whom: the controls of communication.

    own        whom the rule lets through delivers the receiver's own message
    shuffled   it delivers what the same agent sends in another episode
    constant   it delivers zeros
    cut        nothing is delivered
    open       everything is delivered
    random     the rule's share of edges at each step is delivered, over edges drawn by chance

The first three leave the rule's edges alone and take the content away; who is silent still shows. The others leave the
content and take the choice. A gain that survives ``shuffled`` is not communication. A control stands before the
interpreter, so that neither loop, rule nor interpreter knows of it; a rule learns from its own decisions as ever, but
what is recorded as open are the edges that delivered, and by these an interpreter learns and shows whom it hears. What
was said over the first three it does not know again: rial's symbols are learned from, and attention is shown, as if all
had been heard as it was sent.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from purejax_mgtopo.algorithm.part import Heard, Interpreter, Moment, arriving
from purejax_mgtopo.algorithm.types import Edges, Gates, Mode, PyTree, Seen, Sizes, redirected
from purejax_mgtopo.config import Experiment


def interpreter_behind(
    channel: str, interpreter: type[Interpreter], experiment: Experiment, sizes: Sizes, edges: Edges
) -> Interpreter:
    """The interpreter, behind a channel of that name; ``"clear"`` delivers what was sent.

    Where nobody is ever to hear anything, only the open channel changes that.
    """
    if channel == "clear" or edges is Edges.NEVER and channel != "open":
        return interpreter(experiment, sizes, edges)
    control = _CONTROLS[channel]
    joined = type(f"{control.__name__}{interpreter.__name__}", (control, interpreter), {})
    made: Interpreter = joined(experiment, sizes, Edges.ANY if control is Open else edges)
    return made


class Elsewhere(Interpreter, abc.ABC):
    """Each receiver hears in a world of its own, in which all that the others see and say is made up."""

    @abc.abstractmethod
    def made_up(self, seen: Seen, mode: Mode) -> Seen:
        """What all agents (third last axis: receivers) see and send, as far as each receiver is told."""

    def hear(
        self, params: PyTree, acting: PyTree, seen: Seen, gates: Gates, moment: Moment
    ) -> Heard:
        """What each receiver makes of its own world. Costs N times as much as to hear in one."""
        lead, agents = seen.observation.ndim - 2, self.sizes.agents
        myself = jnp.eye(agents, dtype=bool)[..., None]
        theirs = self.made_up(seen, moment.mode)

        def everywhere(x: Array) -> Array:
            x = jnp.expand_dims(x, lead)
            return jnp.broadcast_to(x, (*x.shape[:lead], agents, *x.shape[lead + 1 :]))

        def told(mine: Array, others: Array) -> Array:
            return jnp.where(myself, everywhere(mine), others)

        worlds = replace(
            jax.tree.map(everywhere, seen),
            observation=told(seen.observation, theirs.observation),
            feature=told(seen.feature, theirs.feature),
            message=told(seen.message, theirs.message),
            delivered=told(seen.delivered, theirs.delivered),
        )

        def own(x: Array) -> Array:
            if x.shape[lead + 1 : lead + 2] != (agents,):  # the same in every world
                return jax.lax.index_in_dim(x, 0, lead, keepdims=False)
            return jnp.moveaxis(jnp.diagonal(x, axis1=lead, axis2=lead + 1), -1, lead)

        heard = super().hear(  # type: ignore[safe-super]
            params,
            acting,
            worlds,
            jax.tree.map(everywhere, gates),
            replace(
                moment,
                carry=jax.tree.map(everywhere, moment.carry),
                tape=everywhere(moment.tape),
            ),
        )
        return jax.tree.map(lambda x: own(x) if isinstance(x, jax.Array) else x, heard)


class Own(Elsewhere):
    """Whoever is heard says what the receiver says."""

    def made_up(self, seen: Seen, mode: Mode) -> Seen:
        """The receiver in everybody's place."""
        del mode
        return _with_content(seen, lambda x: x[..., :, None, :])


class Shuffled(Elsewhere):
    """Whoever is heard says what it says at the same step of another episode, of which nothing is learned.

    While episodes are played another one is played beside each, which is heard, and hears its own team as over a clear
    channel; of more side by side each hears the next one, and the last its own team. In a batch of transitions each
    hears the next one, and the last hears zeros. Either way content goes down a chain and never comes back to where it
    was said. One alone hears zeros.
    """

    beside = 1

    def made_up(self, seen: Seen, mode: Mode) -> Seen:
        """Everybody in the next episode."""
        if seen.observation.ndim < 3 or len(seen.observation) == 1 or mode is Mode.IMAGINED:
            return _nothing(seen)
        learning = mode in (Mode.REPLAY, Mode.TARGET)

        def following(x: Array) -> Array:
            last = jnp.zeros_like(x[-1:]) if learning else x[-1:]
            return jnp.concatenate([x[1:], last])[..., None, :, :]

        return _with_content(jax.lax.stop_gradient(seen), following)


class Constant(Elsewhere):
    """Whoever is heard says zeros."""

    def made_up(self, seen: Seen, mode: Mode) -> Seen:
        """Nobody sees or says anything."""
        del mode
        return _nothing(seen)


class Redirected(Interpreter, abc.ABC):
    """Messages arrive over other edges than the rule's, but where gates are imagined."""

    @abc.abstractmethod
    def instead(self, decision: Float[Array, "*batch N N-1"], tape: Array) -> Array:
        """The edges that deliver; `tape` holds a number for each."""

    def __init__(self, experiment: Experiment, sizes: Sizes, edges: Edges = Edges.ANY) -> None:
        super().__init__(experiment, sizes, edges)
        self._inner_shape = self.tape_shape
        self._inner = _size(self.tape_shape)
        self._edges_shape = (sizes.agents, sizes.agents - 1)
        self.tape_shape = (self._inner + _size(self._edges_shape),)

    def encode(
        self,
        params: PyTree,
        acting: PyTree,
        observation: Float[Array, "*batch N O"],
        moment: Moment,
    ) -> Any:
        """The interpreter's own answer, with its share of the tape."""
        return super().encode(  # type: ignore[safe-super]
            params, acting, observation, replace(moment, tape=self._split(moment.tape)[0])
        )

    def hear(
        self, params: PyTree, acting: PyTree, seen: Seen, gates: Gates, moment: Moment
    ) -> Heard:
        """What arrives over the edges that deliver, of which the record is told."""
        own, numbers = self._split(moment.tape)
        moment = replace(moment, tape=own)
        if moment.mode is Mode.IMAGINED:
            return super().hear(params, acting, seen, gates, moment)  # type: ignore[safe-super]
        edges = self.instead(gates.opened, numbers)
        delivering = arriving(redirected(gates, edges), seen)
        heard = super().hear(params, acting, seen, delivering, moment)  # type: ignore[safe-super]
        return heard._replace(edges=edges)

    def _split(self, tape: Array) -> tuple[Array, Array]:
        batch = tape.shape[:-1]
        own, numbers = tape[..., : self._inner], tape[..., self._inner :]
        return own.reshape(*batch, *self._inner_shape), numbers.reshape(*batch, *self._edges_shape)


class Cut(Redirected):
    """Nothing is delivered."""

    def instead(self, decision: Float[Array, "*batch N N-1"], tape: Array) -> Array:
        """No edge."""
        del tape
        return jnp.zeros_like(decision)


class Open(Redirected):
    """Everything is delivered."""

    def instead(self, decision: Float[Array, "*batch N N-1"], tape: Array) -> Array:
        """All edges."""
        del tape
        return jnp.ones_like(decision)


class Redrawn(Redirected):
    """The rule's share of edges is delivered at each step, on average, but the rule chooses none of them."""

    tosses = True

    def instead(self, decision: Float[Array, "*batch N N-1"], tape: Array) -> Array:
        """Coins of the probability that an edge is open in the rule's decision."""
        share = jnp.mean(decision, axis=(-2, -1), keepdims=True)
        return (tape < share).astype(decision.dtype)


_CONTROLS: dict[str, Any] = {
    "own": Own,
    "shuffled": Shuffled,
    "constant": Constant,
    "cut": Cut,
    "open": Open,
    "random": Redrawn,
}
CONTROLS = tuple(_CONTROLS)
"""Names of all channels but the clear one."""


def _with_content(seen: Seen, change: Callable[[Array], Array]) -> Seen:
    return replace(
        seen,
        observation=change(seen.observation),
        feature=change(seen.feature),
        message=change(seen.message),
        delivered=change(seen.delivered),
    )


def _nothing(seen: Seen) -> Seen:
    return _with_content(seen, lambda x: jnp.zeros_like(x)[..., None, :, :])


def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for width in shape:
        size *= width
    return size
