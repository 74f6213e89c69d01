"""Topology by straight-through Gumbel-softmax (Jang et al. 2016): binary forward, soft backward."""

from __future__ import annotations

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from purejax_mgtopo.algorithm.topology.gates import EdgeGates, tree_difference, tree_norm
from purejax_mgtopo.algorithm.topology.metrics import RuleMetrics
from purejax_mgtopo.algorithm.types import Gates, Mode, PyTree, Trajectory


@flax.struct.dataclass
class StraightThroughState:
    """theta_c and RMSprop's nu."""

    gates: PyTree
    nu: PyTree


class StraightThrough(EdgeGates):
    """The gates learn from the policy loss on replayed transitions, because a decision multiplies what is heard."""

    selective = False  # a closed edge has a derivative too

    def init(self, key: Key[Array, ""]) -> StraightThroughState:
        """Fresh gates."""
        gates = self.init_gates(key)
        return StraightThroughState(gates, jax.tree.map(jnp.zeros_like, gates))

    def gate(
        self,
        gates: PyTree,
        observation: Float[Array, "*batch N O"],
        feature: Float[Array, "*batch N F"],
        message: Float[Array, "*batch N M"],
        carry: PyTree,
        tape: Float[Array, "*batch N N-1"],
        mode: Mode,
    ) -> tuple[Gates, PyTree]:
        """Decisions equal in value to Bernoulli samples, with the derivative of ``sigma((l + L) / tau)``."""
        del feature, message
        logits = self.logits(gates, observation)
        probability = jax.nn.sigmoid(jax.lax.stop_gradient(logits))
        if mode is Mode.EVAL_GREEDY:
            return Gates(probability, (probability > 0.5).astype(probability.dtype)), carry
        tiny = jnp.finfo(tape.dtype).tiny
        noise = jnp.log(jnp.maximum(tape, tiny)) - jnp.log1p(-tape)
        soft = jax.nn.sigmoid((logits + noise) / self.settings.temperature)
        hard = (logits + noise > 0).astype(soft.dtype)
        return Gates(probability, hard + (soft - jax.lax.stop_gradient(soft))), carry

    def inner_update(
        self, state: StraightThroughState, trajectory: Trajectory, policy_gradient: PyTree
    ) -> tuple[StraightThroughState, RuleMetrics, tuple[()]]:
        """One RMSprop step down the policy loss."""
        del trajectory
        ascent = jax.tree.map(jnp.negative, policy_gradient)
        gates, nu = self.ascend(state.gates, state.nu, ascent)
        metrics = RuleMetrics(
            gate_gradient_norm=tree_norm(ascent),
            gate_update_norm=tree_norm(tree_difference(gates, state.gates)),
        )
        return StraightThroughState(gates, nu), metrics.filled(), ()

    def outer_update(
        self, steps: tuple[()], state: StraightThroughState, trajectories: Trajectory
    ) -> tuple[StraightThroughState, RuleMetrics]:
        """Nothing is learned over iterations."""
        del steps, trajectories
        return state, RuleMetrics().filled()
