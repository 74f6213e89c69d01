"""CommFormer's graph (Hu et al., ICLR 2024): one graph for all states, learned beside the policies."""

from __future__ import annotations

from typing import ClassVar

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Key

from purejax_mgtopo.algorithm.edges import fill_diagonal
from purejax_mgtopo.algorithm.part import Announced, Context, Learned, Moment, Rule, Shown
from purejax_mgtopo.algorithm.types import (
    Clock,
    Edges,
    Gates,
    Mode,
    PyTree,
    Seen,
    Sizes,
    Trajectory,
)
from purejax_mgtopo.config import Experiment


@flax.struct.dataclass
class GraphState:
    """alpha and its optimiser."""

    alpha: Float[Array, "N N-1"]
    optimizer: PyTree


class LearnedGraph(Rule):
    """Each agent receives from the ``max(floor(0.4 N), 1)`` others with the largest alpha; alpha is ones at first.

    In training Gumbel noise is added to alpha, and the decision has the derivative of its softmax over others
    (straight-through). Two levels: in every fifth update alpha takes an Adam step down the policy loss and the policies
    rest. With ``member.commformer.freeze_after`` it stays as it is from that share of the training on. Differences from
    the original: a graph is drawn for each step rather than for a batch, and alpha learns from the same transitions.
    """

    edges: ClassVar[Edges] = Edges.ANY  # a closed edge has a derivative too
    measures: ClassVar[Announced] = {
        "graph_clarity": "largest of an agent's softmax over alpha, mean over agents: 1 where one sender is sure",
        "graph_gradient_norm": "norm of the policy loss's gradient in alpha",
    }

    def __init__(self, experiment: Experiment, sizes: Sizes) -> None:
        super().__init__(experiment, sizes)
        self.settings = experiment.member.commformer
        self.scheduled = 0 < self.settings.freeze_after < 1
        self.tape_shape = (sizes.agents, sizes.agents - 1)
        wanted = max(int(self.settings.share * sizes.agents + 1e-9), 1)
        self.senders = min(wanted, sizes.agents - 1)
        self._adam = optax.adam(self.settings.learning_rate)

    def init(self, key: Key[Array, ""]) -> GraphState:
        """All edges alike."""
        del key
        alpha = jnp.ones((self.sizes.agents, self.sizes.agents - 1))
        return GraphState(alpha, self._adam.init(alpha))

    def acting(self, state: GraphState) -> PyTree:
        """Alpha."""
        return state.alpha

    def gate(self, acting: PyTree, seen: Seen, moment: Moment) -> tuple[Gates, PyTree]:
        """The largest of alpha; of alpha and noise in training. The probability is alpha's softmax."""
        batch = seen.observation.shape[:-2]
        alpha = jnp.broadcast_to(acting, (*batch, *self.tape_shape))
        probability = jax.nn.softmax(jax.lax.stop_gradient(alpha), axis=-1)
        if moment.mode in (Mode.EVAL_SAMPLED, Mode.EVAL_GREEDY):
            return Gates(probability, self.largest(alpha)), moment.carry
        tiny = jnp.finfo(moment.tape.dtype).tiny
        noisy = alpha - jnp.log(-jnp.log(jnp.maximum(moment.tape, tiny)))
        soft = jax.nn.softmax(noisy, axis=-1)
        hard = self.largest(noisy)
        return Gates(probability, hard + (soft - jax.lax.stop_gradient(soft))), moment.carry

    def largest(self, score: Float[Array, "*batch N others"]) -> Float[Array, "*batch N others"]:
        """1 for the largest of each row; of equals, those of lower index."""
        others = score.shape[-1]
        mine, theirs = score[..., :, None], score[..., None, :]
        ahead = (theirs > mine) | ((theirs == mine) & jnp.tri(others, k=-1, dtype=bool))
        return (jnp.sum(ahead, axis=-1) < self.senders).astype(score.dtype)

    def rests(self, clock: Clock) -> Bool[Array, ""]:
        """In every fifth update, until alpha is frozen."""
        frozen = clock.episode >= self.settings.freeze_after * self.experiment.episodes
        return (clock.episode % self.settings.every == self.settings.every - 1) & ~frozen

    def shown(self, params: PyTree, trajectory: Trajectory, seen: Seen) -> Shown:
        """The softmax over alpha: how far each agent's choice of senders is settled."""
        del params, seen
        return Shown(pairs={"graph": fill_diagonal(trajectory.gates.probability)})

    def learn(self, state: GraphState, trajectory: Trajectory, context: Context) -> Learned:
        """One Adam step down the policy loss, if the policies have rested."""
        del trajectory
        slope = context.policy_gradient
        updates, optimizer = self._adam.update(slope, state.optimizer)
        moved = GraphState(optax.apply_updates(state.alpha, updates), optimizer)
        turn = self.rests(context.clock)
        state = jax.tree.map(lambda new, old: jnp.where(turn, new, old), moved, state)
        measures = {
            "graph_clarity": jnp.mean(jnp.max(jax.nn.softmax(state.alpha, axis=-1), axis=-1)),
            "graph_gradient_norm": jnp.sqrt(jnp.sum(jnp.square(slope))),
        }
        return Learned(state, measures)
