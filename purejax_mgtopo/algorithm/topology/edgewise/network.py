"""The network that judges each edge of a team of any size: it knows no agent's number, and no task by name."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.initializers import lecun_normal, zeros
from jaxtyping import Array, Bool, Float, Int

from purejax_mgtopo.algorithm.networks import LSTM, part_of_dense
from purejax_mgtopo.algorithm.topology.edgewise.inputs import NAMES

FEATURES, WIDTH, BACKWARD, MEMORY = len(NAMES), 16, 64, 32
"""What is known of an edge at a step, and units: of a block, of the LSTM over steps, and of that over gate updates."""

Memory = tuple[Float[Array, " M"], Float[Array, " M"]]
"""What a lifetime remembers from one gate update to the next: an LSTM's cell and hidden state."""


def no_memory() -> Memory:
    """A lifetime's memory before its first gate update."""
    return jnp.zeros(MEMORY), jnp.zeros(MEMORY)


Present = Bool[Array, " N"] | None
"""Which agents are there: the others are padding, whose edges count in no mean and are not judged. None: all are."""


def edge_mask(agents: int, present: Present = None) -> Float[Array, "N N 1"]:
    """1 for each edge between agents that are there, 0 for others and where an agent would hear itself."""
    mask = 1 - jnp.eye(agents)
    if present is not None:
        mask = mask * both_present(present)
    return mask[..., None]


def both_present(present: Bool[Array, " N"]) -> Bool[Array, "N N"]:
    """Whether both ends are there, for each pair."""
    return present[:, None] & present


def how_many(agents: int, present: Present) -> tuple[int | Int[Array, ""], int | Int[Array, ""]]:
    """Agents that are there, and others that each of them has; 1 where there are none, whose mean is then 0."""
    if present is None:
        return agents, agents - 1
    count = jnp.sum(present)
    return jnp.maximum(count, 1), jnp.maximum(count - 1, 1)


class Among(nn.Module):
    """One layer over all edges, with means over agents in place of their numbers.

    ``B(x)_ij = ReLU(W [x_ij, x_ji, mean_k x_ik, mean_k x_kj, mean_k x_jk, mean_k x_ki, mean x] + b)``, edges i <- j.
    Diagonals and padding are zero before and after, so that sums over all k are those over the others that are there.
    """

    width: int

    @nn.compact
    def __call__(
        self, x: Float[Array, "*batch N N F"], present: Present = None
    ) -> Float[Array, "*batch N N W"]:
        agents, features = x.shape[-2:]
        count, others = how_many(agents, present)

        def share(inputs: Array, use_bias: bool = False) -> Array:
            return part_of_dense(self.width, 7 * features, use_bias)(inputs)

        heard, said = (jnp.sum(x, axis=axis) / others for axis in (-2, -3))  # of each agent
        both = jnp.concatenate([heard, said], axis=-1)
        own = share(jnp.concatenate([x, jnp.swapaxes(x, -2, -3)], axis=-1), use_bias=True)
        receiver, sender = share(both)[..., :, None, :], share(both)[..., None, :, :]
        everybody = share(jnp.sum(heard, axis=-2) / count)[..., None, None, :]
        return nn.relu(own + receiver + sender + everybody) * edge_mask(agents, present)


class EdgeNetwork(nn.Module):
    """The correction f of each edge's advantage at each step; about 45,000 parameters, whatever the team.

    Two blocks, an LSTM from an episode's end to its start that all edges share, a factor for each of its units by what
    the lifetime remembers, another block, and a last layer that is zero at first. Teams of different sizes may be
    padded to one shape: f and memory are then those of the agents that are `present`, and f is 0 on all other edges.
    """

    def setup(self) -> None:
        self.first, self.second, self.third = Among(WIDTH), Among(WIDTH), Among(WIDTH)
        self.lstm = LSTM(BACKWARD)
        # An orthogonal kernel needs a QR decomposition: see LSTM.
        self.memory = nn.LSTMCell(MEMORY, recurrent_kernel_init=lecun_normal())
        self.factor = nn.Dense(BACKWARD)
        self.head = nn.Dense(1, kernel_init=zeros)

    def __call__(
        self,
        x: Float[Array, "T N N F"],
        done: Float[Array, " T"],
        memory: Memory,
        present: Present = None,
    ) -> tuple[Float[Array, "T N N"], Memory]:
        steps, agents = x.shape[:2]
        mask, (count, others) = edge_mask(agents, present), how_many(agents, present)
        if present is not None:  # whatever padding holds, even what is not finite
            x = jnp.where(both_present(present)[..., None], x, 0)
        inputs = self.lstm.project(self.second(self.first(x * mask, present), present))
        read = jax.vmap(lambda edge: self.lstm.backward(edge, 1 - done)[0], 1, 1)
        hidden = read(inputs.reshape(steps, agents * agents, -1)).reshape(*x.shape[:3], BACKWARD)
        hidden = hidden * mask
        mean = jnp.sum(hidden, axis=(0, 1, 2)) / (steps * count * others)
        memory, remembered = self.memory(memory, mean)
        f = self.head(self.third(hidden * (1 + self.factor(remembered)), present))[..., 0]
        return f if present is None else f * both_present(present), memory
