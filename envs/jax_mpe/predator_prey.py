"""Predator and prey: N slow predators hunt M faster prey, which a frozen policy moves."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, PRNGKeyArray
from jumanji.types import TimeStep

from .contract.shapes import checked, expect_state
from .drawables import BLUE, GREY, RED, Fill, Scene, bodies
from .physics import Bodies, norm, safe_sqrt, squared_norm, world_step
from .prey import SHIPPED, PreyPolicy, PreySizes, prey_policy
from .scenario import HORIZON, Observation, Scenario, arena_half_width
from .views import nearest, relative_to_others

if TYPE_CHECKING:  # chex marks its decorator in a way that mypy does not follow
    from dataclasses import dataclass as pytree
else:
    from chex import dataclass as pytree

PREDATOR_RADIUS, PREDATOR_ACCELERATION, PREDATOR_SPEED = 0.075, 3.0, 1.0
PREY_RADIUS, PREY_ACCELERATION, PREY_SPEED = 0.05, 4.0, 1.3
LANDMARK_RADIUS = 0.2
LANDMARK_MARGIN = 0.1  # landmarks are drawn this far inside the arena
CONTACT_REWARD = 10.0


@pytree(frozen=True)
class PredatorPreyState:
    """Attributes: units are those of the arena; see `PredatorPrey`.

    key: randomness for the next reset, and for a random prey. step_count: steps taken, [].
    agent_position: of the predators, [N, 2]. agent_velocity: [N, 2]. prey_position: [M, 2].
    prey_velocity: [M, 2]. landmark_position: [L, 2], constant within an episode.
    """

    key: Array
    step_count: Array
    agent_position: Array
    agent_velocity: Array
    prey_position: Array
    prey_velocity: Array
    landmark_position: Array


@dataclass(frozen=True)
class PredatorPrey(Scenario[PredatorPreyState]):
    """Catch the prey, which are faster.

    - observation: `agents_view` [N, 4 + 2 min(l, L) + 2 min(l, M) + 2 (N - 1)]. Predator i sees its
      velocity (2), its position (2), the l nearest landmarks and the l nearest prey (all of them
      where there are fewer), each nearest first, ties by index, and the other predators by
      ascending index (2 (N - 1)); all places but its own relative to its own. It does not see the
      prey's velocity.
    - action: [N, 2] in [-1, 1], a force of 3 times the action on a body of mass 1 (prey: 4 times).
    - reward: of the state after the step; 10 for each pair of predator and prey in contact
      (distance below the sum of the radii), minus 0.1 times the sum over predators of the distance
      to the nearest prey.
    - state: `PredatorPreyState`. All start at rest, drawn uniformly in the arena, landmarks 0.1
      inside it. Predators have radius 0.075 and speed limit 1, prey 0.05 and 1.3; landmarks have
      radius 0.2, never move and are obstacles. All collide with all. Nothing stops a body from
      leaving the arena; trained prey stay for their own good.

    Sizes: 1 prey and 2 landmarks for N = 3, 2 and 3 for N = 6; any other N has M = max(1, N // 3)
    prey and L = M + 1 landmarks. l is at most L, or N, the paper's word for all. Half-width 1 for
    N = 3, 1.5 for N = 6, and sqrt(N / 3) otherwise (constant density; see `arena_half_width`).

    Prey: `prey` says who moves them, deterministically unless it is `random`: `shipped`, networks
    trained against predators in self-play and frozen, which exist for N = 3 and N = 6; **any other
    N falls back to** `scripted`, a hand-made rule (`jax_mpe.prey.ScriptedPrey`); `random`; or the path
    of a prey file. Prey observe [M, 4 + 2 L + 2 (N + M - 1) + 2 (M - 1)]: own velocity and
    position, then by index and relative to it all landmarks, all predators, the other prey, and
    last the other prey's velocities.

    How hard the shipped prey are, in contacts an episode (95 % intervals): straight hunters, predators
    that head for the nearest prey at full force, touch that of N = 3 0.8 times (0.7 to 0.9), scripted
    prey 1.3 times (1.1 to 1.4) and random ones 10.1 times (9.7 to 10.6); those of N = 6 3.4 times (3.1 to
    3.7), scripted ones 1.4 (1.2 to 1.5) and random ones 18.7 (18.0 to 19.3). Predators trained for 5,000
    episodes (topology `none`, 8 seeds): N = 3, 1.5 (1.0 to 2.2), scripted 0.2 (0.2 to 0.3), random 5.0
    (4.5 to 5.5); N = 6, 1.6 (1.4 to 1.7), scripted 0.2 (0.1 to 0.2), random 1.2 (1.2 to 1.3): six
    predators of that age hunt little yet. The shipped prey are inside the arena for 98 % of their steps.
    The files' headers say more.

    An episode is truncated after 25 steps.

    Source: Zhang & Chen 2021 (section 5), whose task is that of PIC (Liu et al. 2019).
    How the dialects differ:

    - OpenAI's MPE (simple_tag, Lowe et al. 2017): prey learn too; each predator is rewarded for
      every contact, so a contact counts N times; no distance term unless asked for; predators see
      everything by index, and the prey's velocity.
    - PIC: velocity before position as here, but the contact radius of *all* pairs is twice a
      predator's (landmarks repel as if they were as small), the team reward is multiplied by N, and
      predators see the prey's velocity.
    - PettingZoo (mpe2) and JaxMARL: as OpenAI's, but move by the old velocity *before* updating it,
      in an arena of half-width 1 for every N. JaxMARL's episode has 26 steps and ends as a
      termination.
    """

    num_agents: int = 3
    num_visible: int = 3
    horizon: int = HORIZON
    prey: str = SHIPPED

    others_seen: ClassVar[bool] = True
    moving_fields: ClassVar[tuple[str, ...]] = (
        "agent_position",
        "agent_velocity",
        "prey_position",
        "prey_velocity",
    )
    fixed_fields: ClassVar[tuple[str, ...]] = ("landmark_position",)
    velocity_fields: ClassVar[tuple[tuple[str, str], ...]] = (
        ("agent_velocity", "agent_position"),
        ("prey_velocity", "prey_position"),
    )

    def __post_init__(self) -> None:
        if self.num_agents < 2:
            raise ValueError(f"predator_prey needs at least 2 agents, not N = {self.num_agents}")
        if self.num_visible < 1:
            raise ValueError(f"predator_prey needs l of at least 1, not {self.num_visible}")
        # Another l would be another name of one task. The paper calls what sees all by l = N.
        if self.num_visible > self.num_landmarks and self.num_visible != self.num_agents:
            raise ValueError(
                f"predator_prey with N = {self.num_agents} has {self.num_landmarks} landmarks, so l must be from 1 to "
                f"{self.num_landmarks}, not {self.num_visible}; to see all of them, "
                f"say predator_prey_N{self.num_agents}_l{self.num_agents}"
            )
        prey_policy(self.prey, self.sizes)  # now, so that a bad file is named early
        super().__post_init__()

    @property
    def name(self) -> str:
        """The task's name, as `jax_mpe.make` reads it."""
        own = f"predator_prey_N{self.num_agents}_l{self.num_visible}"
        return own if self.prey == SHIPPED else f"{own}@{self.prey}"

    @property
    def observation_size(self) -> int:
        seen = min(self.num_visible, self.num_landmarks) + min(self.num_visible, self.num_prey)
        return 4 + 2 * seen + 2 * (self.num_agents - 1)

    @property
    def num_prey(self) -> int:
        """Number M of prey."""
        return max(1, self.num_agents // 3)

    @property
    def num_landmarks(self) -> int:
        """Number L of landmarks."""
        return self.num_prey + 1

    @property
    def half_width(self) -> float:
        """Half of the side of the square in which predators and prey start."""
        return arena_half_width(self.num_agents)

    @property
    def sizes(self) -> PreySizes:
        """What a prey policy must fit."""
        return PreySizes(self.num_agents, self.num_prey, self.num_landmarks, self.half_width)

    @property
    def prey_policy(self) -> PreyPolicy:
        """The policy that moves the prey."""
        return prey_policy(self.prey, self.sizes)

    @cached_property
    def bodies(self) -> Bodies:
        """The predators, then the prey, then the landmarks."""
        predators = Bodies.alike(self.num_agents, radius=PREDATOR_RADIUS, max_speed=PREDATOR_SPEED)
        prey = Bodies.alike(self.num_prey, radius=PREY_RADIUS, max_speed=PREY_SPEED)
        landmarks = Bodies.alike(self.num_landmarks, radius=LANDMARK_RADIUS, movable=False)
        return predators + prey + landmarks

    def initial_state(self, key: PRNGKeyArray) -> PredatorPreyState:
        state_key, place_key = jax.random.split(key)
        counts = (self.num_agents, self.num_prey, self.num_landmarks)
        widths = (self.half_width, self.half_width, self.half_width - LANDMARK_MARGIN)
        # One draw for all: under a batched automatic reset, random numbers are what costs most.
        place = jax.random.uniform(place_key, (sum(counts), 2), float, minval=-1.0)
        place = place * jnp.asarray(np.repeat(widths, counts)[:, None], place.dtype)
        agents, prey, landmarks = jnp.split(place, np.cumsum(counts)[:-1])
        return PredatorPreyState(
            key=state_key,
            step_count=jnp.zeros((), jnp.int32),
            agent_position=agents,
            agent_velocity=jnp.zeros((self.num_agents, 2), float),
            prey_position=prey,
            prey_velocity=jnp.zeros((self.num_prey, 2), float),
            landmark_position=landmarks,
        )

    def advance(self, state: PredatorPreyState, action: Float[Array, "N 2"]) -> PredatorPreyState:
        policy, prey_key = self.prey_policy, state.key
        if policy.random:
            next_key, prey_key = jax.random.split(state.key)
            state = replace(state, key=next_key)
        prey_action = self._checked_prey(policy.act(self.observe_prey(state), prey_key))
        return self._move(state, action, prey_action)

    @functools.partial(jax.jit, static_argnums=0)
    def step_teams(
        self,
        state: PredatorPreyState,
        action: ArrayLike,
        prey_action: ArrayLike,
    ) -> tuple[PredatorPreyState, TimeStep[Observation]]:
        """Advance as `step` does, with prey moved by the caller; for training them.

        Args:
            state: where the episode stands.
            action: one row for each predator, [N, 2]; values beyond [-1, 1] are clipped.
            prey_action: likewise for each prey, [M, 2].

        Raises:
            ValueError: in one line, for actions of other shapes, or a state of another task.
        """
        expect_state(self.name, state, self.state_shapes)
        shape = (self.num_agents, 2)
        action = jnp.clip(checked(f"{self.name}: the joint action", action, shape), -1.0, 1.0)
        prey_action = jnp.clip(self._checked_prey(prey_action), -1.0, 1.0)
        return self._arrive(state, action, self._move(state, action, prey_action))

    def _checked_prey(self, action: ArrayLike) -> Float[Array, "M 2"]:
        return checked(f"{self.name}: the action of the prey", action, (self.num_prey, 2))

    def _move(
        self,
        state: PredatorPreyState,
        action: Float[Array, "N 2"],
        prey_action: Float[Array, "M 2"],
    ) -> PredatorPreyState:
        still = jnp.zeros_like(state.landmark_position)
        position, velocity = world_step(
            self.bodies,
            jnp.concatenate([state.agent_position, state.prey_position, state.landmark_position]),
            jnp.concatenate([state.agent_velocity, state.prey_velocity, still]),
            jnp.concatenate(
                [PREDATOR_ACCELERATION * action, PREY_ACCELERATION * prey_action, still]
            ),
        )
        agents, prey = slice(0, self.num_agents), slice(self.num_agents, -self.num_landmarks)
        return replace(
            state,
            agent_position=position[agents],
            agent_velocity=velocity[agents],
            prey_position=position[prey],
            prey_velocity=velocity[prey],
        )

    def observe(self, state: PredatorPreyState) -> Float[Array, "N O"]:
        position = state.agent_position
        landmarks = state.landmark_position[None] - position[:, None]
        prey = state.prey_position[None] - position[:, None]
        rows = self.num_agents, -1
        return jnp.concatenate(
            [
                state.agent_velocity,
                position,
                nearest(landmarks, min(self.num_visible, self.num_landmarks)).reshape(rows),
                nearest(prey, min(self.num_visible, self.num_prey)).reshape(rows),
                relative_to_others(position).reshape(rows),
            ],
            axis=-1,
        )

    def observe_prey(self, state: PredatorPreyState) -> Float[Array, "M P"]:
        """What each prey sees in `state`; see the class.

        Raises:
            ValueError: in one line, for a state of another task.
        """
        expect_state(self.name, state, self.state_shapes)
        position, velocity = state.prey_position, state.prey_velocity
        rows = self.num_prey, -1
        # Relative velocities plus one's own: the others' velocities, without a gather.
        others_velocity = relative_to_others(velocity) + velocity[:, None]
        return jnp.concatenate(
            [
                velocity,
                position,
                (state.landmark_position[None] - position[:, None]).reshape(rows),
                (state.agent_position[None] - position[:, None]).reshape(rows),
                relative_to_others(position).reshape(self.num_prey, 2 * (self.num_prey - 1)),
                others_velocity.reshape(self.num_prey, 2 * (self.num_prey - 1)),
            ],
            axis=-1,
        )

    def reward(
        self,
        state: PredatorPreyState,
        action: Float[Array, "N 2"],
        next_state: PredatorPreyState,
    ) -> Float[Array, ""]:
        del state, action
        squared = (
            squared_norm(prey - next_state.agent_position) for prey in next_state.prey_position
        )
        nearest_prey = safe_sqrt(functools.reduce(jnp.minimum, squared))
        contacts = jnp.sum(self._touching(next_state)).astype(float)
        return CONTACT_REWARD * contacts - 0.1 * jnp.sum(nearest_prey)

    def measures(self, state: PredatorPreyState) -> dict[str, Float[Array, ""]]:
        """`contacts` (pairs of predator and prey), and `captures` (prey in contact with any)."""
        touching = self._touching(state)
        return {
            "contacts": jnp.sum(touching).astype(float),
            "captures": jnp.sum(jnp.any(touching, axis=0)).astype(float),
        }

    def scene(self, states: Any, actions: Float[np.ndarray, "M N 2"] | None = None) -> Scene:
        """Predators and prey with the ways that they came, and the obstacles."""
        del actions
        n, m = self.num_agents, self.num_agents + self.num_prey
        radii = self.bodies.radius
        predators = bodies(
            "predator", states.agent_position, radii[:n], BLUE, Fill.PALE, numbered=True, trail=True
        )
        prey = bodies("prey", states.prey_position, radii[n:m], RED, Fill.SOLID, trail=True)
        landmarks = bodies("obstacle", states.landmark_position, radii[m:], GREY, Fill.HATCHED)
        return Scene(self.half_width, predators + prey + landmarks)

    def _touching(self, state: PredatorPreyState) -> Bool[Array, "N M"]:
        apart = state.agent_position[:, None] - state.prey_position[None]
        return norm(apart) < PREDATOR_RADIUS + PREY_RADIUS
