"""The paper's critic: a multilayer perceptron of all observations and actions."""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from purejax_mgtopo.algorithm.critics.network import NetworkCritic
from purejax_mgtopo.algorithm.kernels.stored import joint_dense, relu
from purejax_mgtopo.algorithm.networks import MLP, SMALL_OUTPUT, part_of_dense
from purejax_mgtopo.algorithm.types import Sizes
from purejax_mgtopo.config import Experiment


class MLPCritic(NetworkCritic):
    """``Q(o, a) = FC(H)-FC(H)-Linear(1)`` of all agents, in their order (Table 2)."""

    def __init__(self, experiment: Experiment, sizes: Sizes) -> None:
        inputs = sizes.agents * (sizes.observation + sizes.action)
        super().__init__(JointMLP(experiment.learner.hidden, inputs), sizes)


class JointMLP(nn.Module):
    """The network.

    The first layer is kept as two kernels, one for observations and one for actions, so that the counterfactual
    values, which differ from one another in one agent's action only, share all of it but that action's columns.
    """

    hidden: int
    inputs: int

    def setup(self) -> None:
        self.from_observations = part_of_dense(self.hidden, self.inputs, use_bias=True)
        self.from_actions = part_of_dense(self.hidden, self.inputs, use_bias=False)
        self.rest = MLP((self.hidden, 1), output_scale=SMALL_OUTPUT)

    def __call__(
        self, observation: Float[Array, "*batch N O"], action: Float[Array, "*batch N A"]
    ) -> Float[Array, "*batch"]:
        return self.rest(relu(self._first(observation, action)))[..., 0]

    def counterfactual(
        self,
        observation: Float[Array, "B N O"],
        action: Float[Array, "B N A"],
        proposal: Float[Array, "B N A"],
    ) -> Float[Array, "N B"]:
        """Q with agent i's action replaced by its proposal and all others' kept, for each i (Eq. 2)."""
        n, a = action.shape[-2:]
        first = self._first(observation, action)
        columns = self.from_actions.variables["params"]["kernel"].reshape(n, a, -1)
        moved = (proposal - action).astype(columns.dtype)
        change = jnp.einsum("bna,nah->nbh", moved, columns)
        return self.rest(relu(first + change))[..., 0]

    def _first(
        self, observation: Float[Array, "*batch N O"], action: Float[Array, "*batch N A"]
    ) -> Float[Array, "*batch H"]:
        return joint_dense(
            (self.from_observations, self.from_actions), (_joined(observation), _joined(action))
        )


def _joined(rows: Float[Array, "*batch N F"]) -> Float[Array, "*batch NF"]:
    return rows.reshape(*rows.shape[:-2], -1)
