"""A critic that adds up what each agent's action is worth: a factored one, as in FACMAC (Peng et al. 2021, arXiv
2003.06709)."""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from purejax_mgtopo.algorithm.critics.network import NetworkCritic
from purejax_mgtopo.algorithm.kernels.stored import relu, summed_in
from purejax_mgtopo.algorithm.networks import MLP, SMALL_OUTPUT, Dense
from purejax_mgtopo.algorithm.types import Sizes
from purejax_mgtopo.config import Experiment


class FactoredCritic(NetworkCritic):
    """``Q(o, a) = V(o) + sum_i (U(o_i, a_i, i) + mean over j != i of P(o_i, a_i, i, o_j, j))``.

    One U and one P serve all agents. Where FACMAC mixes the agents' parts by a monotonic network, they are added up
    here, as in VDN (Sunehag et al. 2017, arXiv 1706.05296), and to them a value of the state. V and U alone would teach
    nobody to talk: what an action is worth would not depend on what others see. P makes it depend, on one other at a
    time, as deep coordination graphs do for pairs of actions (Böhmer et al. 2020, arXiv 1910.00091). Policies follow
    each agent's own gradient (Eq. 2) as under every critic; of a sum, that in all actions at once is the same.
    """

    def __init__(self, experiment: Experiment, sizes: Sizes) -> None:
        super().__init__(FactoredNetwork(experiment.learner.hidden), sizes)


class FactoredNetwork(nn.Module):
    """The network.

    P has one hidden layer, whose products are of one agent's observation and action or of another's observation: 2 N of
    them make the N (N - 1) pairs.
    """

    hidden: int

    def setup(self) -> None:
        widths = (self.hidden, self.hidden, 1)
        self.state = MLP(widths, output_scale=SMALL_OUTPUT)
        self.own = MLP(widths, output_scale=SMALL_OUTPUT)
        self.acting = Dense(self.hidden)
        self.seeing = Dense(self.hidden)
        self.pair = MLP((1,), output_scale=SMALL_OUTPUT)

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
        acts = jnp.concatenate([observation, action, who], axis=-1)
        sees = jnp.concatenate([observation, who], axis=-1)
        one, other = self.acting(acts), self.seeing(sees)
        apart = 1 - jnp.eye(agents, dtype=one.dtype)
        # One other at a time: a sum over all at once, written as such, takes longer on a CPU.
        joint = jnp.zeros_like(one, dtype=summed_in(one))
        for j in range(agents):
            joint += relu(one + other[..., j : j + 1, :]) * apart[:, j, None]
        pairs = self.pair((joint / max(agents - 1, 1)).astype(one.dtype))
        return (self.own(acts) + pairs)[..., 0]
