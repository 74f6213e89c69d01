"""Pairwise gates of MAGIC (Niu, Paleja & Gombolay, AAMAS 2021): whether i receives from j is told from both."""

from __future__ import annotations

from dataclasses import replace

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from purejax_mgtopo import methods
from purejax_mgtopo.algorithm.edges import drop_diagonal
from purejax_mgtopo.algorithm.networks import MLP, apply
from purejax_mgtopo.algorithm.part import Moment
from purejax_mgtopo.algorithm.topology.straight_through import StraightThrough
from purejax_mgtopo.algorithm.types import Gates, PyTree, Seen, Sizes
from purejax_mgtopo.config import Experiment
from purejax_mgtopo.errors import require

ENCODED, HIDDEN, SLOPE = 32, 16, 0.2


class PairGates(StraightThrough):
    """A graph attention layer over all agents' features encodes each of them; ``l_ij = MLP([e_i, e_j])`` is the
    log-odds of the edge, decided by straight-through Gumbel-softmax and trained by the policy loss.

    One network serves all agents, so that renaming them renames the edges. Both rounds of messages have the same graph,
    or with `member.magic.second_graph` the second has its own, from the same e by another MLP.
    """

    def __init__(self, experiment: Experiment, sizes: Sizes) -> None:
        super().__init__(experiment, sizes)
        self.graphs = 2 if experiment.member.magic.second_graph else 1
        require(
            self.graphs <= methods.load(methods.MESSAGES, experiment.messages).graphs,
            f"member.magic.second_graph asks for messages whose second round has edges of its own: take gat, "
            f"{experiment.messages} has none",
        )
        self.tape_shape = (self.graphs * sizes.agents, sizes.agents - 1)
        self._pairs = PairNetwork(self.graphs)

    def init_gates(self, key: Key[Array, ""]) -> PyTree:
        """Parameters of the one network."""
        return self._pairs.init(key, jnp.zeros((self.sizes.agents, self.sizes.feature)))

    def gate(self, acting: PyTree, seen: Seen, moment: Moment) -> tuple[Gates, PyTree]:
        """Decisions of each round, drawn apart where they are."""
        odds = apply(self._pairs, acting, seen.feature)
        tapes = jnp.split(moment.tape, self.graphs, axis=-2)
        first, *second = (
            self.decided(logits, tape, moment.mode)
            for logits, tape in zip(odds, tapes, strict=True)
        )
        gates = replace(first, later=second[0].decision) if second else first
        return gates, moment.carry


class PairNetwork(nn.Module):
    """Attention (32), then for each graph an MLP 64-16-16-2 over ordered pairs, whose two outputs' difference is the
    logit."""

    graphs: int = 1

    @nn.compact
    def __call__(self, feature: Float[Array, "*batch N F"]) -> list[Float[Array, "*batch N N-1"]]:
        value = nn.Dense(ENCODED, use_bias=False)(feature)
        receiver, sender = (nn.Dense(1, use_bias=False)(value) for _ in range(2))
        score = nn.leaky_relu(receiver + jnp.swapaxes(sender, -1, -2), SLOPE)
        encoded = nn.elu(jax.nn.softmax(score, axis=-1) @ value)
        agents = feature.shape[-2]
        shape = (*encoded.shape[:-1], agents, ENCODED)
        mine = jnp.broadcast_to(encoded[..., :, None, :], shape)
        theirs = jnp.broadcast_to(encoded[..., None, :, :], shape)
        pairs = jnp.concatenate([mine, theirs], axis=-1)
        logits = [MLP((HIDDEN, HIDDEN, 2))(pairs) for _ in range(self.graphs)]
        return [drop_diagonal(each[..., 1] - each[..., 0]) for each in logits]
