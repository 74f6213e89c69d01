"""Reference: each agent must reach a landmark that one other agent alone can name."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from .drawables import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, SKY, Disc, Fill, Scene, bodies
from .physics import Bodies, norm, world_step
from .scenario import HORIZON, Scenario, arena_half_width

if TYPE_CHECKING:  # chex marks its decorator in a way that mypy does not follow
    from dataclasses import dataclass as pytree
else:
    from chex import dataclass as pytree

AGENT_RADIUS = 0.15
LANDMARK_RADIUS = 0.05  # only for pictures: nothing collides
ACCELERATION = 5.0
REACHED = 0.1  # an agent closer than this to its target has reached it (measure only)
_COLOURS = (BLUE, RED, PURPLE, GREEN, ORANGE, SKY)  # of agents and their targets, in turn


@pytree(frozen=True)
class ReferenceState:
    """Attributes: units are those of the arena; see `Reference`.

    key: randomness for the next reset. step_count: steps taken, []. agent_position: [N, 2].
    agent_velocity: [N, 2]. Constant within an episode: landmark_position: [N, 2]. holder: who knows
    the target of each agent, [N] int. target: the landmark that each agent must reach, [N] int.
    """

    key: Array
    step_count: Array
    agent_position: Array
    agent_velocity: Array
    landmark_position: Array
    holder: Array
    target: Array


@dataclass(frozen=True)
class Reference(Scenario[ReferenceState]):
    """Reach the landmark that one other agent knows to be yours.

    - observation: `agents_view` [N, 4 + 4 N]. Agent i sees its velocity (2), its position (2), all
      landmarks by index, relative to its own position (2 N), one-hot who holds its target (N), and
      one-hot the target that it holds for somebody else, without being told for whom (N). Agents do
      not see one another: bodies in view would be a channel of their own.
    - action: [N, 2] in [-1, 1], a force of 5 times the action on a body of mass 1.
    - reward: of the state after the step; minus the mean over agents of the distance to their own
      target.
    - state: `ReferenceState`. Agents start at rest; agents and landmarks are drawn uniformly in the
      arena, whose half-width is navigation's (see `arena_half_width`). Nothing collides, and nothing
      stops an agent from leaving the arena. Who holds whose target is a uniformly random
      derangement: a permutation in which nobody holds their own. Each target is drawn uniformly from
      the N landmarks, independently of all else, so that two agents may share one.

    With exactly the edge from its holder to each agent the task is solved, and every other edge is
    waste: `right_edges` tells them. The best returns without and with that knowledge are computed by
    `jax_mpe.experts.silent_optimum` and `knowing_optimum`.

    An episode is truncated after 25 steps.

    Source: ours. OpenAI's simple_reference (Lowe et al. 2017) is its ancestor: two agents that do
    not see one another either, three landmarks, a goal for each that the other knows, words as
    actions of their own, and a squared distance as reward.
    """

    num_agents: int = 3
    horizon: int = HORIZON

    moving_fields: ClassVar[tuple[str, ...]] = ("agent_position", "agent_velocity")
    fixed_fields: ClassVar[tuple[str, ...]] = ("landmark_position", "holder", "target")
    velocity_fields: ClassVar[tuple[tuple[str, str], ...]] = (("agent_velocity", "agent_position"),)

    def __post_init__(self) -> None:
        if self.num_agents < 2:
            raise ValueError(f"reference needs at least 2 agents, not N = {self.num_agents}")
        super().__post_init__()

    @property
    def name(self) -> str:
        """The task's name, as `jax_mpe.make` reads it."""
        return f"reference_N{self.num_agents}"

    @property
    def observation_size(self) -> int:
        return 4 + 4 * self.num_agents

    @property
    def half_width(self) -> float:
        """Half of the side of the square in which agents and landmarks start."""
        return arena_half_width(self.num_agents)

    @cached_property
    def bodies(self) -> Bodies:
        """The agents, which pass through one another; landmarks do not move."""
        return Bodies.alike(self.num_agents, radius=AGENT_RADIUS, collides=False)

    def initial_state(self, key: PRNGKeyArray) -> ReferenceState:
        state_key, place_key = jax.random.split(key)
        n = self.num_agents
        # One draw for all: under a batched automatic reset, random numbers are what costs most.
        draws = jax.random.uniform(place_key, (7, n), float)
        place = self.half_width * (2 * draws[:4] - 1)
        return ReferenceState(
            key=state_key,
            step_count=jnp.zeros((), jnp.int32),
            agent_position=place[:2].T,
            agent_velocity=jnp.zeros((n, 2), float),
            landmark_position=place[2:].T,
            holder=derangement(draws[4:6]),
            target=_whole(draws[6], n),
        )

    def advance(self, state: ReferenceState, action: Float[Array, "N 2"]) -> ReferenceState:
        position, velocity = world_step(
            self.bodies, state.agent_position, state.agent_velocity, ACCELERATION * action
        )
        return replace(state, agent_position=position, agent_velocity=velocity)

    def observe(self, state: ReferenceState) -> Float[Array, "N O"]:
        position = state.agent_position
        landmarks = state.landmark_position[None] - position[:, None]
        holder = self.right_edges(state)
        target = jax.nn.one_hot(state.target, self.num_agents, dtype=float)
        return jnp.concatenate(
            [
                state.agent_velocity,
                position,
                landmarks.reshape(self.num_agents, -1),
                holder,
                holder.T @ target,
            ],
            axis=-1,
        )

    def reward(
        self,
        state: ReferenceState,
        action: Float[Array, "N 2"],
        next_state: ReferenceState,
    ) -> Float[Array, ""]:
        del state, action
        return -jnp.mean(self._distance(next_state))

    def measures(self, state: ReferenceState) -> dict[str, Float[Array, ""]]:
        """`targets_reached`: agents within 0.1 of their target."""
        return {"targets_reached": jnp.sum(self._distance(state) < REACHED).astype(float)}

    def right_edges(self, state: ReferenceState) -> Float[Array, "N N"]:
        """The edge to each agent from the holder of its target."""
        return jax.nn.one_hot(state.holder, self.num_agents, dtype=float)

    def right_edges_seen(
        self, observation: Float[Array, "*batch N O"]
    ) -> Float[Array, "*batch N N"]:
        """Who holds an agent's target is what it sees before the target that it holds itself."""
        return observation[..., -2 * self.num_agents : -self.num_agents]

    def scene(self, states: Any, actions: Float[np.ndarray, "M N 2"] | None = None) -> Scene:
        """Agents with the ways that they came, landmarks, and targets in the colour of their agent."""
        del actions
        colours = [_COLOURS[i % len(_COLOURS)] for i in range(self.num_agents)]
        agents, places = np.asarray(states.agent_position), np.asarray(states.landmark_position)
        moments = np.arange(len(agents))
        discs = [
            Disc("agent", agents[:, i], AGENT_RADIUS, colour, Fill.PALE, str(i), True)
            for i, colour in enumerate(colours)
        ]
        marks = [LANDMARK_RADIUS] * self.num_agents
        discs += bodies("landmark", places, marks, GREY, Fill.SOLID)
        for i, colour in enumerate(colours):
            track = places[moments, np.asarray(states.target)[:, i]]
            # Of several sizes, for agents may share a target.
            discs.append(Disc("target", track, 0.07 + 0.02 * (i % 6), colour, Fill.RING))
        return Scene(self.half_width, tuple(discs))

    def _distance(self, state: ReferenceState) -> Float[Array, " N"]:
        """Distance from each agent to its target."""
        # A product with a one-hot, because a gather is slow in a batched program on a CPU.
        target = jax.nn.one_hot(state.target, self.num_agents, dtype=float)
        return norm(
            jnp.sum(target[..., None] * state.landmark_position, axis=1) - state.agent_position
        )


def derangement(draws: Float[Array, "2 N"]) -> Int[Array, " N"]:
    """A permutation without fixed points, each of them equally likely, from numbers in [0, 1).

    Martinez, Panholzer & Prodinger (2008), without their rejections: from the last place downwards,
    each open place joins the cycle of an open one below it, of which each is as likely; that cycle
    is then closed with the probability (u - 1) D(u - 2) / D(u), where u places are open and D counts
    derangements.
    """
    count = draws.shape[-1]
    numbers = [1, 0]  # of derangements
    for u in range(2, count + 1):
        numbers.append((u - 1) * (numbers[u - 1] + numbers[u - 2]))
    closing = np.array(
        [0, 0] + [(u - 1) * numbers[u - 2] / numbers[u] for u in range(2, count + 1)]
    )
    places = np.arange(count)

    def visit(k: Array, carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        order, closed, left = carry
        i = count - 1 - k
        below = ~closed & (places < i)
        rank = _whole(draws[0, i], jnp.maximum(left - 1, 1))
        partner = below & (jnp.cumsum(below) == rank + 1)
        acts = ~closed[i] & (left >= 2)
        swapped = jnp.where(partner, order[i], order)
        swapped = jnp.where(
            places == i, jnp.sum(jnp.where(partner, order, 0), dtype=jnp.int32), swapped
        )
        closes = acts & (draws[1, i] < jnp.asarray(closing, draws.dtype)[left])
        return (
            jnp.where(acts, swapped, order),
            closed | (closes & partner),
            left - acts - closes,
        )

    start = jnp.arange(count, dtype=jnp.int32), jnp.zeros(count, bool), jnp.int32(count)
    return jax.lax.fori_loop(0, count - 1, visit, start)[0]


def _whole(draw: Float[Array, "*batch"], below: Int[Array, ""] | int) -> Int[Array, "*batch"]:
    """Uniform whole numbers from 0, of uniform ones in [0, 1)."""
    # Rounding may lift the largest to `below` itself.
    return jnp.minimum(jnp.floor(draw * below).astype(jnp.int32), below - 1)
