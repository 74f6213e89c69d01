"""The network that judges each edge of a team of any size: it knows no agent's number, and no task by name."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.initializers import lecun_normal, zeros
from jaxtyping import Array, Float

from purejax_mgtopo.algorithm.networks import LSTM, part_of_dense
from purejax_mgtopo.algorithm.topology.edgewise.inputs import NAMES

FEATURES, WIDTH, BACKWARD, MEMORY = len(NAMES), 16, 64, 32
"""What is known of an edge at a step, and units: of a block, of the LSTM over steps, and of that over gate updates."""

Memory = tuple[Float[Array, " M"], Float[Array, " M"]]
"""What a lifetime remembers from one gate update to the next: an LSTM's cell and hidden state."""


def no_memory() -> Memory:
    """A lifetime's memory before its first gate update."""
    return jnp.zeros(MEMORY), jnp.zeros(MEMORY)


def off_diagonal(agents: int) -> Float[Array, "N N 1"]:
    """1 for each edge, 0 where an agent would hear itself."""
    return (1 - jnp.eye(agents))[..., None]


class Among(nn.Module):
    """One layer over all edges, with means over agents in place of their numbers.

    ``B(x)_ij = ReLU(W [x_ij, x_ji, mean_k x_ik, mean_k x_kj, mean_k x_jk, mean_k x_ki, mean x] + b)``, edges i <- j.
    Diagonals are zero before and after, so that sums over all k are those over the others.
    """

    width: int

    @nn.compact
    def __call__(self, x: Float[Array, "*batch N N F"]) -> Float[Array, "*batch N N W"]:
        agents, features = x.shape[-2:]

        def share(inputs: Array, use_bias: bool = False) -> Array:
            return part_of_dense(self.width, 7 * features, use_bias)(inputs)

        heard, said = (jnp.sum(x, axis=axis) / (agents - 1) for axis in (-2, -3))  # of each agent
        both = jnp.concatenate([heard, said], axis=-1)
        own = share(jnp.concatenate([x, jnp.swapaxes(x, -2, -3)], axis=-1), use_bias=True)
        receiver, sender = share(both)[..., :, None, :], share(both)[..., None, :, :]
        everybody = share(jnp.mean(heard, axis=-2))[..., None, None, :]
        return nn.relu(own + receiver + sender + everybody) * off_diagonal(agents)


class EdgeNetwork(nn.Module):
    """The correction f of each edge's advantage at each step; about 45,000 parameters, whatever the team.

    Two blocks, an LSTM from an episode's end to its start that all edges share, a factor for each of its units by what
    the lifetime remembers, another block, and a last layer that is zero at first.
    """

    def setup(self) -> None:
        self.first, self.second, self.third = Among(WIDTH), Among(WIDTH), Among(WIDTH)
        self.lstm = LSTM(BACKWARD)
        # An orthogonal kernel needs a QR decomposition: see LSTM.
        self.memory = nn.LSTMCell(MEMORY, recurrent_kernel_init=lecun_normal())
        self.factor = nn.Dense(BACKWARD)
        self.head = nn.Dense(1, kernel_init=zeros)

    def __call__(
        self, x: Float[Array, "T N N F"], done: Float[Array, " T"], memory: Memory
    ) -> tuple[Float[Array, "T N N"], Memory]:
        steps, agents = x.shape[:2]
        mask = off_diagonal(agents)
        inputs = self.lstm.project(self.second(self.first(x * mask)))
        read = jax.vmap(lambda edge: self.lstm.backward(edge, 1 - done)[0], 1, 1)
        hidden = read(inputs.reshape(steps, agents * agents, -1)).reshape(*x.shape[:3], BACKWARD)
        hidden = hidden * mask
        mean = jnp.sum(hidden, axis=(0, 1, 2)) / (steps * agents * (agents - 1))
        memory, remembered = self.memory(memory, mean)
        return self.head(self.third(hidden * (1 + self.factor(remembered))))[..., 0], memory
