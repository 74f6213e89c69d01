"""An advantage of its own for each edge: REINFORCE's, and a correction by a network that knows no agent's number."""

from __future__ import annotations

from typing import Any, ClassVar

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from purejax_mgtopo.algorithm.edges import drop_diagonal, fill_diagonal
from purejax_mgtopo.algorithm.networks import apply
from purejax_mgtopo.algorithm.part import Announced, Context
from purejax_mgtopo.algorithm.topology.baseline import Baseline, BaselineState
from purejax_mgtopo.algorithm.topology.edgewise.inputs import EdgeInputs
from purejax_mgtopo.algorithm.topology.edgewise.network import (
    FEATURES,
    EdgeNetwork,
    Memory,
    no_memory,
)
from purejax_mgtopo.algorithm.topology.gates import STEP_MEASURES, EdgeGates
from purejax_mgtopo.algorithm.types import PyTree, Sizes, Trajectory
from purejax_mgtopo.config import Experiment

LONGEST = 1_000
"""Gate updates of the longest lifetime that tells of its length; longer ones say the same."""


@flax.struct.dataclass
class Situation:
    """What a lifetime knows of itself."""

    progress: Float[Array, ""]
    """Share of it that is over."""
    length: Float[Array, ""] | float
    """Gate updates of the whole."""
    cost: Float[Array, ""] | float
    """Price of an open edge for one step."""


@flax.struct.dataclass
class Told:
    """What the network is told of an episode; data to whoever differentiates."""

    edges: Float[Array, "T N N F"]
    """What is known of each edge at each step: `EdgeInputs`, side by side."""
    advantage: Float[Array, " T"]
    """REINFORCE's, normalised."""

    @property
    def inputs(self) -> EdgeInputs:
        """What is known of each edge at each step, [T, N, N] each, by name."""
        return EdgeInputs.of(self.edges)


@flax.struct.dataclass
class Moving:
    """What a gate update moves, and derivatives pass through: theta_c, RMSprop's nu, and the lifetime's memory."""

    gates: PyTree
    nu: PyTree
    memory: Memory


@flax.struct.dataclass
class JudgedState:
    """What gate updates move, and the baseline."""

    moving: Moving
    baseline: BaselineState

    @property
    def gates(self) -> PyTree:
        """The gates' parameters theta_c."""
        return self.moving.gates


class Edgewise(EdgeGates):
    """The advantage of an edge is ``A-hat_ij = A + f_ij``, with REINFORCE's A and f by an `EdgeNetwork`.

    With f = 0, as at first, that is REINFORCE. What the network is told of edge i <- j at a step: `EdgeInputs`.
    """

    scheduled = True  # the network is told of progress and length
    measures: ClassVar[Announced] = STEP_MEASURES

    def __init__(self, experiment: Experiment, sizes: Sizes) -> None:
        super().__init__(experiment, sizes)
        self.baseline = Baseline(experiment, sizes)
        self._judge = EdgeNetwork()

    def init_eta(self, key: Key[Array, ""]) -> PyTree:
        """A network that corrects nothing yet."""
        x = jnp.zeros((1, self.sizes.agents, self.sizes.agents, FEATURES))
        return self._judge.init(key, x, jnp.zeros(1), no_memory())

    def network_of(self, state: Any) -> PyTree:
        """The parameters by which a seed's edges are judged: those that it has learned itself."""
        return state.eta

    def init_moving(self, key: Key[Array, ""]) -> Moving:
        """Fresh gates, and nothing to remember."""
        gates = self.init_gates(key)
        return Moving(gates, jax.tree.map(jnp.zeros_like, gates), no_memory())

    def remembered(self, state: JudgedState) -> PyTree:
        """The lifetime's memory, and the advantage's running moments."""
        return state.moving.memory, state.baseline.moments

    def situation(self, context: Context) -> Situation:
        """A training run is a lifetime with a gate update after each episode."""
        return Situation(context.progress, float(self.experiment.episodes), self.settings.edge_cost)

    def told(
        self,
        gates: PyTree,
        baseline: BaselineState,
        trajectory: Trajectory,
        reward: Float[Array, " T"],
        situation: Situation,
    ) -> tuple[Told, BaselineState]:
        """What there is to tell of an episode, and the baseline, whose moments now include it.

        Args:
            gates: theta_c, as they are.
            reward: what they learn from, less the price of edges.
        """
        advantage, after = self.baseline.advantage(baseline, trajectory, reward)
        values, raw = self.baseline.beyond(baseline.params, trajectory, reward)
        length = jnp.minimum(jnp.log(situation.length) / jnp.log(LONGEST), 1.0)
        probability = jax.nn.sigmoid(self.logits(gates, trajectory.observation[:-1]))
        edges = fill_diagonal(probability)

        def alike(steps: Float[Array, "*steps"] | float) -> Float[Array, "T N N"]:
            column = jnp.asarray(steps, edges.dtype)
            return jnp.broadcast_to(column[..., None, None], edges.shape)

        inputs = EdgeInputs(
            probability=edges,
            decision=fill_diagonal(trajectory.gates.decision),
            goes_on=alike(1 - _done(trajectory)),
            reward=alike(_signlog(reward)),
            raw_advantage=alike(_signlog(raw)),
            advantage=alike(advantage),
            value=alike(_signlog(values[:-1])),
            next_value=alike(_signlog(values[1:])),
            cost=alike(situation.cost),
            progress=alike(situation.progress),
            length=alike(length),
            share=alike(1 / self.sizes.agents),
        )
        return jax.lax.stop_gradient(Told(inputs.stacked(), advantage)), after

    def correction(
        self, eta: PyTree, memory: Memory, trajectory: Trajectory, told: Told
    ) -> tuple[Float[Array, "T N N-1"], Memory]:
        """How f judges the decisions of an episode, and what is remembered then."""
        f, memory = apply(self._judge, eta, told.edges, _done(trajectory), memory)
        return drop_diagonal(f), memory

    def inner_step(
        self,
        eta: PyTree,
        moving: Moving,
        trajectory: Trajectory,
        told: Told,
        stop_denominator: bool = False,
    ) -> tuple[Moving, Float[Array, "T N N-1"], PyTree]:
        """``theta_c(k-1) -> theta_c(k)`` by Eq. 5: what it moves, and the f and the gradient that moved it."""
        f, memory = self.correction(eta, moving.memory, trajectory, told)
        gradient = self.asked(moving.gates, trajectory, told.advantage[:, None, None] + f)
        gates, nu = self.ascend(moving.gates, moving.nu, gradient, stop_denominator)
        return Moving(gates, nu, memory), f, gradient

    def fitted(
        self, baseline: BaselineState, trajectories: Trajectory
    ) -> tuple[BaselineState, Float[Array, " K"]]:
        """The baseline after a step on each trajectory, in order, and its losses."""

        def fit(baseline: BaselineState, trajectory: Trajectory) -> tuple[BaselineState, Array]:
            return self.baseline.fit(baseline, trajectory, self.priced_reward(trajectory))

        return jax.lax.scan(fit, baseline, trajectories)


def _done(trajectory: Trajectory) -> Float[Array, " T"]:
    """A trajectory is one episode: it ends, if only by the clock, with its last step."""
    return jnp.zeros_like(trajectory.reward).at[-1].set(1.0)


def _signlog(x: Float[Array, " T"]) -> Float[Array, " T"]:
    return jnp.sign(x) * jnp.log1p(jnp.abs(x))
