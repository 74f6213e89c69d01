"""A critic that does not know in which order the agents come: PIC (Liu, Yeh & Schwing 2019, arXiv 1911.00025)."""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from purejax_mgtopo.algorithm.critics.network import NetworkCritic
from purejax_mgtopo.algorithm.networks import MLP, SMALL_OUTPUT
from purejax_mgtopo.algorithm.types import Sizes
from purejax_mgtopo.config import Experiment


class PermutationInvariantCritic(NetworkCritic):
    """Two graph layers over all agents' observations and actions, the largest over agents, and Linear(1).

    Its targets use the target policy, where the released code uses the online one.
    """

    def __init__(self, experiment: Experiment, sizes: Sizes) -> None:
        super().__init__(GraphNetwork(experiment.learner.hidden), sizes)


class GraphLayer(nn.Module):
    """``y <- (ReLU(A (y W + b)) + ReLU(y U + d)) / N`` with ``A = (ones - identity) / N``."""

    hidden: int

    def setup(self) -> None:
        self.others = nn.Dense(self.hidden)
        self.own = nn.Dense(self.hidden)

    def __call__(self, rows: Float[Array, "*batch N I"]) -> Float[Array, "*batch N H"]:
        return joined(self.others(rows), self.own(rows))


class GraphNetwork(nn.Module):
    """The network."""

    hidden: int

    def setup(self) -> None:
        self.first = GraphLayer(self.hidden)
        self.second = GraphLayer(self.hidden)
        self.rest = MLP((1,), output_scale=SMALL_OUTPUT)

    def __call__(
        self, observation: Float[Array, "*batch N O"], action: Float[Array, "*batch N A"]
    ) -> Float[Array, "*batch"]:
        return self._judged(self.first(jnp.concatenate([observation, action], axis=-1)))

    def counterfactual(
        self,
        observation: Float[Array, "B N O"],
        action: Float[Array, "B N A"],
        proposal: Float[Array, "B N A"],
    ) -> Float[Array, "N B"]:
        """Q with agent i's action replaced by its proposal and all others' kept, for each i (Eq. 2).

        The first layer's products are those of the two actions of each agent: the N values share them.
        """
        taken, proposed = (jnp.concatenate([observation, a], axis=-1) for a in (action, proposal))
        agents = action.shape[-2]
        chosen = jnp.eye(agents, dtype=bool)[:, None, :, None]

        def rows(layer: nn.Dense) -> Float[Array, "N B N H"]:
            return jnp.where(chosen, layer(proposed)[None], layer(taken)[None])

        return self._judged(joined(rows(self.first.others), rows(self.first.own)))

    def _judged(self, rows: Float[Array, "*batch N H"]) -> Float[Array, "*batch"]:
        return self.rest(jnp.max(self.second(rows), axis=-2))[..., 0]


def joined(
    others: Float[Array, "*batch N H"], own: Float[Array, "*batch N H"]
) -> Float[Array, "*batch N H"]:
    """A graph layer's output, from what it makes of each agent for the others and for itself."""
    agents = own.shape[-2]
    heard = (jnp.sum(others, axis=-2, keepdims=True) - others) / agents
    return (nn.relu(heard) + nn.relu(own)) / agents
