"""The networks of the paper's Tables 1 and 2 as small flax modules, for one agent each; agents are stacked outside.

Kernels start as LeCun normal; the last layers of policy and critic are scaled by 0.1 (as in PIC's released code).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.initializers import lecun_normal, variance_scaling
from jaxtyping import Array, Float, Key

from purejax_mgtopo.algorithm.kernels.reversed_lstm import States, lean_scan, reversed_scan
from purejax_mgtopo.algorithm.kernels.stored import LESS, Dense, for_products, relu
from purejax_mgtopo.algorithm.kernels.target import fuses, platform
from purejax_mgtopo.algorithm.kernels.thin_matmul import thin_dot_general
from purejax_mgtopo.algorithm.types import PyTree

SMALL_OUTPUT = 0.1


class MLP(nn.Module):
    """Dense layers with ReLU between them: ``[..., I] -> [..., features[-1]]``."""

    features: Sequence[int]
    output_scale: float = 1.0

    @nn.compact
    def __call__(self, x: Float[Array, "*batch I"]) -> Float[Array, "*batch J"]:
        *hidden, output = self.features
        for width in hidden:
            x = relu(Dense(width)(x))
        scaled = variance_scaling(self.output_scale**2, "fan_in", "truncated_normal")
        return Dense(output, kernel_init=scaled, dot_general=thin_dot_general)(x)


def forget_bias(key: Any, shape: tuple[int, ...], dtype: Any = None) -> Array:
    """Zeros, and ones for the second quarter: the forget gate's."""
    del key
    hidden = shape[0] // 4
    return jnp.zeros(shape, dtype or float).at[hidden : 2 * hidden].set(1.0)


class LSTM(nn.Module):
    """A long short-term memory over long sequences, read backwards.

    Gates in the order input, forget, cell, output. Biases start at zero but for the forget gate's, which starts at one
    (Jozefowicz et al. 2015). The recurrent kernel is LeCun normal like all others: an orthogonal one needs a QR
    decomposition, whose LAPACK call can hang a CPU program that runs on several host devices.
    """

    hidden: int

    def setup(self) -> None:
        self.input = nn.Dense(4 * self.hidden, bias_init=forget_bias)
        self.recurrent = self.param("recurrent", lecun_normal(), (self.hidden, 4 * self.hidden))

    def project(self, x: Float[Array, "*batch I"]) -> Float[Array, "*batch {4*self.hidden}"]:
        """The inputs' share of the gates' pre-activations."""
        return self.input(x)

    def backward(
        self,
        projected: Float[Array, "T {4*self.hidden}"],
        keep: Float[Array, " T"],
        states: States | None = None,
    ) -> States:
        """Read a sequence from its end to its start, from the zero state; the hidden states come first.

        `keep` multiplies the state before each step: 0 forgets all that came (later in time) before. `states` is what
        an earlier call with the same inputs returned: only what derivatives add is computed then.
        """
        recurrent = for_products(self.recurrent)
        scan = reversed_scan if platform() == "cpu" and recurrent.dtype != LESS else lean_scan
        if fuses() and recurrent.dtype == LESS:
            from purejax_mgtopo.algorithm.kernels.fused.reversed_scan import fused_scan

            return fused_scan(recurrent, projected, keep, states)
        return scan(recurrent, projected, keep, states)


def apply(module: nn.Module, params: PyTree, *inputs: Any, method: str | None = None) -> Any:
    """``module.apply`` of arrays, typed as what it then returns: arrays, not the state of mutable collections."""
    return module.apply(params, *inputs, method=method)


def part_of_dense(width: int, inputs: int, use_bias: bool) -> Dense:
    """A share of a dense layer whose `inputs` come in parts: its kernel is drawn as rows of the whole LeCun kernel."""

    def rows(key: Any, shape: tuple[int, ...], dtype: Any = None) -> Array:
        whole = lecun_normal()(key, (inputs, shape[1]), dtype or float)
        return whole[: shape[0]]

    return Dense(width, use_bias=use_bias, kernel_init=rows)


class Head(nn.Module):
    """What an agent does about what it heard and saw: ``Concat[z, o]-FC(H)-FC(H)-Linear(A)`` (Table 2).

    The first layer is kept as two kernels, so that an agent that never hears anything (None) multiplies no zeros.
    """

    hidden: int
    inputs: int
    outputs: int

    def setup(self) -> None:
        self.from_heard = part_of_dense(self.hidden, self.inputs, use_bias=False)
        self.from_observation = part_of_dense(self.hidden, self.inputs, use_bias=True)
        self.rest = MLP((self.hidden, self.outputs), output_scale=SMALL_OUTPUT)

    def __call__(
        self, heard: Float[Array, "*batch H"] | None, observation: Float[Array, "*batch O"]
    ) -> Float[Array, "*batch A"]:
        first = self.from_observation(observation)
        if heard is not None:
            first = first + self.from_heard(heard)
        return self.rest(relu(first))


def per_agent(
    fn: Callable[..., Any], shared: bool, axes: int | Sequence[int] = -2
) -> Callable[..., Any]:
    """Lift ``fn(params, *inputs)`` from one agent to the team.

    Parameters carry a leading agent axis unless `shared`; `axes` gives the agent axis of each input (one number
    serves all). Outputs have the agent axis second to last.
    """

    def lifted(params: PyTree, *inputs: Any) -> Any:
        where = [axes] * len(inputs) if isinstance(axes, int) else list(axes)
        return jax.vmap(fn, in_axes=(None if shared else 0, *where), out_axes=-2)(params, *inputs)

    return lifted


def init_per_agent(
    init: Callable[[Key[Array, ""]], PyTree], key: Key[Array, ""], agents: int, shared: bool
) -> PyTree:
    """Parameters for `per_agent`: stacked along a leading agent axis, each agent's drawn on its own."""
    return init(key) if shared else jax.vmap(init)(jax.random.split(key, agents))
