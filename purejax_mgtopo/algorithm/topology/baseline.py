"""The learned baseline V(o; phi), and the advantages that come of it (Section 4.2, "Learned baseline")."""

from __future__ import annotations

from dataclasses import replace

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Key

from purejax_mgtopo.algorithm.networks import MLP, apply
from purejax_mgtopo.algorithm.types import PyTree, Sizes, Trajectory
from purejax_mgtopo.config import Experiment


@flax.struct.dataclass
class Moments:
    """Decayed sums, over trajectories, of what a running mean and standard deviation need."""

    weight: Float[Array, ""]
    total: Float[Array, ""]
    square: Float[Array, ""]

    @classmethod
    def zero(cls) -> Moments:
        """Moments before any trajectory."""
        return cls(weight=jnp.zeros(()), total=jnp.zeros(()), square=jnp.zeros(()))

    def updated(self, values: Float[Array, " T"], decay: float) -> Moments:
        """The moments with one more trajectory's values."""
        return Moments(
            weight=decay * self.weight + 1,
            total=decay * self.total + jnp.mean(values),
            square=decay * self.square + jnp.mean(jnp.square(values)),
        )

    def normalised(self, values: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
        """Less the running mean, divided by the running standard deviation."""
        weight = jnp.maximum(self.weight, 1e-8)
        mean = self.total / weight
        variance = jnp.maximum(self.square / weight - jnp.square(mean), 0.0)
        return (values - mean) * jax.lax.rsqrt(variance + 1e-8)


@flax.struct.dataclass
class BaselineState:
    """phi, its Adam state, and the advantage's running moments."""

    params: PyTree
    optimizer: PyTree
    moments: Moments


class Baseline:
    """``V(o) = FC(H)-FC(H)-Linear(1)`` of the joint observation, trained by n-step TD (Table 1)."""

    def __init__(self, experiment: Experiment, sizes: Sizes) -> None:
        self.settings = experiment.baseline
        self.discount = experiment.learner.discount
        self.inputs = sizes.agents * sizes.observation
        self._network = MLP((experiment.learner.hidden, experiment.learner.hidden, 1))
        self._adam = optax.adam(self.settings.learning_rate)

    def init(self, key: Key[Array, ""]) -> BaselineState:
        """Fresh parameters, optimiser state and moments."""
        params = self._network.init(key, jnp.zeros(self.inputs))
        return BaselineState(params, self._adam.init(params), Moments.zero())

    def value(
        self, params: PyTree, observation: Float[Array, "*batch N O"]
    ) -> Float[Array, "*batch"]:
        """V of joint observations."""
        joined = observation.reshape(*observation.shape[:-2], -1)
        return apply(self._network, params, joined)[..., 0]

    def fit(
        self, state: BaselineState, trajectory: Trajectory, reward: Float[Array, " T"]
    ) -> tuple[BaselineState, Float[Array, ""]]:
        """One Adam step towards the n-step return, which is held fixed; returns the loss as well."""

        def loss(params: PyTree) -> Float[Array, ""]:
            values = self.value(params, trajectory.observation)
            target = n_step_return(reward, values, self.discount, self.settings.n_step)
            return jnp.mean(jnp.square(jax.lax.stop_gradient(target) - values[:-1]))

        error, gradient = jax.value_and_grad(loss)(state.params)
        updates, optimizer = self._adam.update(gradient, state.optimizer, state.params)
        params = optax.apply_updates(state.params, updates)
        return replace(state, params=params, optimizer=optimizer), error

    def beyond(
        self, params: PyTree, trajectory: Trajectory, reward: Float[Array, " T"]
    ) -> tuple[Float[Array, " T+1"], Float[Array, " T"]]:
        """V at all steps, and ``G_t^(n) - V(o_t)``; data."""
        values = self.value(params, trajectory.observation)
        returns = n_step_return(reward, values, self.discount, self.settings.n_step)
        return values, jax.lax.stop_gradient(returns - values[:-1])

    def advantage(
        self, state: BaselineState, trajectory: Trajectory, reward: Float[Array, " T"]
    ) -> tuple[Float[Array, " T"], BaselineState]:
        """``G_t^(n) - V(o_t)``, normalised by running moments that now include it; data, not differentiable."""
        raw = self.beyond(state.params, trajectory, reward)[1]
        moments = state.moments.updated(raw, self.settings.moments_decay)
        result = moments.normalised(raw) if self.settings.normalise else raw
        return result, replace(state, moments=moments)


def n_step_return(
    reward: Float[Array, " T"], value: Float[Array, " T+1"], discount: float, n: int
) -> Float[Array, " T"]:
    """``sum_{k<n} gamma^k r_{t+k} + gamma^n V(o_{t+n})``, windows cut at the episode's end and bootstrapped there.

    The end is a time limit, so its value is not zero (the tasks never terminate).
    """
    steps = reward.shape[0]
    ahead = np.arange(steps)[None, :] - np.arange(steps)[:, None]
    weight = np.where((ahead >= 0) & (ahead < n), float(discount) ** np.maximum(ahead, 0), 0.0)
    end = np.minimum(np.arange(steps) + n, steps)
    tail = float(discount) ** (end - np.arange(steps))
    # The values at the windows' ends are one slice and repetitions of the last: no gather.
    reached = value[n:] if n < steps else value[steps:]
    padded = jnp.concatenate([reached, jnp.repeat(value[-1:], steps - reached.shape[0])])
    return jnp.asarray(weight, reward.dtype) @ reward + jnp.asarray(tail, reward.dtype) * padded
