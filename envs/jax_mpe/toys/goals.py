"""Toys A and C: each of two agents names its goal, which the other knows, at once or late, or both know."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ..drawables import Scene
from ..scenario import HORIZON, Scenario
from .board import CORNERS, corner, squared, standing

if TYPE_CHECKING:  # chex marks its decorator in a way that mypy does not follow
    from dataclasses import dataclass as pytree
else:
    from chex import dataclass as pytree


@pytree(frozen=True)
class GoalsState:
    """Attributes: key: draws the next round. step_count: rounds played, []. goal: corner of each
    agent, [2] int."""

    key: Array
    step_count: Array
    goal: Array


@dataclass(frozen=True)
class CrossedGoals(Scenario[GoalsState]):
    """Each agent knows the other's goal, not its own.

    - observation: [2, 7]. One-hot of the *partner's* goal corner (4), time / horizon (1), one-hot
      of the agent (2).
    - action: [2, 2] in [-1, 1], the place where the agent claims its goal is.
    - reward: `-1/2 sum_i |a_i - c_{g_i}|^2` of the round that the action answers, corners at
      (+-0.8, +-0.8).
    - state: `GoalsState`; both goals are drawn uniformly and anew after each step.

    Best without messages -1.28 (both stay at the centre), with messages 0. Truncated after 25
    rounds.
    Source: ours, for messages that arrive at once; it has no counterpart in the particle worlds.
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
        return -0.5 * jnp.sum(squared(action - corner(state.goal)))

    def scene(self, states: Any, actions: Float[np.ndarray, "M 2 2"] | None = None) -> Scene:
        """Agents, their goals, and where they claim that these are."""
        places = np.asarray(CORNERS)[np.asarray(states.goal)]
        return standing(2, {0: places[:, 0], 1: places[:, 1]}, actions)


@dataclass(frozen=True)
class LateGoals(CrossedGoals):
    """Each agent knows the other's goal, not its own, and a round takes two steps, of which the second
    is scored: time for messages that arrive in the next step.

    - observation: [2, 8]. As in `CrossedGoals`, and 1 in the second step of a round.
    - action, state: as in `CrossedGoals`; goals are drawn anew after each second step.
    - reward: as in `CrossedGoals` for the second step, 0 for the first.

    An episode holds twelve rounds, and the first step of a thirteenth. Best round without messages
    -1.28, with messages 0; learn it with a discount that covers two steps. Source: ours;
    it has no counterpart in the particle worlds.
    """

    name: ClassVar[str] = "toy_late_goals"

    @property
    def observation_size(self) -> int:
        return 4 + 1 + 2 + 1

    def advance(self, state: GoalsState, action: Float[Array, "2 2"]) -> GoalsState:
        fresh = super().advance(state, action)
        goal = jnp.where(_second(state), fresh.goal, state.goal)
        return GoalsState(key=fresh.key, step_count=fresh.step_count, goal=goal)

    def observe(self, state: GoalsState) -> Float[Array, "2 8"]:
        second = jnp.full((2, 1), _second(state), float)
        return jnp.concatenate([super().observe(state), second], axis=-1)

    def reward(
        self, state: GoalsState, action: Float[Array, "2 2"], next_state: GoalsState
    ) -> Float[Array, ""]:
        return jnp.where(_second(state), super().reward(state, action, next_state), 0.0)


def _second(state: GoalsState) -> Array:
    return state.step_count % 2 == 1


@dataclass(frozen=True)
class Public(CrossedGoals):
    """Each agent knows both goals, so that nothing is left to say.

    - observation: [2, 11]. One-hot of the agent's own goal (4), of the partner's (4), time /
      horizon (1), one-hot of the agent (2).
    - action, reward, state: as in `CrossedGoals`.

    Best with or without messages 0, so a learned gate must not beat `none` by more than noise.
    Truncated after 25 rounds. Source: ours; it has no counterpart in the particle worlds.
    """

    name: ClassVar[str] = "toy_public"

    @property
    def observation_size(self) -> int:
        return 4 + 4 + 1 + 2

    def observe(self, state: GoalsState) -> Float[Array, "2 11"]:
        own = jax.nn.one_hot(state.goal, len(CORNERS), dtype=float)
        rest = _time_and_identity(self, state.step_count)
        return jnp.concatenate([own, own[::-1], rest], axis=-1)


def _time_and_identity(task: Scenario, step_count: Int[Array, ""]) -> Float[Array, "N 1+N"]:
    time = jnp.full((task.num_agents, 1), step_count.astype(float) / task.horizon)
    return jnp.concatenate([time, jnp.eye(task.num_agents, dtype=float)], axis=-1)
