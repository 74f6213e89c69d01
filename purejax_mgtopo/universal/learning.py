"""One rule learned over groups of lifetimes: a program for each group, and one update of the rule by all of them.

Lifetimes are spread over devices, as many on each, and have the same keys on any number of them. What they tell is
summed on each device and then over devices: on another number the rule is the same to rounding, not bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, Protocol

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Int, Key

from purejax_mgtopo.algorithm.kernels.target import platform
from purejax_mgtopo.algorithm.topology.edgewise.judged import Edgewise
from purejax_mgtopo.algorithm.types import Measures, Purpose, PyTree
from purejax_mgtopo.config import Means
from purejax_mgtopo.machine.compiler import compiler_options
from purejax_mgtopo.population.lanes import devices_for, lanes_together, over_lanes
from purejax_mgtopo.universal.settings import MetaTraining

LIVES, SHARED = PartitionSpec("life"), PartitionSpec()


class Lessons(Protocol):
    """What one task has to teach a rule: its lifetimes, or pairs of them."""

    @property
    def rule(self) -> Edgewise:
        """How gates learn, and are judged."""
        ...

    def first(self, key: Key[Array, ""]) -> Any:
        """What to begin with."""
        ...

    def step(self, eta: PyTree, life: Any) -> tuple[Any, tuple[PyTree, Measures]]:
        """What to go on with, the direction in which this one would move eta, and its measures."""
        ...


@flax.struct.dataclass
class LearningState:
    """The rule, what its optimiser remembers of each group, and all lifetimes, [L, ...] of each group."""

    step: Int[Array, ""]
    eta: PyTree
    adams: tuple[PyTree, ...]
    lives: tuple[PyTree, ...]


def devices_sharing(means: Means, lifetimes: int) -> int:
    """How many devices share so many lifetimes: every one holds as many."""
    return math.gcd(len(devices_for(means, lifetimes)), lifetimes)


class Learning:
    """The meta-training of one rule; holds no state.

    Args:
        start: the rule to begin with, by default one that corrects nothing yet.
    """

    def __init__(
        self,
        settings: MetaTraining,
        groups: Sequence[Lessons],
        means: Means,
        start: PyTree | None = None,
    ) -> None:
        self.settings, self.groups, self.start = settings, tuple(groups), start
        self._adam = optax.chain(
            optax.clip_by_global_norm(settings.gradient_clip), optax.adam(settings.learning_rate)
        )
        lives = settings.lifetimes
        count = devices_sharing(means, lives)
        devices = np.array(jax.devices()[:count])
        self._mesh = Mesh(devices, ("life",), axis_types=(AxisType.Auto,))
        self._spread, self._shared = (NamedSharding(self._mesh, x) for x in (LIVES, SHARED))
        self._batch = lanes_together(means, lives // count)
        self._steps = [self._program(partial(self._step, group)) for group in self.groups]
        self._update = jax.jit(self._updated, out_shardings=self._shared)

    def init(self) -> LearningState:
        """The rule to begin with, and the first generation."""
        key = Purpose.META_TRAINING.key(self.settings.seed)
        eta_key, *keys = jax.random.split(key, 1 + len(self.groups))
        eta = self.start
        if eta is None:
            eta = jax.jit(self.groups[0].rule.init_eta)(eta_key)
        adam = self._adam.init(eta)
        lives = []
        for group, key in zip(self.groups, keys, strict=True):
            lanes = jax.random.split(key, self.settings.lifetimes)
            lives.append(jax.jit(over_lanes(group.first, self._batch))(lanes))
        adams = tuple(adam for _ in self.groups)
        return self.placed(LearningState(jnp.zeros((), jnp.int32), eta, adams, tuple(lives)))

    def placed(self, state: LearningState) -> LearningState:
        """A state where `advance` leaves it: from anywhere else every program would be compiled a second time."""
        lives = jax.device_put(state.lives, self._spread)
        step, eta, adams = jax.device_put((state.step, state.eta, state.adams), self._shared)
        return LearningState(step, eta, adams, lives)

    def advance(self, state: LearningState) -> tuple[LearningState, list[Measures]]:
        """K gate updates of all lifetimes and one update of the rule; what each group measures, means over it."""
        done = [
            step(state.eta, lives) for step, lives in zip(self._steps, state.lives, strict=True)
        ]
        lives, gradients, measures = zip(*done, strict=True)
        eta, adams = self._update(state.eta, state.adams, gradients)
        return LearningState(state.step + 1, eta, adams, lives), list(measures)

    def _step(self, group: Lessons, eta: PyTree, lives: PyTree) -> tuple[PyTree, PyTree, Measures]:
        """A step of one device's lifetimes, and means over those of all devices that have stayed finite."""

        def one(life: PyTree) -> tuple[PyTree, tuple]:
            return group.step(eta, life)

        lives, told = over_lanes(one, self._batch, in_place=True)(lives)
        sound = jnp.all(
            jnp.stack(
                [
                    jnp.all(jnp.isfinite(x).reshape(len(x), -1), axis=1)
                    for x in jax.tree.leaves(told)
                ]
            ),
            axis=0,
        )
        count = jax.lax.psum(jnp.sum(sound), "life")

        def mean(x: Array) -> Array:
            kept = jnp.where(sound.reshape(-1, *(1,) * (x.ndim - 1)), x, 0)
            return jax.lax.psum(jnp.sum(kept, axis=0), "life") / jnp.maximum(count, 1)

        gradient, measures = jax.tree.map(mean, told)
        measures = {name: jnp.where(count > 0, x, jnp.nan) for name, x in measures.items()}
        return lives, gradient, measures | {"sound": count / self.settings.lifetimes}

    def _updated(
        self, eta: PyTree, adams: tuple[PyTree, ...], gradients: tuple[PyTree, ...]
    ) -> tuple[PyTree, tuple[PyTree, ...]]:
        """The rule, moved by the mean of what each group's optimiser asks for: up the objectives."""
        asked = []
        for adam, gradient in zip(adams, gradients, strict=True):
            descent = jax.tree.map(jnp.negative, gradient)
            asked.append(self._adam.update(descent, adam, eta))
        updates, after = zip(*asked, strict=True)
        mean = jax.tree.map(lambda *each: sum(each) / len(each), *updates)
        return optax.apply_updates(eta, mean), after

    def _program(self, fn: Any) -> Any:
        local = jax.shard_map(
            fn,
            mesh=self._mesh,
            in_specs=(SHARED, LIVES),
            out_specs=(LIVES, SHARED, SHARED),
            check_vma=False,
        )
        return jax.jit(
            local,
            donate_argnums=(1,),
            # XLA would have its own mind about arrays without elements.
            out_shardings=(self._spread, self._shared, self._shared),
            compiler_options=compiler_options(platform()),
        )
