"""The seed axis: how the lanes of one device are batched.

- ``vmap`` (accelerators): the lanes of a device advance together, as one batched program, or in micro-batches.
- ``map`` (CPU): they advance in turn, on one host device per core. There, vmapping whole training runs gains nothing,
  makes the LSTM slower, and with two or more threads can leave all threads of XLA's pool asleep for good.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from purejax_mgtopo.algorithm.kernels.target import platform
from purejax_mgtopo.config import Means
from purejax_mgtopo.errors import ConfigError


def seed_axis(means: Means) -> str:
    """How the lanes of one device are batched: ``vmap`` or ``map``."""
    if means.seed_axis != "auto":
        return means.seed_axis
    return "map" if platform() == "cpu" else "vmap"


def devices_for(means: Means, lanes: int) -> Sequence[jax.Device]:
    """The devices that share so many lanes: in one process no more than there are lanes, in several all."""
    if means.kernels == "fused" and platform() != "gpu":
        raise ConfigError(
            f"kernels fused run on a GPU only, and JAX uses a {platform().upper()} here; set kernels to xla"
        )
    devices = jax.devices()
    count = min(means.devices or len(devices), len(devices))
    if jax.process_count() > 1:
        if count < len(devices) or lanes < len(devices):
            raise ConfigError(
                f"{jax.process_count()} processes hold {len(devices)} devices: use all of them "
                f"(devices = 0), with at least {len(devices)} seeds at a time"
            )
    else:
        count = min(count, lanes)
    return devices[:count]


def lanes_together(means: Means, lanes: int) -> int:
    """How many of one device's lanes advance together; 0 in the settings lets all."""
    if seed_axis(means) == "map":
        return 1
    return min(means.microbatch or lanes, lanes)


def over_lanes(
    fn: Callable[..., Any], batch: int, *, in_place: bool = False
) -> Callable[[Any], Any]:
    """Lift a function of one lane to all lanes of a device.

    Args:
        fn: of a pytree, one lane.
        batch: lanes that advance together.
        in_place: `fn` gives the lane's next state and what it tells. The states are updated where they are; a
            `lax.map` would hold those of all lanes twice.
    """
    together = jax.vmap(fn) if batch > 1 else fn

    def take(tree: Any, i: Array) -> Any:
        if batch > 1:
            return jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, i * batch, batch), tree)
        return jax.tree.map(lambda x: jax.lax.dynamic_index_in_dim(x, i, keepdims=False), tree)

    def put(tree: Any, part: Any, i: Array) -> Any:
        update = (
            (lambda x, y: jax.lax.dynamic_update_slice_in_dim(x, y, i * batch, 0))
            if batch > 1
            else (lambda x, y: jax.lax.dynamic_update_index_in_dim(x, y, i, 0))
        )
        return jax.tree.map(update, tree, part)

    def whole(tree: Any) -> Any:
        if batch == 1:
            return tree
        return jax.tree.map(lambda x: x.reshape(len(x) * batch, *x.shape[2:]), tree)

    def apply(lanes: Any) -> Any:
        count = jax.tree.leaves(lanes)[0].shape[0] // batch
        if count == 1 and batch > 1:
            return together(lanes)
        if not in_place:

            def create(_: None, i: Array) -> tuple:
                return None, together(take(lanes, i))

            return whole(jax.lax.scan(create, None, jnp.arange(count))[1])

        def advance(lanes: Any, i: Array) -> tuple:
            part, reports = together(take(lanes, i))
            return put(lanes, part, i), reports

        reports: Any
        lanes, reports = jax.lax.scan(advance, lanes, jnp.arange(count))
        return lanes, whole(reports)

    return apply
