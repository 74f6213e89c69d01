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

from purejax_mgtopo.algorithm.types import PyTree

SMALL_OUTPUT = 0.1


@jax.custom_vjp
def thin_matmul(
    x: Float[Array, "*batch I"], kernel: Float[Array, "I J"]
) -> Float[Array, "*batch J"]:
    """``x @ kernel`` for a thin output. Reverse-mode only, of any order.

    The derivative in the kernel is a product over the batch, ``x.T @ d``. With a few columns XLA on a CPU is ten times
    as fast at its transpose, ``d.T @ x``, where rows lie in memory one after the other.
    """
    return x @ kernel


def _thin_matmul_forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return x @ kernel, (x, kernel)


def _thin_matmul_backward(residuals: tuple[Array, Array], d: Array) -> tuple[Array, Array]:
    x, kernel = residuals
    rows, slopes = x.reshape(-1, x.shape[-1]), d.reshape(-1, d.shape[-1])
    # The barrier keeps XLA from turning the product around again.
    d_kernel = jax.lax.optimization_barrier(jax.lax.optimization_barrier(slopes.T) @ rows).T
    return d @ kernel.T, d_kernel


thin_matmul.defvjp(_thin_matmul_forward, _thin_matmul_backward)


def _thin_dot_general(x: Array, kernel: Array, *layout: Any, **options: Any) -> Array:
    """`thin_matmul` as flax's dense layers ask for it."""
    del layout, options
    return thin_matmul(x, kernel)


class MLP(nn.Module):
    """Dense layers with ReLU between them: ``[..., I] -> [..., features[-1]]``."""

    features: Sequence[int]
    output_scale: float = 1.0

    @nn.compact
    def __call__(self, x: Float[Array, "*batch I"]) -> Float[Array, "*batch J"]:
        *hidden, output = self.features
        for width in hidden:
            x = nn.relu(nn.Dense(width)(x))
        scaled = variance_scaling(self.output_scale**2, "fan_in", "truncated_normal")
        return nn.Dense(output, kernel_init=scaled, dot_general=_thin_dot_general)(x)


States = tuple[Float[Array, "T H"], ...]
"""Of an LSTM at all steps of a sequence: hidden states after each, then what its derivative needs."""


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
        return reversed_scan(self.recurrent, projected, keep, states)


def _cell(
    recurrent: Float[Array, "H 4*H"],
    projected: Float[Array, " 4*H"],
    hidden: Float[Array, " H"],
    cell: Float[Array, " H"],
) -> tuple[Array, ...]:
    """One LSTM step with everything its derivative needs: hidden, cell, the four gates, tanh(cell)."""
    i, f, g, o = jnp.split(projected + hidden @ recurrent, 4)
    i, f, g, o = nn.sigmoid(i), nn.sigmoid(f), jnp.tanh(g), nn.sigmoid(o)
    cell = f * cell + i * g
    squashed = jnp.tanh(cell)
    return o * squashed, cell, i, f, g, o, squashed


@jax.custom_vjp
def reversed_scan(
    recurrent: Float[Array, "H 4*H"],
    projected: Float[Array, "T 4*H"],
    keep: Float[Array, " T"],
    states: States | None,
) -> States:
    """An LSTM over a sequence from its end to its start; see `LSTM.backward`.

    Reverse-mode only, and only the hidden states have derivatives; `keep` and `states` are data. The derivative in the
    recurrent kernel is one matmul over all steps. Left to itself, a scan's derivative adds a rank-one matrix of the
    kernel's size at each of the T steps, which costs more than all the rest.
    """
    return _reversed_scan_forward(recurrent, projected, keep, states)[0]


def _reversed_scan_forward(
    recurrent: Array, projected: Array, keep: Array, states: States | None
) -> tuple:
    def step(state: tuple, inputs: tuple) -> tuple:
        hidden, cell = (inputs[1] * s for s in state)
        after, new_cell, *gates = _cell(recurrent, inputs[0], hidden, cell)
        return (after, new_cell), (after, hidden, cell, *gates)

    known = states
    if states is None:
        zero = jnp.zeros(recurrent.shape[0], projected.dtype)
        _, states = jax.lax.scan(step, (zero, zero), (projected, keep), reverse=True)
    return states, (recurrent, keep, states, known)


def _reversed_scan_backward(residuals: tuple, d_states: States) -> tuple:
    recurrent, keep, states, known = residuals
    d_after, saved = d_states[0], states[1:]

    def step(state: tuple, inputs: tuple) -> tuple:
        d_hidden, d_cell = state
        d_out, kept, (_, cell, i, f, g, o, squashed) = inputs
        d_hidden = d_hidden + d_out
        d_cell = d_cell + d_hidden * o * (1 - squashed * squashed)
        d_gates = jnp.concatenate(
            [
                d_cell * g * i * (1 - i),
                d_cell * cell * f * (1 - f),
                d_cell * i * (1 - g * g),
                d_hidden * squashed * o * (1 - o),
            ]
        )
        return (kept * (recurrent @ d_gates), kept * d_cell * f), d_gates

    zero = jnp.zeros_like(d_after[0])
    d_projected: Array
    _, d_projected = jax.lax.scan(step, (zero, zero), (d_after, keep, saved))
    data = jax.tree.map(jnp.zeros_like, (keep, known))
    return saved[0].T @ d_projected, d_projected, *data


reversed_scan.defvjp(_reversed_scan_forward, _reversed_scan_backward)


def apply(module: nn.Module, params: PyTree, *inputs: Any, method: str | None = None) -> Any:
    """``module.apply`` of arrays, typed as what it then returns: arrays, not the state of mutable collections."""
    return module.apply(params, *inputs, method=method)


def part_of_dense(width: int, inputs: int, use_bias: bool) -> nn.Dense:
    """A share of a dense layer whose `inputs` come in parts: its kernel is drawn as rows of the whole LeCun kernel."""

    def rows(key: Any, shape: tuple[int, ...], dtype: Any = None) -> Array:
        whole = lecun_normal()(key, (inputs, shape[1]), dtype or float)
        return whole[: shape[0]]

    return nn.Dense(width, use_bias=use_bias, kernel_init=rows)


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
        return self.rest(nn.relu(first))


class Critic(nn.Module):
    """Q(o, a) of all observations and actions: FC(H)-FC(H)-Linear(1) (Table 2).

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
        first = self.from_observations(_joined(observation)) + self.from_actions(_joined(action))
        return self.rest(nn.relu(first))[..., 0]

    def counterfactual(
        self,
        observation: Float[Array, "B N O"],
        action: Float[Array, "B N A"],
        proposal: Float[Array, "B N A"],
    ) -> Float[Array, "N B"]:
        """Q with agent i's action replaced by its proposal and all others' kept, for each i (Eq. 2)."""
        n, a = action.shape[-2:]
        first = self.from_observations(_joined(observation)) + self.from_actions(_joined(action))
        columns = self.from_actions.variables["params"]["kernel"].reshape(n, a, -1)
        change = jnp.einsum("bna,nah->nbh", proposal - action, columns)
        return self.rest(nn.relu(first + change))[..., 0]


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


def _joined(rows: Float[Array, "*batch N F"]) -> Float[Array, "*batch NF"]:
    return rows.reshape(*rows.shape[:-2], -1)
