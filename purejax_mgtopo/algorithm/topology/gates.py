"""Edge gates: the communication networks c^i that all learned rules of the paper share, and their optimiser."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from purejax_mgtopo.algorithm.networks import MLP, init_per_agent, per_agent
from purejax_mgtopo.algorithm.types import Gates, Mode, PyTree, Trajectory
from purejax_mgtopo.config import Experiment, GateConfig


class EdgeGates:
    """``c^i: o_i -> FC(H)-FC(H)-Linear(N-1)``, one Bernoulli for each possible sender (Table 2)."""

    silent = False
    selective = True
    memory = 0

    def __init__(self, config: Experiment, num_agents: int, observation_size: int) -> None:
        self.settings: GateConfig = config.gates
        self.num_agents = num_agents
        self.observation_size = observation_size
        self.shared = config.learner.share_parameters
        self.tape_shape: tuple[int, ...] = (num_agents, num_agents - 1)
        hidden = config.learner.hidden
        self._network = MLP((hidden, hidden, num_agents - 1))

    def init_gates(self, key: Key[Array, ""]) -> PyTree:
        """Parameters of the gate networks, stacked over agents (one alone if shared)."""

        def one(agent_key: Key[Array, ""]) -> PyTree:
            return self._network.init(agent_key, jnp.zeros(self.observation_size))

        return init_per_agent(one, key, self.num_agents, self.shared)

    def initial_carry(self, batch: tuple[int, ...]) -> PyTree:
        """Edge gates remember nothing."""
        del batch
        return ()

    def logits(
        self, gates: PyTree, observation: Float[Array, "*batch N O"]
    ) -> Float[Array, "*batch N N-1"]:
        """Log-odds that i receives from each other agent."""
        return per_agent(self._network.apply, self.shared)(gates, observation)

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
        """Bernoulli decisions; data to whoever differentiates (no gradient reaches the gates from here)."""
        del feature, message
        probability = jax.nn.sigmoid(jax.lax.stop_gradient(self.logits(gates, observation)))
        threshold = 0.5 if mode is Mode.EVAL_GREEDY else tape
        return Gates(probability, (threshold < probability).astype(probability.dtype)), carry

    def score_gradient(
        self, gates: PyTree, trajectory: Trajectory, weight: Float[Array, "T N N-1"]
    ) -> PyTree:
        """``grad (1/T) sum_t sum_ij log c(I_t^ij | o_t^i) weight_t^ij`` (Eqs. 4 and 5), an ascent direction.

        `weight` is data while differentiating in the gates; derivatives of the result in `weight` are kept.
        """

        def score(params: PyTree) -> Float[Array, ""]:
            return self.mean_score(params, trajectory, weight)

        return jax.grad(score)(gates)

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


def tree_norm(tree: PyTree) -> Float[Array, ""]:
    """Euclidean norm of all leaves together."""
    return jnp.sqrt(sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(tree)))


def tree_difference(a: PyTree, b: PyTree) -> PyTree:
    """Leaf by leaf, a - b."""
    return jax.tree.map(jnp.subtract, a, b)
