"""A critic that is one flax network of all agents' observations and actions."""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from purejax_mgtopo.algorithm.critics.critic import Critic
from purejax_mgtopo.algorithm.networks import apply
from purejax_mgtopo.algorithm.types import PyTree, Sizes


class NetworkCritic(Critic):
    """Q by a module that is called with observations and actions, and has a method `counterfactual`."""

    def __init__(self, network: nn.Module, sizes: Sizes) -> None:
        self._network = network
        self._sizes = sizes

    def init(self, key: Key[Array, ""]) -> PyTree:
        """Fresh parameters."""
        sizes = self._sizes
        widths = (sizes.observation, sizes.action)
        return self._network.init(key, *(jnp.zeros((sizes.agents, width)) for width in widths))

    def value(
        self,
        params: PyTree,
        observation: Float[Array, "*batch N O"],
        action: Float[Array, "*batch N A"],
    ) -> Float[Array, "*batch"]:
        """Q of joint actions."""
        return apply(self._network, params, observation, action)

    def counterfactual(
        self,
        params: PyTree,
        observation: Float[Array, "B N O"],
        action: Float[Array, "B N A"],
        proposal: Float[Array, "B N A"],
    ) -> Float[Array, "N B"]:
        """Q with one agent's action replaced at a time."""
        inputs = (observation, action, proposal)
        return apply(self._network, params, *inputs, method="counterfactual")
