"""ATOC's rule with its groups forced open: every agent initiates one, whatever attention says."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from purejax_mgtopo.algorithm.topology.labelled.atoc import AttentionGroups
from purejax_mgtopo.algorithm.types import PyTree
from purejax_mgtopo.plugins.registry import register_rule


class Together(AttentionGroups):
    """Everybody initiates a group whenever it is time, in training and in evaluation."""

    def attention(
        self, gates: PyTree, feature: Float[Array, "*batch N F"]
    ) -> Float[Array, "*batch N"]:
        """Certainty."""
        del gates
        return jnp.ones_like(feature[..., 0])


register_rule("together", Together)
