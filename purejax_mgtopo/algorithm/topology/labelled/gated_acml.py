"""Gated-ACML (Mao et al. 2020, arXiv 1903.05561 and 1912.05304): agents send the messages that are worth enough."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import ClassVar

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from purejax_mgtopo.algorithm.edges import columns
from purejax_mgtopo.algorithm.networks import MLP, apply
from purejax_mgtopo.algorithm.part import Announced, Context, Learned, Moment
from purejax_mgtopo.algorithm.topology.gates import EdgeGates
from purejax_mgtopo.algorithm.topology.labelled.labels import cross_entropy, worth
from purejax_mgtopo.algorithm.types import Gates, PyTree, Seen, Sizes, Trajectory
from purejax_mgtopo.config import Experiment

RATE = 0.05
"""How far each episode's quantile moves the threshold."""


@flax.struct.dataclass
class PruningState:
    """The gate, RMSprop's nu, the threshold T, and whether all gates are still forced open."""

    gates: PyTree
    nu: PyTree
    threshold: Float[Array, ""]
    forced: Float[Array, ""]


class PrunedMessages(EdgeGates):
    """``p_i = sigma(f(o_i))``, one network for all agents: agent i sends to all where ``p_i > 0.5``, else to nobody.

    The label is ``1[dQ_i > T]``: dQ_i is by how much the critic's value falls when i's message is held back and all
    others' gates stay as they were. T follows the quantile of each newest episode at which half of the messages are to
    be pruned. The gate learns by cross-entropy alone. In the first fifth of training, until dQ means something, all
    send. Difference from the original: both branches come from the team's critic.
    """

    measures: ClassVar[Announced] = {
        "label_rate": "share of messages that are worth more than the threshold, and are labelled so",
        "label_loss": "cross-entropy between the gate and its labels, mean over steps, sum over agents",
        "message_worth": "by how much the critic's value falls without an agent's message, mean over agents",
        "threshold": "what a message has to be worth to be labelled as one to send",
    }

    def __init__(self, experiment: Experiment, sizes: Sizes) -> None:
        super().__init__(experiment, sizes)
        self.pruning = experiment.member.gated_acml
        self.scheduled = 0 < self.pruning.open_share < 1
        self.tape_shape = (0,)
        self._gate = MLP((experiment.learner.hidden, experiment.learner.hidden, 1))

    def init(self, key: Key[Array, ""]) -> PruningState:
        """A fresh gate, forced open."""
        gates = self._gate.init(key, jnp.zeros(self.sizes.observation))
        nothing = jax.tree.map(jnp.zeros_like, gates)
        forced = 1.0 if self.pruning.open_share > 0 else 0.0
        return PruningState(gates, nothing, jnp.zeros(()), jnp.asarray(forced))

    def acting(self, state: PruningState) -> PyTree:
        """The gate, and whether it is forced open."""
        return {"gate": state.gates, "forced": state.forced}

    def remembered(self, state: PruningState) -> PyTree:
        """The threshold, and whether all gates are still forced open."""
        return state.threshold, state.forced

    def send_logits(
        self, gates: PyTree, observation: Float[Array, "*batch N O"]
    ) -> Float[Array, "*batch N"]:
        """Log-odds that each agent sends."""
        return apply(self._gate, gates, observation)[..., 0]

    def gate(self, acting: PyTree, seen: Seen, moment: Moment) -> tuple[Gates, PyTree]:
        """A threshold in every mode; data to whoever differentiates."""
        logits = jax.lax.stop_gradient(self.send_logits(acting["gate"], seen.observation))
        forced = jax.lax.stop_gradient(acting["forced"]) > 0.5
        probability = jnp.where(forced, 1.0, jax.nn.sigmoid(logits))
        sends = (probability > 0.5).astype(probability.dtype)
        return Gates(columns(probability), columns(sends)), moment.carry

    def learn(self, state: PruningState, trajectory: Trajectory, context: Context) -> Learned:
        """One RMSprop step down the cross-entropy on the newest trajectory."""
        gain = self.gain(trajectory, context)
        quantile = jnp.quantile(gain, self.pruning.pruning)
        first = context.clock.episode == 0
        moved = state.threshold + RATE * (quantile - state.threshold)
        threshold = jnp.where(first, quantile, moved)
        label = (gain > threshold).astype(gain.dtype)
        loss, slope = jax.value_and_grad(self.loss)(state.gates, trajectory.observation[:-1], label)
        gates, nu = self.ascend(state.gates, state.nu, jax.tree.map(jnp.negative, slope))
        forced = (context.progress < self.pruning.open_share).astype(state.forced.dtype)
        measures = {
            "label_rate": jnp.mean(label),
            "label_loss": loss,
            "message_worth": jnp.mean(gain),
            "threshold": threshold,
        }
        return Learned(
            replace(state, gates=gates, nu=nu, threshold=threshold, forced=forced), measures
        )

    def gain(self, trajectory: Trajectory, context: Context) -> Float[Array, "T N"]:
        """dQ of each agent's message at each step."""
        seen, gates = context.seen(trajectory), trajectory.gates

        @partial(jax.vmap, out_axes=-1)
        def of(sender: Float[Array, " N"]) -> Float[Array, " T"]:
            column = columns(sender)
            opened = replace(gates, decision=jnp.maximum(gates.decision, column))
            closed = replace(gates, decision=gates.decision * (1 - column))
            return worth(context, seen, opened) - worth(context, seen, closed)

        return of(jnp.eye(self.sizes.agents))

    def loss(
        self,
        gates: PyTree,
        observation: Float[Array, "T N O"],
        label: Float[Array, "T N"],
    ) -> Float[Array, ""]:
        """Mean over steps, sum over agents, of the cross-entropy."""
        logits = self.send_logits(gates, observation)
        return jnp.mean(jnp.sum(cross_entropy(logits, label), axis=-1))
