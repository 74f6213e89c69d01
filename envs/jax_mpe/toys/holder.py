"""One agent follows one of the others."""

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
    """Attributes: key: draws the next round. step_count: rounds played, []. corner: of all agents
    but 0, [N - 1] int. holder: the agent, of these, that agent 0 must follow, [] int.
    """

    key: Array
    step_count: Array
    corner: Array
    holder: Array


@dataclass(frozen=True)
class FollowHolder(Scenario[HolderState]):
    """Agent 0 must copy the action of the holder, and only one of the others is worth
    listening to; of two by default, and of N - 1 in `toy_follow_holder_N<int>`.

    - observation: [N, 2 N + 3]. One-hot of the agent's own corner (4; zeros for agent 0), one-hot of
      the holder among the others (N - 1), one-hot of the agent (N).
    - action: [N, 2] in [-1, 1].
    - reward: `-|a_0 - a_h|^2 - |a_1 - c_1|^2 - ... - |a_{N-1} - c_{N-1}|^2` of the round that the
      action answers; a_h is the holder's *action*. The price of an edge is the learner's affair.
    - state: `HolderState`; corners and holder are drawn uniformly and anew after each step.

    Best without messages -0.64 (the holder meets agent 0 half-way to the centre), with messages 0.
    Truncated after 25 rounds. Source: ours; it has no counterpart in the particle worlds.
    """

    num_agents: int = 3
    horizon: int = HORIZON

    moving_fields: ClassVar[tuple[str, ...]] = ("corner", "holder")

    def __post_init__(self) -> None:
        if self.num_agents < 3:
            raise ValueError(
                f"toy_follow_holder needs at least 3 agents, not N = {self.num_agents}"
            )
        super().__post_init__()

    @property
    def name(self) -> str:
        """The task's name, as `jax_mpe.make` reads it."""
        return "toy_follow_holder" + ("" if self.num_agents == 3 else f"_N{self.num_agents}")

    @property
    def observation_size(self) -> int:
        return 4 + (self.num_agents - 1) + self.num_agents

    def initial_state(self, key: PRNGKeyArray) -> HolderState:
        state_key, corner_key, holder_key = jax.random.split(key, 3)
        return HolderState(
            key=state_key,
            step_count=jnp.zeros((), jnp.int32),
            corner=jax.random.randint(
                corner_key, (self.num_agents - 1,), 0, len(CORNERS), jnp.int32
            ),
            holder=jax.random.randint(holder_key, (), 1, self.num_agents, jnp.int32),
        )

    def advance(self, state: HolderState, action: Float[Array, "N 2"]) -> HolderState:
        del action
        return self.initial_state(state.key)

    def observe(self, state: HolderState) -> Float[Array, "N O"]:
        n = self.num_agents
        own = jax.nn.one_hot(state.corner, len(CORNERS), dtype=float)
        own = jnp.concatenate([jnp.zeros((1, len(CORNERS)), float), own])
        holder = jnp.tile(jax.nn.one_hot(state.holder - 1, n - 1, dtype=float), (n, 1))
        return jnp.concatenate([own, holder, jnp.eye(n, dtype=float)], axis=-1)

    def reward(
        self, state: HolderState, action: Float[Array, "N 2"], next_state: HolderState
    ) -> Float[Array, ""]:
        del next_state
        follow = squared(action[0] - action[state.holder])
        return -follow - jnp.sum(squared(action[1:] - corner(state.corner)))

    def right_edges(self, state: HolderState) -> Float[Array, "N N"]:
        """The edge to agent 0 from the holder."""
        n = self.num_agents
        return jnp.zeros((n, n), float).at[0].set(jax.nn.one_hot(state.holder, n, dtype=float))

    def right_edges_seen(
        self, observation: Float[Array, "*batch N O"]
    ) -> Float[Array, "*batch N N"]:
        """Everybody sees who the holder is."""
        n = self.num_agents
        rows = jnp.zeros((*observation.shape[:-1], n), observation.dtype)
        return rows.at[..., 0, 1:].set(observation[..., 0, 4 : 3 + n])

    def scene(self, states: Any, actions: Float[np.ndarray, "M N 2"] | None = None) -> Scene:
        """Agents, their goals, a ring around the holder, and the places that agents claim."""
        places = np.asarray(CORNERS)[np.asarray(states.corner)]
        n = self.num_agents
        toy = standing(n, {i: places[:, i - 1] for i in range(1, n)}, actions)
        home = np.stack([agent.track for agent in toy.discs[:n]])
        holder = np.asarray(states.holder)
        track = home[holder, np.arange(len(holder))]
        ring = Disc("holder", track, HOME_RADIUS + 0.05, GREY, Fill.RING)
        return Scene(toy.half_width, (*toy.discs, ring), toy.claims)
