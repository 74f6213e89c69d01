"""Acceptance toys: tiny tasks whose best return with and without messages is known exactly.

An episode is 25 independent rounds. A round is one step, scored on its own, after which everything
is drawn anew; learn them with a discount of 0. Optima are for one round.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from .scenario import HORIZON, Scenario

if TYPE_CHECKING:  # chex marks its decorator in a way that mypy does not follow
    from dataclasses import dataclass as pytree
else:
    from chex import dataclass as pytree

CORNERS = ((-0.8, -0.8), (-0.8, 0.8), (0.8, -0.8), (0.8, 0.8))


def corner(index: Int[Array, "*batch"]) -> Float[Array, "*batch 2"]:
    """Place of the corner with this index, in action units."""
    return jnp.asarray(CORNERS, float)[index]


def _squared(vector: Float[Array, "*batch 2"]) -> Float[Array, "*batch"]:
    return jnp.sum(vector * vector, axis=-1)


@pytree(frozen=True)
class GoalsState:
    """Attributes: key: draws the next round. step_count: rounds played, []. goal: corner of each
    agent, [2] int."""

    key: Array
    step_count: Array
    goal: Array


@dataclass(frozen=True)
class CrossedGoals(Scenario[GoalsState]):
    """Toy A: each agent knows the other's goal, not its own.

    - observation: [2, 7]. One-hot of the *partner's* goal corner (4), time / horizon (1), one-hot
      of the agent (2).
    - action: [2, 2] in [-1, 1], the place where the agent claims its goal is.
    - reward: `-1/2 sum_i |a_i - c_{g_i}|^2` of the round that the action answers, corners at
      (+-0.8, +-0.8).
    - state: `GoalsState`; both goals are drawn uniformly and anew after each step.

    Best without messages -1.28 (both stay at the centre), with messages 0. Truncated after 25
    rounds.
    Source: project specification, methods section 6 (latency 0); it has no counterpart in the
    particle worlds.
    """

    horizon: int = HORIZON

    name: ClassVar[str] = "toy_crossed_goals"
    num_agents: ClassVar[int] = 2
    moving_fields: ClassVar[tuple[str, ...]] = ("goal",)

    @property
    def observation_size(self) -> int:
        return 4 + 1 + 2

    def initial_state(self, key: PRNGKeyArray) -> GoalsState:
        state_key, goal_key = jax.random.split(key)
        goal = jax.random.randint(goal_key, (2,), 0, len(CORNERS), jnp.int32)
        return GoalsState(key=state_key, step_count=jnp.zeros((), jnp.int32), goal=goal)

    def advance(self, state: GoalsState, action: Float[Array, "2 2"]) -> GoalsState:
        del action
        return self.initial_state(state.key)

    def observe(self, state: GoalsState) -> Float[Array, "2 7"]:
        partner = jax.nn.one_hot(state.goal[::-1], len(CORNERS), dtype=float)
        return jnp.concatenate([partner, _time_and_identity(self, state.step_count)], axis=-1)

    def reward(
        self, state: GoalsState, action: Float[Array, "2 2"], next_state: GoalsState
    ) -> Float[Array, ""]:
        del next_state
        return -0.5 * jnp.sum(_squared(action - corner(state.goal)))


@dataclass(frozen=True)
class Public(CrossedGoals):
    """Toy C: as `CrossedGoals`, but everyone sees everything.

    - observation: [2, 11]. One-hot of the agent's own goal (4), of the partner's (4), time /
      horizon (1), one-hot of the agent (2).
    - action, reward, state: as in `CrossedGoals`.

    Best with or without messages 0, so a learned gate must not beat `none` by more than noise.
    Truncated after 25 rounds. Source: project specification, methods section 6; it has no
    counterpart in the particle worlds.
    """

    name: ClassVar[str] = "toy_public"

    @property
    def observation_size(self) -> int:
        return 4 + 4 + 1 + 2

    def observe(self, state: GoalsState) -> Float[Array, "2 11"]:
        own = jax.nn.one_hot(state.goal, len(CORNERS), dtype=float)
        rest = _time_and_identity(self, state.step_count)
        return jnp.concatenate([own, own[::-1], rest], axis=-1)


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
    """Toy B: agent 0 must copy the action of the holder, and only one of two agents is worth
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
        follow = _squared(action[0] - action[state.holder])
        return -follow - jnp.sum(_squared(action[1:] - corner(state.corner)))


def _time_and_identity(task: Scenario, step_count: Int[Array, ""]) -> Float[Array, "N 1+N"]:
    time = jnp.full((task.num_agents, 1), step_count.astype(float) / task.horizon)
    return jnp.concatenate([time, jnp.eye(task.num_agents, dtype=float)], axis=-1)
