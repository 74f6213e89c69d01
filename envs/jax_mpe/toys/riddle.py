"""The switch riddle: prisoners who meet nobody, and a switch in the room to which one of them is led each day."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ..drawables import GREY, Disc, Fill, Scene
from ..scenario import HORIZON, Scenario
from .board import HOME_RADIUS, standing

if TYPE_CHECKING:  # chex marks its decorator in a way that mypy does not follow
    from dataclasses import dataclass as pytree
else:
    from chex import dataclass as pytree

DAYS = 6
NOBODY = 3
"""Who was in the room before the first day."""


@pytree(frozen=True)
class RiddleState:
    """Attributes: key: draws the next day. step_count: days played, []. day: of this riddle, from 0,
    [] int. room: who is in the room, [] int. yesterday: who was, or 3, [] int. been: 1 for who was
    there before today, [3]. waiting: probability that nobody has told yet, [].
    """

    key: Array
    step_count: Array
    day: Array
    room: Array
    yesterday: Array
    been: Array
    waiting: Array


@dataclass(frozen=True)
class SwitchRiddle(Scenario[RiddleState]):
    """The switch riddle with three prisoners (Foerster et al. 2016): who is in the room may tell that
    all have been there; if so all are freed, else all are lost.

    Each day one of three prisoners, drawn uniformly, is led to the room. What passes between them is
    the switch, that is a message of one bit from who was there yesterday to who is there today:
    `right_edges` says so, and the rule `right` opens that edge alone. With six days a riddle, the
    switch says "two have been here"; whoever finds it so and was never there tells.

    - observation: [3, 13]. In the room (1), there yesterday (1), there before today (1), one-hot of
      the day (6), probability that nobody has told yet (1), one-hot of the agent (3).
    - action: [3, 2] in [-1, 1]. Who is in the room tells with probability `(1 + a) / 2`, a the first
      number; all others' actions do nothing.
    - reward: the expected one, `w p` if all have been in the room and `-w p` else, p the probability
      to tell and w that nobody has told yet.
    - state: `RiddleState`. After six days a new riddle begins; an episode holds four of them, and the
      first day of a fifth.

    Best with messages 1 - 3 (2/3)^6 + 3 (1/3)^6 = 0.741 a riddle: whenever all have been there, one
    knows at once. Best without 0.481: whoever is in the room on the last day tells.
    Differences from the publication: agents are told whether they were in the room before, and the
    day, for which recurrent agents would have memory; telling is a probability, so that it can be
    learned by gradient; riddles follow one another.
    """

    horizon: int = HORIZON

    name: ClassVar[str] = "toy_switch_riddle"
    num_agents: ClassVar[int] = 3
    moving_fields: ClassVar[tuple[str, ...]] = ("day", "room", "yesterday", "been", "waiting")

    @property
    def observation_size(self) -> int:
        return 3 + DAYS + 1 + 3

    def initial_state(self, key: PRNGKeyArray) -> RiddleState:
        state_key, room_key = jax.random.split(key)
        return RiddleState(
            key=state_key,
            step_count=jnp.zeros((), jnp.int32),
            day=jnp.zeros((), jnp.int32),
            room=jax.random.randint(room_key, (), 0, 3, jnp.int32),
            yesterday=jnp.full((), NOBODY, jnp.int32),
            been=jnp.zeros(3, float),
            waiting=jnp.ones((), float),
        )

    def advance(self, state: RiddleState, action: Float[Array, "3 2"]) -> RiddleState:
        fresh = self.initial_state(state.key)
        later = RiddleState(
            key=fresh.key,
            step_count=state.step_count,
            day=state.day + 1,
            room=fresh.room,
            yesterday=state.room,
            been=self._been(state),
            waiting=state.waiting * (1 - self._tells(state, action)),
        )
        over = later.day == DAYS
        return jax.tree.map(lambda new, old: jnp.where(over, new, old), fresh, later)

    def observe(self, state: RiddleState) -> Float[Array, "3 13"]:
        room, yesterday = (
            jax.nn.one_hot(who, 3, dtype=float) for who in (state.room, state.yesterday)
        )
        known = jnp.concatenate(
            [jax.nn.one_hot(state.day, DAYS, dtype=float), jnp.ravel(state.waiting)]
        )
        own = jnp.stack([room, yesterday, state.been], axis=-1)
        return jnp.concatenate(
            [own, jnp.broadcast_to(known, (3, DAYS + 1)), jnp.eye(3, dtype=float)], axis=-1
        )

    def reward(
        self, state: RiddleState, action: Float[Array, "3 2"], next_state: RiddleState
    ) -> Float[Array, ""]:
        del next_state
        right = 2 * jnp.min(self._been(state)) - 1
        return state.waiting * self._tells(state, action) * right

    def right_edges(self, state: RiddleState) -> Float[Array, "3 3"]:
        """From who was in the room yesterday to who is there today; none to oneself."""
        return self.right_edges_seen(self.observe(state))

    def right_edges_seen(
        self, observation: Float[Array, "*batch 3 13"]
    ) -> Float[Array, "*batch 3 3"]:
        """Who was there yesterday knows, and who is there today."""
        edge = observation[..., :, None, 0] * observation[..., None, :, 1]
        return edge * (1 - jnp.eye(3, dtype=edge.dtype))

    def scene(self, states: Any, actions: Float[np.ndarray, "M 3 2"] | None = None) -> Scene:
        """The prisoners, a ring around who is in the room, and what each would tell."""
        room = np.asarray(states.room)
        toy = standing(3, {0: np.zeros((len(room), 2))}, actions)
        home = np.stack([agent.track for agent in toy.discs[:3]])
        track = home[room, np.arange(len(room))]
        ring = Disc("room", track, HOME_RADIUS + 0.05, GREY, Fill.RING)
        return Scene(toy.half_width, (*toy.discs[:3], ring), toy.claims)

    def _been(self, state: RiddleState) -> Float[Array, " 3"]:
        """1 for who was in the room up to today."""
        return jnp.maximum(state.been, jax.nn.one_hot(state.room, 3, dtype=float))

    def _tells(self, state: RiddleState, action: Float[Array, "3 2"]) -> Float[Array, ""]:
        room = jax.nn.one_hot(state.room, 3, dtype=float)
        return (1 + jnp.sum(room * action[:, 0])) / 2
