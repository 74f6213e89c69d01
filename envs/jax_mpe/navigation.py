"""Cooperative navigation: N agents cover N landmarks without running into each other."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from .drawables import BLUE, GREEN, Fill, Scene, bodies
from .physics import Bodies, norm, safe_sqrt, squared_norm, world_step
from .scenario import HORIZON, Scenario, arena_half_width
from .views import nearest, relative_to_others

if TYPE_CHECKING:  # chex marks its decorator in a way that mypy does not follow
    from dataclasses import dataclass as pytree
else:
    from chex import dataclass as pytree

AGENT_RADIUS = 0.15
LANDMARK_RADIUS = 0.05  # only for pictures: landmarks do not collide
ACCELERATION = 5.0
COVERED = 0.1  # a landmark with an agent closer than this counts as covered (measure only)


@pytree(frozen=True)
class NavigationState:
    """Attributes: units are those of the arena; see `Navigation`.

    key: randomness for the next reset. step_count: steps taken, []. agent_position: [N, 2].
    agent_velocity: [N, 2]. landmark_position: [N, 2], constant within an episode.
    """

    key: Array
    step_count: Array
    agent_position: Array
    agent_velocity: Array
    landmark_position: Array


@dataclass(frozen=True)
class Navigation(Scenario[NavigationState]):
    """Cover every landmark and do not collide.

    - observation: `agents_view` [N, 4 + 2 l + 2 (N - 1)]. Agent i sees its velocity (2), its
      position (2), the l landmarks nearest to it, nearest first, ties by index (2 l), and the other
      agents by ascending index (2 (N - 1)); landmarks and agents relative to its own position.
    - action: [N, 2] in [-1, 1], a force of 5 times the action on a body of mass 1.
    - reward: of the state after the step; minus the sum over landmarks of the distance to the
      nearest agent, minus the number of colliding ordered pairs (distance below the sum of the
      radii; a colliding pair counts 2).
    - state: `NavigationState`. Agents start at rest; agents and landmarks are drawn uniformly in
      the arena, whose half-width is 1 for N = 3, 1.5 for N = 6, and sqrt(N / 3) otherwise (constant
      density; see `arena_half_width`). Nothing stops an agent from leaving the arena.

    An episode is truncated after 25 steps.

    Source: Zhang & Chen 2021 (section 5), whose task is that of PIC (Liu et al. 2019).
    How the dialects differ:

    - OpenAI's MPE (simple_spread, Lowe et al. 2017): the rewards of the agents are summed, so the
      distance term counts N times, and an agent counts as in contact with itself; agents see all
      landmarks in index order and a silent channel of 2 (N - 1) zeros.
    - PIC: its N = 6 version sums over agents and counts an agent as in contact with itself.
    - PettingZoo (mpe2) and JaxMARL: move by the old velocity *before* updating it; reward each
      agent with half of its own collisions plus half of the distance term; observe all landmarks
      and the silent channel. JaxMARL's episode has 26 steps and ends as a termination.
    """

    num_agents: int = 3
    num_visible: int = 3
    horizon: int = HORIZON

    others_seen: ClassVar[bool] = True
    moving_fields: ClassVar[tuple[str, ...]] = ("agent_position", "agent_velocity")
    fixed_fields: ClassVar[tuple[str, ...]] = ("landmark_position",)
    velocity_fields: ClassVar[tuple[tuple[str, str], ...]] = (("agent_velocity", "agent_position"),)

    def __post_init__(self) -> None:
        if self.num_agents < 2:
            raise ValueError(f"navigation needs at least 2 agents, not N = {self.num_agents}")
        if not 1 <= self.num_visible <= self.num_agents:
            raise ValueError(
                f"navigation with N = {self.num_agents} has {self.num_agents} landmarks, "
                f"so l must be from 1 to {self.num_agents}, not {self.num_visible}"
            )
        super().__post_init__()

    @property
    def name(self) -> str:
        """The task's name, as `jax_mpe.make` reads it."""
        return f"navigation_N{self.num_agents}_l{self.num_visible}"

    @property
    def observation_size(self) -> int:
        return 4 + 2 * self.num_visible + 2 * (self.num_agents - 1)

    @property
    def half_width(self) -> float:
        """Half of the side of the square in which agents and landmarks start."""
        return arena_half_width(self.num_agents)

    @cached_property
    def bodies(self) -> Bodies:
        """The agents; landmarks neither move nor collide, so the physics need not know them."""
        return Bodies.alike(self.num_agents, radius=AGENT_RADIUS)

    def initial_state(self, key: PRNGKeyArray) -> NavigationState:
        state_key, place_key = jax.random.split(key)
        width = self.half_width
        # One draw for all: under a batched automatic reset, random numbers are what costs most.
        place = jax.random.uniform(place_key, (2, self.num_agents, 2), minval=-width, maxval=width)
        return NavigationState(
            key=state_key,
            step_count=jnp.zeros((), jnp.int32),
            agent_position=place[0],
            agent_velocity=jnp.zeros((self.num_agents, 2), float),
            landmark_position=place[1],
        )

    def advance(self, state: NavigationState, action: Float[Array, "N 2"]) -> NavigationState:
        position, velocity = world_step(
            self.bodies, state.agent_position, state.agent_velocity, ACCELERATION * action
        )
        return replace(state, agent_position=position, agent_velocity=velocity)

    def observe(self, state: NavigationState) -> Float[Array, "N O"]:
        position = state.agent_position
        landmarks = state.landmark_position[None, :] - position[:, None]
        seen = nearest(landmarks, self.num_visible)
        rows = self.num_agents, -1
        return jnp.concatenate(
            [
                state.agent_velocity,
                position,
                seen.reshape(rows),
                relative_to_others(position).reshape(rows),
            ],
            axis=-1,
        )

    def reward(
        self, state: NavigationState, action: Float[Array, "N 2"], next_state: NavigationState
    ) -> Float[Array, ""]:
        del state, action
        return -jnp.sum(self._landmark_distance(next_state)) - self._collisions(next_state)

    def measures(self, state: NavigationState) -> dict[str, Float[Array, ""]]:
        """`landmarks_covered` (an agent within 0.1), and `collisions` (ordered pairs)."""
        covered = self._landmark_distance(state) < COVERED
        return {
            "landmarks_covered": jnp.sum(covered).astype(float),
            "collisions": self._collisions(state),
        }

    def scene(self, states: Any, actions: Float[np.ndarray, "M N 2"] | None = None) -> Scene:
        """Agents with the ways that they came, and landmarks."""
        del actions
        radii = self.bodies.radius
        agents = bodies(
            "agent", states.agent_position, radii, BLUE, Fill.PALE, numbered=True, trail=True
        )
        marks = [LANDMARK_RADIUS] * self.num_agents
        landmarks = bodies("landmark", states.landmark_position, marks, GREEN, Fill.SOLID)
        return Scene(self.half_width, agents + landmarks)

    def _landmark_distance(self, state: NavigationState) -> Float[Array, " L"]:
        """Distance from each landmark to the nearest agent."""
        squared = (squared_norm(state.landmark_position - agent) for agent in state.agent_position)
        return safe_sqrt(functools.reduce(jnp.minimum, squared))

    def _collisions(self, state: NavigationState) -> Float[Array, ""]:
        """Number of colliding ordered pairs."""
        position = state.agent_position
        near = (norm(position - agent) < 2 * AGENT_RADIUS for agent in position)
        touched = functools.reduce(jnp.add, (one.astype(jnp.int32) for one in near))
        return jnp.sum(touched - 1).astype(float)  # each is near itself
