"""A critic that adds up what each agent's action is worth: a factored one, as in FACMAC (Peng et al. 2021, arXiv
2003.06709)."""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from purejax_mgtopo.algorithm.critics.network import NetworkCritic
from purejax_mgtopo.algorithm.networks import MLP, SMALL_OUTPUT
from purejax_mgtopo.algorithm.types import Sizes
from purejax_mgtopo.config import Experiment


class FactoredCritic(NetworkCritic):
    """``Q(o, a) = V(o) + sum_i U(o_i, a_i, i)``, with one network U for all agents.

    Where FACMAC mixes the agents' parts by a monotonic network, they are added up here, as in VDN (Sunehag et al. 2017,
    arXiv 1706.05296), and to them a value of the state. Policies follow each agent's own gradient (Eq. 2) as under
    every other critic; in a sum, that of all agents' actions at once is the same.
    """

    def __init__(self, experiment: Experiment, sizes: Sizes) -> None:
        super().__init__(FactoredNetwork(experiment.learner.hidden), sizes)


class FactoredNetwork(nn.Module):
    """The network."""

    hidden: int

    def setup(self) -> None:
        widths = (self.hidden, self.hidden, 1)
        self.state = MLP(widths, output_scale=SMALL_OUTPUT)
        self.own = MLP(widths, output_scale=SMALL_OUTPUT)

    def __call__(
        self, observation: Float[Array, "*batch N O"], action: Float[Array, "*batch N A"]
    ) -> Float[Array, "*batch"]:
        return self._of_state(observation) + jnp.sum(self._of_each(observation, action), axis=-1)

    def counterfactual(
        self,
        observation: Float[Array, "B N O"],
        action: Float[Array, "B N A"],
        proposal: Float[Array, "B N A"],
    ) -> Float[Array, "N B"]:
        """Q with agent i's action replaced by its proposal and all others' kept, for each i (Eq. 2)."""
        taken, proposed = (self._of_each(observation, a) for a in (action, proposal))
        whole = self._of_state(observation) + jnp.sum(taken, axis=-1)
        return whole + jnp.moveaxis(proposed - taken, -1, 0)

    def _of_state(self, observation: Float[Array, "*batch N O"]) -> Float[Array, "*batch"]:
        return self.state(observation.reshape(*observation.shape[:-2], -1))[..., 0]

    def _of_each(
        self, observation: Float[Array, "*batch N O"], action: Float[Array, "*batch N A"]
    ) -> Float[Array, "*batch N"]:
        *batch, agents, _ = observation.shape
        who = jnp.broadcast_to(jnp.eye(agents, dtype=observation.dtype), (*batch, agents, agents))
        return self.own(jnp.concatenate([observation, action, who], axis=-1))[..., 0]
