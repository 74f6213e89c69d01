"""Pairwise gates of MAGIC (Niu, Paleja & Gombolay, AAMAS 2021): whether i receives from j is told from both."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from purejax_mgtopo.algorithm.edges import drop_diagonal
from purejax_mgtopo.algorithm.networks import MLP, apply
from purejax_mgtopo.algorithm.topology.straight_through import StraightThrough
from purejax_mgtopo.algorithm.types import PyTree, Seen, Sizes
from purejax_mgtopo.config import Experiment

ENCODED, HIDDEN, SLOPE = 32, 16, 0.2


class PairGates(StraightThrough):
    """A graph attention layer over all agents' features encodes each of them; ``l_ij = MLP([e_i, e_j])`` is the
    log-odds of the edge, decided by straight-through Gumbel-softmax and trained by the policy loss.

    One network serves all agents, so that renaming them renames the edges. Difference from the original: both rounds of
    messages use the same graph.
    """

    def __init__(self, experiment: Experiment, sizes: Sizes) -> None:
        super().__init__(experiment, sizes)
        self._pairs = PairNetwork()

    def init_gates(self, key: Key[Array, ""]) -> PyTree:
        """Parameters of the one network."""
        return self._pairs.init(key, jnp.zeros((self.sizes.agents, self.sizes.feature)))

    def asked(self, acting: PyTree, seen: Seen) -> Float[Array, "*batch N N-1"]:
        """Log-odds from the features."""
        return apply(self._pairs, acting, seen.feature)


class PairNetwork(nn.Module):
    """The network: attention (32), then 64-16-16-2 for each ordered pair; its two outputs' difference is the logit."""

    @nn.compact
    def __call__(self, feature: Float[Array, "*batch N F"]) -> Float[Array, "*batch N N-1"]:
        value = nn.Dense(ENCODED, use_bias=False)(feature)
        receiver, sender = (nn.Dense(1, use_bias=False)(value) for _ in range(2))
        score = nn.leaky_relu(receiver + jnp.swapaxes(sender, -1, -2), SLOPE)
        encoded = nn.elu(jax.nn.softmax(score, axis=-1) @ value)
        agents = feature.shape[-2]
        shape = (*encoded.shape[:-1], agents, ENCODED)
        mine = jnp.broadcast_to(encoded[..., :, None, :], shape)
        theirs = jnp.broadcast_to(encoded[..., None, :, :], shape)
        logits = MLP((HIDDEN, HIDDEN, 2))(jnp.concatenate([mine, theirs], axis=-1))
        return drop_diagonal(logits[..., 1] - logits[..., 0])
