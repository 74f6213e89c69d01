"""Cooperative push: N agents push one heavy ball to its target."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from .drawables import BLUE, GREEN, ORANGE, Fill, Scene, bodies
from .physics import Bodies, norm, safe_sqrt, squared_norm, world_step
from .scenario import HORIZON, Scenario
from .views import relative_to_others

if TYPE_CHECKING:  # chex marks its decorator in a way that mypy does not follow
    from dataclasses import dataclass as pytree
else:
    from chex import dataclass as pytree

ACCELERATION = 5.0
BALL_RADIUS = 0.1
TARGET_RADIUS = 0.05  # only for pictures: the target does not collide
BALL_MARGIN = 0.2  # ball and target are drawn this far inside the arena
APART = 0.8  # least distance from ball to target at the start
_DRAWS = 32  # candidates for the target's place

# The paper's tasks; these values do not follow one formula.
_PAPER_AGENT_RADIUS = {3: 0.06, 6: 0.04}
_PAPER_HALF_WIDTH = {3: 1.0, 6: 1.0}


@pytree(frozen=True)
class PushState:
    """Attributes: units are those of the arena; see `Push`.

    key: randomness for the next reset. step_count: steps taken, []. agent_position: [N, 2].
    agent_velocity: [N, 2]. ball_position: [2]. ball_velocity: [2]. target_position: [2], constant
    within an episode.
    """

    key: Array
    step_count: Array
    agent_position: Array
    agent_velocity: Array
    ball_position: Array
    ball_velocity: Array
    target_position: Array


@dataclass(frozen=True)
class Push(Scenario[PushState]):
    """Push the ball to its target.

    - observation: `agents_view` [N, 8 + 2 (N - 1)]. Agent i sees its velocity (2), its position
      (2), the ball (2), the target (2), and the other agents by ascending index (2 (N - 1)); all
      places but its own relative to its own.
    - action: [N, 2] in [-1, 1], a force of 5 times the action on a body of mass 1.
    - reward: of the state after the step; minus 2 times the distance from ball to target, minus 0.1
      times the distance from the ball to the nearest agent, plus 0.1 for each agent that touches
      the ball (distance below the sum of the radii).
    - state: `PushState`. Agents start at rest anywhere in the arena; ball (radius 0.1, at rest) and
      target are drawn at least 0.2 inside it and at least 0.8 apart. Agents and ball collide with
      each other, nobody collides with the target, and nothing stops a body from leaving the arena.

    Sizes: N = 3 has agents of radius 0.06 and a ball of mass 2, N = 6 has 0.04 and 4, both in an
    arena of half-width 1. Any other N keeps the density of agents that N = 3 has (half-width
    sqrt(N / 3), but at least 1, for ball and target need the room), its agents (radius 0.06), and
    its share of the ball for each agent (mass 2 N / 3).

    An episode is truncated after 25 steps.

    Hard to explore: uniformly random actions return -57.8 an episode (N = 3; 95 % interval of the mean
    over 4,000 episodes -58.2 to -57.5), doing nothing -57.7, and an action away from the ball changes
    little, and late. A critic with a discount of 0.95 must explain returns a hundred times larger than that
    change. Targets of five steps, two updates an episode and more exploration make the task learnable (the
    project's `runs/learner`), as does a discount of 0.8 with more exploration (`runs/push`).

    Source: Zhang & Chen 2021 (section 5), whose task is that of PIC (Liu et al. 2019).
    How the dialects differ:

    - PIC (simple_coop_push): the team reward is counted N times over; the contact radius of *all*
      pairs is twice an agent's, so there the ball repels as if it were as small as an agent;
      exploration and actions are five relaxed moves.
    - OpenAI's MPE, PettingZoo (mpe2) and JaxMARL have no such task: their simple_push is a duel
      without a ball. PettingZoo and JaxMARL move by the old velocity *before* updating it, and
      JaxMARL's episode has 26 steps and ends as a termination.
    """

    num_agents: int = 3
    horizon: int = HORIZON

    others_seen: ClassVar[bool] = True
    moving_fields: ClassVar[tuple[str, ...]] = (
        "agent_position",
        "agent_velocity",
        "ball_position",
        "ball_velocity",
    )
    fixed_fields: ClassVar[tuple[str, ...]] = ("target_position",)
    velocity_fields: ClassVar[tuple[tuple[str, str], ...]] = (
        ("agent_velocity", "agent_position"),
        ("ball_velocity", "ball_position"),
    )

    def __post_init__(self) -> None:
        if self.num_agents < 2:
            raise ValueError(f"push needs at least 2 agents, not N = {self.num_agents}")
        super().__post_init__()

    @property
    def name(self) -> str:
        """The task's name, as `jax_mpe.make` reads it."""
        return f"push_N{self.num_agents}"

    @property
    def observation_size(self) -> int:
        return 8 + 2 * (self.num_agents - 1)

    @property
    def half_width(self) -> float:
        """Half of the side of the square in which agents start."""
        density = max(1.0, (self.num_agents / 3) ** 0.5)
        return _PAPER_HALF_WIDTH.get(self.num_agents, density)

    @property
    def agent_radius(self) -> float:
        """Radius of an agent."""
        return _PAPER_AGENT_RADIUS.get(self.num_agents, 0.06)

    @property
    def ball_mass(self) -> float:
        """Mass of the ball, in agents' masses."""
        return 2 * self.num_agents / 3

    @cached_property
    def bodies(self) -> Bodies:
        """The agents, then the ball; the target does not collide, so the physics need not know it."""
        agents = Bodies.alike(self.num_agents, radius=self.agent_radius)
        return agents + Bodies.alike(1, radius=BALL_RADIUS, mass=self.ball_mass)

    def initial_state(self, key: PRNGKeyArray) -> PushState:
        state_key, place_key = jax.random.split(key)
        # One draw for all: under a batched automatic reset, random numbers are what costs most.
        place = jax.random.uniform(place_key, (self.num_agents + 1 + _DRAWS, 2), minval=-1.0)
        agents, ball, targets = jnp.split(place, (self.num_agents, self.num_agents + 1))
        inside = self.half_width - BALL_MARGIN
        ball = inside * ball[0]
        return PushState(
            key=state_key,
            step_count=jnp.zeros((), jnp.int32),
            agent_position=self.half_width * agents,
            agent_velocity=jnp.zeros((self.num_agents, 2), float),
            ball_position=ball,
            ball_velocity=jnp.zeros(2, float),
            target_position=_first_apart(ball, inside * targets),
        )

    def advance(self, state: PushState, action: Float[Array, "N 2"]) -> PushState:
        force = jnp.concatenate([ACCELERATION * action, jnp.zeros((1, 2), float)])
        position, velocity = world_step(
            self.bodies,
            jnp.concatenate([state.agent_position, state.ball_position[None]]),
            jnp.concatenate([state.agent_velocity, state.ball_velocity[None]]),
            force,
        )
        return replace(
            state,
            agent_position=position[:-1],
            agent_velocity=velocity[:-1],
            ball_position=position[-1],
            ball_velocity=velocity[-1],
        )

    def observe(self, state: PushState) -> Float[Array, "N O"]:
        position = state.agent_position
        return jnp.concatenate(
            [
                state.agent_velocity,
                position,
                state.ball_position - position,
                state.target_position - position,
                relative_to_others(position).reshape(self.num_agents, -1),
            ],
            axis=-1,
        )

    def reward(
        self, state: PushState, action: Float[Array, "N 2"], next_state: PushState
    ) -> Float[Array, ""]:
        del state, action
        squared = (squared_norm(next_state.ball_position - p) for p in next_state.agent_position)
        nearest = safe_sqrt(functools.reduce(jnp.minimum, squared))
        touches = jnp.sum(self._touches(next_state)).astype(float)
        return -2 * self._ball_distance(next_state) - 0.1 * nearest + 0.1 * touches

    def measures(self, state: PushState) -> dict[str, Float[Array, ""]]:
        """`ball_distance` (from ball to target), and `touches` (agents that touch the ball)."""
        return {
            "ball_distance": self._ball_distance(state),
            "touches": jnp.sum(self._touches(state)).astype(float),
        }

    def scene(self, states: Any, actions: Float[np.ndarray, "M N 2"] | None = None) -> Scene:
        """Agents and the ball with the ways that they came, and the target."""
        del actions
        *radii, ball_radius = self.bodies.radius
        agents = bodies(
            "agent", states.agent_position, radii, BLUE, Fill.PALE, numbered=True, trail=True
        )
        ball = bodies("ball", states.ball_position, [ball_radius], ORANGE, Fill.SOLID, trail=True)
        target = bodies("target", states.target_position, [TARGET_RADIUS], GREEN, Fill.CROSSED)
        return Scene(self.half_width, agents + ball + target)

    def _ball_distance(self, state: PushState) -> Float[Array, ""]:
        return norm(state.ball_position - state.target_position)

    def _touches(self, state: PushState) -> Bool[Array, " N"]:
        apart = norm(state.agent_position - state.ball_position)
        return apart < self.agent_radius + BALL_RADIUS


def _first_apart(ball: Float[Array, " 2"], candidates: Float[Array, "K 2"]) -> Float[Array, " 2"]:
    """The first candidate that is far enough from the ball.

    In the worst place, the very centre, all 32 are too near once in 2,300 times. The target then
    stands exactly 0.8 beside the ball, towards the centre and so inside the arena.
    """
    far = norm(candidates - ball) >= APART
    beside = ball - jnp.where(ball[0] > 0, APART, -APART) * jnp.array([1.0, 0.0])
    return jnp.where(jnp.any(far), candidates[jnp.argmax(far)], beside)
