"""Edge gates: the communication networks c^i that all learned rules of the paper share, and their optimiser."""

from __future__ import annotations

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from purejax_mgtopo.algorithm.networks import MLP, init_per_agent, per_agent
from purejax_mgtopo.algorithm.part import Moment, Rule
from purejax_mgtopo.algorithm.types import (
    Edges,
    Gates,
    Measures,
    Mode,
    PyTree,
    Seen,
    Sizes,
    Trajectory,
)
from purejax_mgtopo.config import Experiment, GateConfig

UPDATE_MEASURES = {
    "gate_gradient_norm": "norm of the gates' gradient",
    "gate_update_norm": "norm of the step that the gates took",
}
"""What a rule tells of one step of its gates, whatever moved them."""
STEP_MEASURES = {
    "advantage_norm": "root mean square of the advantage that the gates are updated by, eta's where it is learned",
    **UPDATE_MEASURES,
}
"""What a rule tells of one step of its gates that an advantage moved; see `step_measures`."""
BASELINE_MEASURES = {"baseline_loss": "mean squared error of the learned baseline V"}
"""What a rule with a baseline tells of an outer update."""
OUTER_MEASURES = {
    **BASELINE_MEASURES,
    "meta_objective": "the meta-objective of Eqs. 8 and 9 that eta ascends",
    "meta_gradient_norm": "norm of the meta-gradient before it is clipped",
    "eta_update_norm": "norm of the step that eta took",
    "reinforce_cosine": "cosine between the gates' step and that of REINFORCE: 1 where eta has found it again",
}
"""What a meta-learned rule tells of an outer update."""


class EdgeGates(Rule):
    """``c^i: o_i -> FC(H)-FC(H)-Linear(N-1)``, one Bernoulli for each possible sender (Table 2).

    Output k of agent i's network is for the k-th of the *other* agents, by ascending index. With one network for all
    (`share_parameters`, as in `meta_commnet`) the same output therefore means another sender for each receiver: output
    0 is agent 1 to agent 0 and agent 0 to all others. What tells receivers apart is what they observe, nothing else.
    """

    edges: ClassVar[Edges] = Edges.DATA

    def __init__(self, experiment: Experiment, sizes: Sizes) -> None:
        super().__init__(experiment, sizes)
        self.settings: GateConfig = experiment.gates
        self.shared = experiment.learner.share_parameters
        self.tape_shape = (sizes.agents, sizes.agents - 1)
        hidden = experiment.learner.hidden
        self._network = MLP((hidden, hidden, sizes.agents - 1))

    def acting(self, state: Any) -> PyTree:
        """The gates' parameters theta_c."""
        return state.gates

    def init_gates(self, key: Key[Array, ""]) -> PyTree:
        """Parameters of the gate networks, stacked over agents (one alone if shared)."""

        def one(agent_key: Key[Array, ""]) -> PyTree:
            return self._network.init(agent_key, jnp.zeros(self.sizes.observation))

        return init_per_agent(one, key, self.sizes.agents, self.shared)

    def logits(
        self, gates: PyTree, observation: Float[Array, "*batch N O"]
    ) -> Float[Array, "*batch N N-1"]:
        """Log-odds that i receives from each other agent."""
        return per_agent(self._network.apply, self.shared)(gates, observation)

    def gate(self, acting: PyTree, seen: Seen, moment: Moment) -> tuple[Gates, PyTree]:
        """Bernoulli decisions; data to whoever differentiates (no gradient reaches the gates from here)."""
        logits = jax.lax.stop_gradient(self.logits(acting, seen.observation))
        probability = jax.nn.sigmoid(logits)
        threshold = 0.5 if moment.mode is Mode.EVAL_GREEDY else moment.tape
        decision = (threshold < probability).astype(probability.dtype)
        return Gates(probability, decision), moment.carry

    def score_gradient(
        self, gates: PyTree, trajectory: Trajectory, weight: Float[Array, "T N N-1"]
    ) -> PyTree:
        """``grad (1/T) sum_t sum_ij log c(I_t^ij | o_t^i) weight_t^ij`` (Eqs. 4 and 5), an ascent direction.

        `weight` is data while differentiating in the gates; derivatives of the result in `weight` are kept.
        """

        def score(params: PyTree) -> Float[Array, ""]:
            return self.mean_score(params, trajectory, weight)

        return jax.grad(score)(gates)

    def asked(
        self, gates: PyTree, trajectory: Trajectory, weight: Float[Array, "T N N-1"]
    ) -> PyTree:
        """What the gates ascend: the score's gradient, and their own entropy's where `gates.entropy` gives it weight.

        The bonus is ours, the usual one of policy gradients (Mnih et al. 2016): without it a price shuts edges before
        messages mean anything.
        """
        gradient = self.score_gradient(gates, trajectory, weight)
        if not self.settings.entropy:
            return gradient
        bonus = jax.grad(self.mean_entropy)(gates, trajectory)
        return jax.tree.map(lambda g, b: g + self.settings.entropy * b, gradient, bonus)

    def cosine(
        self,
        gates: PyTree,
        trajectory: Trajectory,
        one: Float[Array, "T N N-1"],
        other: Float[Array, "T N N-1"],
    ) -> Float[Array, ""]:
        """Whether two ways to judge decisions ask for the same: the cosine of their gradients in the gates."""
        asked = self.score_gradient(gates, trajectory, one)
        usual = self.score_gradient(gates, trajectory, other)
        along = sum(jax.tree.leaves(jax.tree.map(jnp.vdot, asked, usual)))
        first, second = (
            jnp.where(length > 0, length, 1.0) for length in (tree_norm(asked), tree_norm(usual))
        )
        return along / first / second  # of zeros, 0

    def mean_score(
        self, gates: PyTree, trajectory: Trajectory, weight: Float[Array, "T N N-1"]
    ) -> Float[Array, ""]:
        """Mean over steps, sum over edges, of the weighted log-probability of the decisions taken."""
        logits = self.logits(gates, trajectory.observation[:-1])
        scored = log_probability(logits, trajectory.gates.decision) * weight
        return jnp.sum(scored) / trajectory.reward.shape[0]

    def mean_entropy(self, gates: PyTree, trajectory: Trajectory) -> Float[Array, ""]:
        """Mean over steps, sum over edges, of the gates' entropy."""
        logits = self.logits(gates, trajectory.observation[:-1])
        return jnp.sum(entropy(logits)) / trajectory.reward.shape[0]

    def ascend(
        self, gates: PyTree, nu: PyTree, gradient: PyTree, stop_denominator: bool = False
    ) -> tuple[PyTree, PyTree]:
        """RMSprop: ``nu <- rho nu + (1 - rho) g^2``, ``theta <- theta + alpha g / sqrt(nu + eps)``.

        Epsilon stands inside the root: outside, a weight whose gradient is zero would have an infinite derivative
        there and turn the meta-gradient into NaN. `stop_denominator` takes the root as data.
        """
        rho, alpha, eps = (
            self.settings.rms_decay,
            self.settings.learning_rate,
            self.settings.rms_epsilon,
        )
        nu = jax.tree.map(lambda v, g: rho * v + (1 - rho) * jnp.square(g), nu, gradient)
        scale = jax.tree.map(lambda v: jax.lax.rsqrt(v + eps), nu)
        if stop_denominator:
            scale = jax.lax.stop_gradient(scale)
        gates = jax.tree.map(lambda p, g, s: p + alpha * g * s, gates, gradient, scale)
        return gates, nu

    def priced_reward(self, trajectory: Trajectory) -> Float[Array, " T"]:
        """The reward that gate learning sees: the team's, less the price of the edges opened."""
        opened = jnp.sum(trajectory.gates.decision, axis=(-2, -1))
        return trajectory.reward - self.settings.edge_cost * opened


def log_probability(
    logits: Float[Array, "*batch"], decision: Float[Array, "*batch"]
) -> Float[Array, "*batch"]:
    """``I log sigma(l) + (1 - I) log sigma(-l)``."""
    return decision * jax.nn.log_sigmoid(logits) + (1 - decision) * jax.nn.log_sigmoid(-logits)


def entropy(logits: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    """Entropy of a Bernoulli, in nats; exact and differentiable where the probability rounds to 0 or 1."""
    probability = jax.nn.sigmoid(logits)
    return -probability * jax.nn.log_sigmoid(logits) - (1 - probability) * jax.nn.log_sigmoid(
        -logits
    )


def step_measures(
    advantage: Float[Array, "*batch"], gradient: PyTree, before: PyTree, after: PyTree
) -> Measures:
    """Root mean square of the advantage that moved the gates (A-hat of Eq. 5, or A of Eq. 4), and the Euclidean norms
    of their gradient and of the step that came of it."""
    return {
        "advantage_norm": jnp.sqrt(jnp.mean(jnp.square(advantage))),
        "gate_gradient_norm": tree_norm(gradient),
        "gate_update_norm": tree_norm(tree_difference(after, before)),
    }


def tree_norm(tree: PyTree) -> Float[Array, ""]:
    """Euclidean norm of all leaves together."""
    return jnp.sqrt(sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(tree)))


def tree_difference(a: PyTree, b: PyTree) -> PyTree:
    """Leaf by leaf, a - b."""
    return jax.tree.map(jnp.subtract, a, b)
