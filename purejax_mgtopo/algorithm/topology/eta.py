"""eta: the network that reads a trajectory and says what each gate decision was worth, and how it moves (Table 1)."""

from __future__ import annotations

import flax.linen as nn
import optax
from jaxtyping import Array, Float

from purejax_mgtopo.algorithm.kernels.reversed_lstm import States
from purejax_mgtopo.algorithm.networks import LSTM
from purejax_mgtopo.config import MetaConfig


def eta_optimizer(meta: MetaConfig) -> optax.GradientTransformation:
    """RMSprop, of gradients whose global norm is clipped."""
    return optax.chain(
        optax.clip_by_global_norm(meta.gradient_clip),
        optax.rmsprop(meta.learning_rate, meta.rms_decay, meta.rms_epsilon),
    )


class BackwardLSTM(nn.Module):
    """eta: LSTM(128) over the trajectory from its end to its start, then FC(128)-Linear (Table 1)."""

    hidden: int
    outputs: int

    def setup(self) -> None:
        self.lstm = LSTM(self.hidden)
        self.body = nn.Dense(self.hidden)
        self.head = nn.Dense(self.outputs)

    def states(self, x: Float[Array, "T X"], done: Float[Array, " T"]) -> States:
        """The LSTM at all steps."""
        # Nothing after an episode's end tells about what came before it.
        return self.lstm.backward(self.lstm.project(x), 1 - done)

    def __call__(
        self, x: Float[Array, "T X"], done: Float[Array, " T"], states: States | None = None
    ) -> Float[Array, "T outputs"]:
        """One output for each edge and step. `states` are those of the same inputs, if they are known already."""
        hidden = self.lstm.backward(self.lstm.project(x), 1 - done, states)[0]
        return self.head(nn.relu(self.body(hidden)))
