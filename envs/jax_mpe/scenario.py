"""What all tasks share: the jumanji interface, the time limit, and compact snapshots of a state."""

from __future__ import annotations

import abc
import functools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, PRNGKeyArray
from jumanji import specs
from jumanji.env import Environment
from jumanji.types import StepType, TimeStep, restart
from numpy.typing import NDArray

from .contract.guard import Guarded, shapes_of
from .contract.shapes import checked, expect_shape, expect_state
from .drawables import BLUE, Fill, Scene, bodies

if TYPE_CHECKING:
    from matplotlib.animation import FuncAnimation

HORIZON = 25  # steps in an episode of every task of the paper

# The paper's tasks; these values do not follow one formula.
_PAPER_HALF_WIDTH = {3: 1.0, 6: 1.5}


class Observation(NamedTuple):
    """What the agents see.

    Attributes:
        agents_view: row i is the observation of agent i, [N, O].
        step_count: steps taken in this episode, [].
    """

    agents_view: Array
    step_count: Array


class Snapshot(NamedTuple):
    """The part of a state that observations depend on, as two flat vectors of floats.

    Attributes:
        moving: what changes within an episode, [D].
        fixed: what stays constant within an episode, [F].
    """

    moving: Array
    fixed: Array


StateT = TypeVar("StateT", bound=Any)


def arena_half_width(num_agents: int) -> float:
    """Half of the side of the square in which bodies start, in units of length.

    N = 3 and N = 6 are the paper's values, 1 and 1.5. Any other N keeps the density of agents that
    N = 3 has, hence sqrt(N / 3); note that this rule would give 1.41 rather than 1.5 for N = 6.
    """
    return _PAPER_HALF_WIDTH.get(num_agents, math.sqrt(num_agents / 3))


class Scenario(Guarded, Environment[StateT, specs.BoundedArray, Observation], Generic[StateT]):
    """A cooperative task for N agents with continuous actions and one team reward.

    A task is a frozen dataclass of hyper-parameters that derives from this class and fills in
    `initial_state`, `advance`, `observe` and `reward`, and lists in `moving_fields` and
    `fixed_fields` the fields of its state that observations depend on. Equal hyper-parameters make
    equal tasks, with equal hashes, so a task may be a static argument of `jax.jit`.

    Its methods see only what fits: another shape raises a ValueError in one line before (`Guarded`).
    """

    action_size: ClassVar[int] = 2
    moving_fields: ClassVar[tuple[str, ...]]
    fixed_fields: ClassVar[tuple[str, ...]] = ()
    others_seen: ClassVar[bool] = False
    """Whether observations end with where all other agents are, relative, by index."""
    velocity_fields: ClassVar[tuple[tuple[str, str], ...]] = ()
    """Velocities among the moving fields, each with the position that it moves: zero at first; at every step
    `position <- position + 0.1 velocity`, so that positions tell them."""

    def __post_init__(self) -> None:
        # jumanji builds the specs here, once; they contain arrays, which must not belong to a trace
        # when a task is made inside a jitted function.
        with jax.ensure_compile_time_eval():
            super().__init__()

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """The task's name, as `jax_mpe.make` reads it."""

    @property
    @abc.abstractmethod
    def num_agents(self) -> int:
        """Number N of agents."""

    @property
    @abc.abstractmethod
    def horizon(self) -> int:
        """Steps in an episode."""

    @property
    @abc.abstractmethod
    def observation_size(self) -> int:
        """Width O of one agent's observation."""

    @property
    def half_width(self) -> float:
        """Half of the side of the square in which bodies start; 1 unless a task says otherwise."""
        return 1.0

    @abc.abstractmethod
    def initial_state(self, key: PRNGKeyArray) -> StateT:
        """The state at the start of an episode: `step_count` 0, and a fresh `key` of its own."""

    @abc.abstractmethod
    def advance(self, state: StateT, action: Float[Array, "N 2"]) -> StateT:
        """The state after one step; `step_count` is counted by `step`, not here."""

    @abc.abstractmethod
    def observe(self, state: StateT) -> Float[Array, "N O"]:
        """What each agent sees in `state`."""

    @abc.abstractmethod
    def reward(
        self, state: StateT, action: Float[Array, "N 2"], next_state: StateT
    ) -> Float[Array, ""]:
        """Team reward of one step."""

    def measures(self, state: StateT) -> dict[str, Float[Array, ""]]:
        """Numbers that tell how well a state solves the task, by name; taken after each step.

        None unless the task defines some; the toys' returns say it all.
        """
        del state
        return {}

    def right_edges(self, state: StateT) -> Float[Array, "N N"] | None:
        """Who should hear whom in `state`, 1 at [i, j] where i should receive from j; None, in every
        state, of a task that does not know."""
        del state
        return None

    def right_edges_seen(
        self, observation: Float[Array, "*batch N O"]
    ) -> Float[Array, "*batch N N"] | None:
        """`right_edges`, told from what all agents observe together; None where it is not."""
        return None

    def scene(self, states: Any, actions: Float[np.ndarray, "M N 2"] | None = None) -> Scene:
        """What there is to see: here the agents, as discs of one size. A task with more overrides it.

        Args:
            states, actions: M states in one, and the steps from them, where these are worth seeing.

        States without an `agent_position` are drawn as agents in a circle, which shows who hears whom.
        """
        del actions
        radii = [0.05 * self.half_width] * self.num_agents
        places = getattr(states, "agent_position", None)
        if places is None:
            turns = 2 * np.pi * np.arange(self.num_agents) / self.num_agents
            circle = 0.7 * self.half_width * np.stack([np.sin(turns), np.cos(turns)], axis=-1)
            places = np.broadcast_to(circle, (len(states.step_count), *circle.shape))
        agents = bodies("agent", places, radii, BLUE, Fill.PALE, numbered=True, trail=True)
        return Scene(self.half_width, agents)

    # Compiled, so that a first call outside of any program costs one compilation, not one for each
    # operation; inside a program this changes nothing.
    @functools.partial(jax.jit, static_argnums=0)
    def reset(self, key: PRNGKeyArray) -> tuple[StateT, TimeStep[Observation]]:
        """Start an episode.

        Args:
            key: one random key, typed or raw; it is consumed.

        Returns:
            The state and its first time step: reward 0, discount 1.
        """
        state = self.initial_state(key)
        return state, restart(self._observation(state))

    @functools.partial(jax.jit, static_argnums=0)
    def step(self, state: StateT, action: ArrayLike) -> tuple[StateT, TimeStep[Observation]]:
        """Take one step.

        Args:
            state: where the episode stands.
            action: one row for each agent, [N, 2]; values beyond [-1, 1] are clipped.

        Raises:
            ValueError: in one line, for an action of another shape, or a state of another task.

        Returns:
            The next state and its time step. The time step that reaches the horizon is a
            truncation: `last()` is true and the discount stays 1, because these tasks never end by
            themselves.
        """
        expect_state(self.name, state, self.state_shapes)
        shape = (self.num_agents, self.action_size)
        action = jnp.clip(checked(f"{self.name}: the joint action", action, shape), -1.0, 1.0)
        return self._arrive(state, action, self.advance(state, action))

    def _arrive(
        self, state: StateT, action: Float[Array, "N 2"], advanced: StateT
    ) -> tuple[StateT, TimeStep[Observation]]:
        """Count the step that led from `state` to `advanced`, score it and observe."""
        next_state = advanced.replace(step_count=state.step_count + 1)
        kind: Any = jnp.where(next_state.step_count >= self.horizon, StepType.LAST, StepType.MID)
        timestep = TimeStep(
            step_type=kind,
            reward=self.reward(state, action, next_state),
            discount=jnp.ones((), float),
            observation=self._observation(next_state),
            extras={},
        )
        return next_state, timestep

    def compress(self, state: StateT) -> Snapshot:
        """The few floats from which `restore` rebuilds everything that `observe` reads.

        Raises:
            ValueError: in one line, for a state of another task.
        """
        return Snapshot(
            moving=_flatten([getattr(state, field) for field in self.moving_fields]),
            fixed=_flatten([getattr(state, field) for field in self.fixed_fields]),
        )

    def restore(self, snapshot: Snapshot, step_count: Int[Array, ""] | int) -> StateT:
        """Rebuild a state of which `observe` sees exactly what it saw of the original.

        The key is a constant one: stepping a restored state does not continue the original's
        randomness.

        Args:
            snapshot: from `compress`.
            step_count: of the original state.

        Raises:
            ValueError: in one line, for a snapshot of another task, or several at once.
        """
        key = jax.random.key(0)
        shapes = jax.eval_shape(self.initial_state, key)
        expect_shape(f"{self.name}: step_count", step_count, ())
        fields = dict(key=key, step_count=jnp.asarray(step_count, jnp.int32))
        for what, vector in snapshot._asdict().items():
            names = getattr(self, f"{what}_fields")
            size = sum(getattr(shapes, name).size for name in names)
            expect_shape(f"{self.name}: the snapshot's {what} part", vector, (size,))
            start = 0
            for name in names:
                shape = getattr(shapes, name)
                part = vector[start : start + shape.size].reshape(shape.shape)
                # Whole numbers such as a goal's index are stored as floats, exactly.
                whole = jnp.issubdtype(shape.dtype, jnp.integer)
                fields[name] = part.astype(shape.dtype) if whole else part
                start += shape.size
        return type(shapes)(**fields)

    def render(
        self, state: StateT, save_path: str | None = None, *, edges: Any = None, actions: Any = None
    ) -> NDArray[np.uint8]:
        """A picture of a state, without a window: jumanji's "rgb_array" mode.

        Args:
            save_path: where to write it as well, e.g. a .png; nowhere by default.
            edges: who hears whom, [N, N]; 1 at [i, j] is drawn as an arrow from j to i.
            actions: [N, 2]; drawn by the toys only.

        Returns:
            RGBA values, [height, width, 4].
        """
        from . import viewer  # only now: it takes matplotlib along

        figure = viewer.draw(self, viewer.Recording(state, edges, actions))
        if save_path is not None:
            viewer.save_picture(figure, save_path)
        return viewer.pixels(figure)

    def animate(
        self,
        states: Any,
        interval: int = 200,
        save_path: str | None = None,
        *,
        edges: Any = None,
        actions: Any = None,
        rewards: Any = None,
    ) -> FuncAnimation:
        """An animation of consecutive states, without a window.

        Args:
            states: M states in a sequence, or in one state whose leaves have a leading axis.
            interval: milliseconds between two of them.
            save_path: where to write it as well, a .gif, or an .mp4 if ffmpeg is there.
            edges: who hears whom in the step from each state, [M or M - 1, N, N]; see `render`.
            actions: of that step, [M or M - 1, N, 2]; drawn by the toys only.
            rewards: of that step, [M or M - 1].

        Raises:
            ValueError: in one line, for arguments that do not fit each other, or a `save_path` that
                cannot be written.
        """
        from . import viewer

        recording = viewer.Recording(states, edges, actions, rewards)
        animation = viewer.animate(self, recording, interval)
        if save_path is not None:
            viewer.save_animation(animation, save_path, interval)
        return animation

    @functools.cached_property
    def state_shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every array of a state but its key."""
        return shapes_of(self.initial_state)

    @functools.cached_property
    def observation_spec(self) -> specs.Spec[Observation]:
        """Specification of `Observation`."""
        return specs.Spec(
            Observation,
            "ObservationSpec",
            agents_view=specs.Array((self.num_agents, self.observation_size), float, "agents_view"),
            step_count=specs.BoundedArray((), jnp.int32, 0, self.horizon, "step_count"),
        )

    @functools.cached_property
    def action_spec(self) -> specs.BoundedArray:
        """Specification of the joint action."""
        return specs.BoundedArray((self.num_agents, self.action_size), float, -1.0, 1.0, "action")

    def _observation(self, state: StateT) -> Observation:
        return Observation(agents_view=self.observe(state), step_count=state.step_count)


def _flatten(arrays: Sequence[Array]) -> Float[Array, " D"]:
    if not arrays:
        return jnp.zeros((0,), float)
    return jnp.concatenate([jnp.ravel(array).astype(float) for array in arrays])
