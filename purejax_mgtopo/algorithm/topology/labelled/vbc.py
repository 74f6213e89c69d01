"""Request and reply of VBC (Zhang, Zhang & Lin 2019, arXiv 1909.02682): who is unsure asks, who has something to say
answers."""

from __future__ import annotations

from typing import ClassVar

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Key

from purejax_mgtopo.algorithm.edges import drop_diagonal
from purejax_mgtopo.algorithm.networks import MLP, init_per_agent, per_agent
from purejax_mgtopo.algorithm.part import Announced, Context, Learned, Moment, Rule, Shown
from purejax_mgtopo.algorithm.types import Edges, Gates, Mode, PyTree, Seen, Sizes, Trajectory
from purejax_mgtopo.config import Experiment

RATE = 0.05
"""How far each episode's medians move the thresholds."""
EXECUTION = (Mode.EVAL_SAMPLED, Mode.EVAL_GREEDY)


@flax.struct.dataclass
class ConfidenceState:
    """The local values, their optimiser, and both thresholds."""

    values: PyTree
    optimizer: PyTree
    unsure: Float[Array, ""]
    """delta_1: who is less sure than that asks."""
    telling: Float[Array, ""]
    """delta_2: whose message varies more than that answers."""


class RequestAndReply(Rule):
    """``G_ij = request_i reply_j`` in execution; in training everybody receives from everybody.

    i asks where the gap between the two best of its local values ``v_i(o_i)`` is below delta_1, j answers where the
    standard deviation of its message's components exceeds delta_2. The values are regressed to what the critic says of
    i's standing still or going at full force in one of the directions, all others acting as they did. ``aux`` is (who
    asks, who answers), [N] each. Differences from the original: local values are made up for it, as actions are
    continuous here, and both thresholds are running medians, as tasks differ in scale; released code leaves delta_2 at
    0, so that nobody is ever silenced, and wipes rows besides.
    """

    edges: ClassVar[Edges] = Edges.DATA
    measures: ClassVar[Announced] = {
        "confidence_loss": "squared error of the local values, mean over steps and ways to go, sum over agents",
        "value_gap": "gap between the two best of an agent's local values, mean over agents",
        "message_deviation": "standard deviation of a message's components, mean over messages",
        "request_rate": "share of steps in which the agent is unsure enough to ask, mean over agents",
        "reply_rate": "share of steps in which the agent's message varies enough to answer, mean over agents",
    }

    def __init__(self, experiment: Experiment, sizes: Sizes) -> None:
        super().__init__(experiment, sizes)
        self.shared = experiment.learner.share_parameters
        hidden = experiment.learner.hidden
        ways = np.concatenate(
            [np.zeros((1, sizes.action)), np.eye(sizes.action), -np.eye(sizes.action)]
        )
        self._ways = ways.astype(np.float32)
        self._values = MLP((hidden, hidden, len(ways)))
        self._adam = optax.adam(experiment.learner.policy_learning_rate)

    def init(self, key: Key[Array, ""]) -> ConfidenceState:
        """Fresh values, and thresholds at zero."""

        def one(agent_key: Key[Array, ""]) -> PyTree:
            return self._values.init(agent_key, jnp.zeros(self.sizes.observation))

        values = init_per_agent(one, key, self.sizes.agents, self.shared)
        return ConfidenceState(values, self._adam.init(values), jnp.zeros(()), jnp.zeros(()))

    def acting(self, state: ConfidenceState) -> PyTree:
        """Values and thresholds."""
        return {"values": state.values, "unsure": state.unsure, "telling": state.telling}

    def remembered(self, state: ConfidenceState) -> PyTree:
        """Both thresholds."""
        return state.unsure, state.telling

    def asked(self, values: PyTree, observation: Float[Array, "*batch N O"]) -> Array:
        """v, of each way to go."""
        return per_agent(self._values.apply, self.shared)(values, observation)

    def gap(
        self, values: PyTree, observation: Float[Array, "*batch N O"]
    ) -> Float[Array, "*batch N"]:
        """How much better the best way is than the second."""
        best = jnp.sort(self.asked(values, observation), axis=-1)
        return best[..., -1] - best[..., -2]

    def gate(self, acting: PyTree, seen: Seen, moment: Moment) -> tuple[Gates, PyTree]:
        """Everybody in training; requests that are answered in execution, with certainty."""
        acting, seen = jax.lax.stop_gradient((acting, seen))
        gap = self.gap(acting["values"], seen.observation)
        asks = (gap < acting["unsure"]).astype(gap.dtype)
        answers = (jnp.std(seen.delivered, axis=-1) > acting["telling"]).astype(gap.dtype)
        edges = drop_diagonal(asks[..., :, None] * answers[..., None, :])
        if moment.mode not in EXECUTION:
            edges = jnp.ones_like(edges)
        return Gates(edges, edges, aux=(asks, answers)), moment.carry

    def learn(self, state: ConfidenceState, trajectory: Trajectory, context: Context) -> Learned:
        """One Adam step of the values on the newest trajectory; the thresholds follow its medians."""
        observation = trajectory.observation[:-1]
        aim = self.aim(trajectory, context)
        loss, slope = jax.value_and_grad(self.loss)(state.values, observation, aim)
        updates, optimizer = self._adam.update(slope, state.optimizer)
        values = optax.apply_updates(state.values, updates)
        delivered = context.seen(trajectory).delivered
        gap, deviation = self.gap(state.values, observation), jnp.std(delivered, axis=-1)

        def followed(threshold: Array, found: Array) -> Array:
            median = jnp.median(found)
            moved = threshold + RATE * (median - threshold)
            return jnp.where(context.clock.episode == 0, median, moved)

        asks, answers = trajectory.gates.aux
        measures = {
            "confidence_loss": loss,
            "value_gap": jnp.mean(gap),
            "message_deviation": jnp.mean(deviation),
            "request_rate": jnp.mean(asks),
            "reply_rate": jnp.mean(answers),
        }
        thresholds = followed(state.unsure, gap), followed(state.telling, deviation)
        return Learned(ConfidenceState(values, optimizer, *thresholds), measures)

    def shown(self, params: PyTree, trajectory: Trajectory, seen: Seen) -> Shown:
        """Who asks, and who answers."""
        del params, seen
        asks, answers = trajectory.gates.aux
        return Shown(agents={"asks": asks, "answers": answers})

    def aim(self, trajectory: Trajectory, context: Context) -> Float[Array, "T N ways"]:
        """The critic's value of each agent's going each way, all others acting as they did; data."""
        observation, action = trajectory.observation[:-1], trajectory.action
        agents = jnp.eye(self.sizes.agents, dtype=action.dtype)

        def of(agent: Float[Array, " N"], way: Float[Array, " A"]) -> Float[Array, " T"]:
            mine = agent[:, None]
            return context.value(observation, action * (1 - mine) + mine * way)

        every = jax.vmap(
            jax.vmap(of, in_axes=(None, 0), out_axes=-1), in_axes=(0, None), out_axes=-2
        )
        return jax.lax.stop_gradient(every(agents, jnp.asarray(self._ways)))

    def loss(
        self,
        values: PyTree,
        observation: Float[Array, "T N O"],
        aim: Float[Array, "T N ways"],
    ) -> Float[Array, ""]:
        """Mean over steps and ways, sum over agents, of squared errors."""
        error = jnp.square(self.asked(values, observation) - aim)
        return jnp.mean(jnp.sum(error, axis=-2))
