"""One agent follows one of the others, or two of them at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

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
    but 0, [N - 1] int. holder: the agent, of these, that agent 0 must follow, [] int; where there
    are two, both in ascending order, [2] int.
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
    kind: ClassVar[str] = "toy_follow_holder"
    least: ClassVar[int] = 3
    """Agents of the smallest team, which is the one that a name without a size means."""

    def __post_init__(self) -> None:
        if self.num_agents < self.least:
            raise ValueError(
                f"{self.kind} needs at least {self.least} agents, not N = {self.num_agents}"
            )
        super().__post_init__()

    @property
    def name(self) -> str:
        """The task's name, as `jax_mpe.make` reads it."""
        return self.kind + ("" if self.num_agents == self.least else f"_N{self.num_agents}")

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
            holder=self.draw_holder(holder_key),
        )

    def draw_holder(self, key: PRNGKeyArray) -> Int[Array, "*holders"]:
        """Whom agent 0 must follow in a round, as the state's `holder`."""
        return jax.random.randint(key, (), 1, self.num_agents, jnp.int32)

    def marked(self, holder: Int[Array, "*holders"], count: int) -> Float[Array, " {count}"]:
        """1 at each holder, 0 at all others of `count`."""
        return jax.nn.one_hot(holder, count, dtype=float)

    def followed(
        self, actions: Float[Array, "agents 2"], holder: Int[Array, "*holders"]
    ) -> Float[Array, "2"]:
        """What agent 0 must act as: the row of the holder, or the mean of both holders' rows."""
        return actions[holder]

    def advance(self, state: HolderState, action: Float[Array, "N 2"]) -> HolderState:
        del action
        return self.initial_state(state.key)

    def observe(self, state: HolderState) -> Float[Array, "N O"]:
        n = self.num_agents
        own = jax.nn.one_hot(state.corner, len(CORNERS), dtype=float)
        own = jnp.concatenate([jnp.zeros((1, len(CORNERS)), float), own])
        holder = jnp.tile(self.marked(state.holder - 1, n - 1), (n, 1))
        return jnp.concatenate([own, holder, jnp.eye(n, dtype=float)], axis=-1)

    def reward(
        self, state: HolderState, action: Float[Array, "N 2"], next_state: HolderState
    ) -> Float[Array, ""]:
        del next_state
        follow = squared(action[0] - self.followed(action, state.holder))
        return -follow - jnp.sum(squared(action[1:] - corner(state.corner)))

    def right_edges(self, state: HolderState) -> Float[Array, "N N"]:
        """The edge to agent 0 from each holder."""
        n = self.num_agents
        return jnp.zeros((n, n), float).at[0].set(self.marked(state.holder, n))

    def right_edges_seen(
        self, observation: Float[Array, "*batch N O"]
    ) -> Float[Array, "*batch N N"]:
        """Everybody sees who the holder is."""
        n = self.num_agents
        rows = jnp.zeros((*observation.shape[:-1], n), observation.dtype)
        return rows.at[..., 0, 1:].set(observation[..., 0, 4 : 3 + n])

    def scene(self, states: Any, actions: Float[np.ndarray, "M N 2"] | None = None) -> Scene:
        """Agents, their goals, a ring around each holder, and the places that agents claim."""
        places = np.asarray(CORNERS)[np.asarray(states.corner)]
        n = self.num_agents
        toy = standing(n, {i: places[:, i - 1] for i in range(1, n)}, actions)
        home = np.stack([agent.track for agent in toy.discs[:n]])
        rings = [
            Disc("holder", home[at, np.arange(len(at))], HOME_RADIUS + 0.05, GREY, Fill.RING)
            for at in np.asarray(states.holder).reshape(len(home[0]), -1).T
        ]
        return Scene(toy.half_width, (*toy.discs, *rings), toy.claims)


@dataclass(frozen=True)
class FollowTwo(FollowHolder):
    """Agent 0 must act as the mean of two holders, who are two different ones of the others; of
    three by default, and of N - 1 in `toy_follow_two_N<int>`. The rest are decoys.

    - observation: [N, 2 N + 3]. As in `FollowHolder`, with 1 at both holders among the others.
    - action: [N, 2] in [-1, 1].
    - reward: `-|a_0 - (a_h + a_k) / 2|^2 - |a_1 - c_1|^2 - ... - |a_{N-1} - c_{N-1}|^2` of the round
      that the action answers; a_h and a_k are the holders' *actions*.
    - state: `HolderState`; corners and the pair of holders are drawn uniformly and anew after each
      step.

    Best without messages -0.512 (agent 0 at the centre, each holder 4/5 of the way to its corner),
    with the edge from one holder -0.256 (only the other moves in), with both 0. A decoy's edge is
    worth nothing. While agent 0 hears nobody, an edge from one holder to the other is worth a little
    (-0.469, and both of these -0.427); `right_edges` does not count them.
    Truncated after 25 rounds. Source: ours; it has no counterpart in the particle worlds.
    """

    num_agents: int = 4

    kind: ClassVar[str] = "toy_follow_two"
    least: ClassVar[int] = 4

    def draw_holder(self, key: PRNGKeyArray) -> Int[Array, "2"]:
        pairs = np.stack(np.triu_indices(self.num_agents - 1, 1), axis=-1) + 1
        drawn = jax.random.randint(key, (), 0, len(pairs), jnp.int32)
        return jnp.asarray(pairs, jnp.int32)[drawn]

    def marked(self, holder: Int[Array, "2"], count: int) -> Float[Array, " {count}"]:
        return jnp.sum(jax.nn.one_hot(holder, count, dtype=float), axis=0)

    def followed(
        self, actions: Float[Array, "agents 2"], holder: Int[Array, "2"]
    ) -> Float[Array, "2"]:
        return jnp.mean(actions[holder], axis=0)
