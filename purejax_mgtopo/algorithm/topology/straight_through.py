"""Topology by straight-through Gumbel-softmax (Jang et al. 2016): binary forward, soft backward."""

from __future__ import annotations

from typing import ClassVar

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from purejax_mgtopo.algorithm.part import Announced, Context, Learned, Moment
from purejax_mgtopo.algorithm.topology.gates import (
    UPDATE_MEASURES,
    EdgeGates,
    tree_difference,
    tree_norm,
)
from purejax_mgtopo.algorithm.types import Edges, Gates, Mode, PyTree, Seen, Trajectory


@flax.struct.dataclass
class StraightThroughState:
    """theta_c and RMSprop's nu."""

    gates: PyTree
    nu: PyTree


class StraightThrough(EdgeGates):
    """The gates learn from the policy loss on replayed transitions, because a decision multiplies what is heard."""

    edges: ClassVar[Edges] = Edges.ANY  # a closed edge has a derivative too
    measures: ClassVar[Announced] = UPDATE_MEASURES

    def init(self, key: Key[Array, ""]) -> StraightThroughState:
        """Fresh gates."""
        gates = self.init_gates(key)
        return StraightThroughState(gates, jax.tree.map(jnp.zeros_like, gates))

    def gate(self, acting: PyTree, seen: Seen, moment: Moment) -> tuple[Gates, PyTree]:
        """Decisions equal in value to Bernoulli samples, with the derivative of ``sigma((l + L) / tau)``."""
        logits = self.logits(acting, seen.observation)
        return self.decided(logits, moment.tape, moment.mode), moment.carry

    def decided(
        self, logits: Float[Array, "*batch N N-1"], tape: Float[Array, "*batch N N-1"], mode: Mode
    ) -> Gates:
        """Edges drawn from their log-odds, each by a number of the tape; greedy ones without."""
        probability = jax.nn.sigmoid(jax.lax.stop_gradient(logits))
        if mode is Mode.EVAL_GREEDY:
            return Gates(probability, (probability > 0.5).astype(probability.dtype))
        tiny = jnp.finfo(tape.dtype).tiny
        noise = jnp.log(jnp.maximum(tape, tiny)) - jnp.log1p(-tape)
        soft = jax.nn.sigmoid((logits + noise) / self.settings.temperature)
        hard = (logits + noise > 0).astype(soft.dtype)
        return Gates(probability, hard + (soft - jax.lax.stop_gradient(soft)))

    def learn(
        self, state: StraightThroughState, trajectory: Trajectory, context: Context
    ) -> Learned:
        """One RMSprop step down the policy loss."""
        del trajectory
        ascent = jax.tree.map(jnp.negative, context.policy_gradient)
        gates, nu = self.ascend(state.gates, state.nu, ascent)
        measures = {
            "gate_gradient_norm": tree_norm(ascent),
            "gate_update_norm": tree_norm(tree_difference(gates, state.gates)),
        }
        return Learned(StraightThroughState(gates, nu), measures)
