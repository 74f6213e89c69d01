"""One agent follows one of two others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ..drawables import GREY, Disc, Fill, Scene
from ..scenario import HORIZON, Scenario
from .board import CORNERS, HOME_RADIUS, corner, squared, standing

if TYPE_CHECKING:  # chex marks its decorator in a way that mypy does not follow
    from dataclasses import dataclass as pytree
else:
    from chex import dataclass as pytree


@pytree(frozen=True)
class HolderState:
    """Attributes: key: draws the next round. step_count: rounds played, []. corner: of agents 1 and
    2, [2] int.
    holder: 1 or 2, the agent that agent 0 must follow, [] int.
    """

    key: Array
    step_count: Array
    corner: Array
    holder: Array


@dataclass(frozen=True)
class FollowHolder(Scenario[HolderState]):
    """Agent 0 must copy the action of the holder, and only one of two agents is worth
    listening to.

    - observation: [3, 9]. One-hot of the agent's own corner (4; zeros for agent 0), one-hot of the
      holder among agents 1 and 2 (2), one-hot of the agent (3).
    - action: [3, 2] in [-1, 1].
    - reward: `-|a_0 - a_h|^2 - |a_1 - c_1|^2 - |a_2 - c_2|^2` of the round that the action answers;
      a_h is the holder's *action*. The price of an edge is the learner's affair.
    - state: `HolderState`; corners and holder are drawn uniformly and anew after each step.

    Best without messages -0.64 (the holder meets agent 0 half-way to the centre), with messages 0.
    Truncated after 25 rounds. Source: project specification, methods section 6; it has no
    counterpart in the particle worlds.
    """

    horizon: int = HORIZON

    name: ClassVar[str] = "toy_follow_holder"
    num_agents: ClassVar[int] = 3
    moving_fields: ClassVar[tuple[str, ...]] = ("corner", "holder")

    @property
    def observation_size(self) -> int:
        return 4 + 2 + 3

    def initial_state(self, key: PRNGKeyArray) -> HolderState:
        state_key, corner_key, holder_key = jax.random.split(key, 3)
        return HolderState(
            key=state_key,
            step_count=jnp.zeros((), jnp.int32),
            corner=jax.random.randint(corner_key, (2,), 0, len(CORNERS), jnp.int32),
            holder=jax.random.randint(holder_key, (), 1, 3, jnp.int32),
        )

    def advance(self, state: HolderState, action: Float[Array, "3 2"]) -> HolderState:
        del action
        return self.initial_state(state.key)

    def observe(self, state: HolderState) -> Float[Array, "3 9"]:
        own = jax.nn.one_hot(state.corner, len(CORNERS), dtype=float)
        own = jnp.concatenate([jnp.zeros((1, len(CORNERS)), float), own])
        holder = jnp.tile(jax.nn.one_hot(state.holder - 1, 2, dtype=float), (3, 1))
        return jnp.concatenate([own, holder, jnp.eye(3, dtype=float)], axis=-1)

    def reward(
        self, state: HolderState, action: Float[Array, "3 2"], next_state: HolderState
    ) -> Float[Array, ""]:
        del next_state
        follow = squared(action[0] - action[state.holder])
        return -follow - jnp.sum(squared(action[1:] - corner(state.corner)))

    def right_edges(self, state: HolderState) -> Float[Array, "3 3"]:
        """The edge to agent 0 from the holder."""
        return jnp.zeros((3, 3), float).at[0].set(jax.nn.one_hot(state.holder, 3, dtype=float))

    def right_edges_seen(
        self, observation: Float[Array, "*batch 3 9"]
    ) -> Float[Array, "*batch 3 3"]:
        """Everybody sees who the holder is."""
        rows = jnp.zeros((*observation.shape[:-1], 3), observation.dtype)
        return rows.at[..., 0, 1:].set(observation[..., 0, 4:6])

    def scene(self, states: Any, actions: Float[np.ndarray, "M 3 2"] | None = None) -> Scene:
        """Agents, their goals, a ring around the holder, and the places that agents claim."""
        places = np.asarray(CORNERS)[np.asarray(states.corner)]
        toy = standing(3, {1: places[:, 0], 2: places[:, 1]}, actions)
        home = np.stack([agent.track for agent in toy.discs[:3]])
        holder = np.asarray(states.holder)
        track = home[holder, np.arange(len(holder))]
        ring = Disc("holder", track, HOME_RADIUS + 0.05, GREY, Fill.RING)
        return Scene(toy.half_width, (*toy.discs, ring), toy.claims)
