"""Kernels of our own beside those of XLA, on the device that is there: whether they agree, then which is faster."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from purejax_mgtopo.errors import RunError

NEAR = 2e-2
"""By how much results may differ, of their largest or of one: both store in bfloat16, and round in other places."""


@dataclass(frozen=True)
class CallSizes:
    """What the kernels are called with; by default what `meta` calls them with, of as many seeds."""

    lanes: int = 256
    teams: tuple[tuple[int, int], ...] = ((3, 14), (6, 26))
    """Agents, and numbers in a message."""
    batch: int = 256
    hidden: int = 128
    steps: int = 25


def compare(sizes: CallSizes | None = None, repeats: int = 15) -> dict[str, Any]:
    """Milliseconds of each, forward and backward, measured in turns, and the largest difference.

    Raises RunError where any output or derivative of a kernel of our own is not what that of XLA gives.
    """
    import jax

    found: dict[str, Any] = {"device": jax.devices()[0].device_kind}
    for name, ours, plain, inputs in _cases(sizes or CallSizes()):
        programs = {"fused": _program(ours), "xla": _program(plain)}
        results = {kind: program(*inputs) for kind, program in programs.items()}
        found[f"{name}: largest difference"] = _differs(name, results["fused"], results["xla"])
        turns: dict[str, list[float]] = {kind: [] for kind in programs}
        for _ in range(repeats):
            for kind, program in programs.items():
                began = time.perf_counter()
                jax.block_until_ready(program(*inputs))
                turns[kind].append(1e3 * (time.perf_counter() - began))
        for kind, taken in turns.items():
            found[f"{name}: ms by {kind}"] = statistics.median(taken)
    return found


def _cases(sizes: CallSizes) -> Iterator[tuple[str, Callable[..., Any], Callable[..., Any], tuple]]:
    import jax
    import jax.numpy as jnp

    from purejax_mgtopo.algorithm.kernels.fused.message_lstm import message_lstm
    from purejax_mgtopo.algorithm.kernels.fused.reversed_scan import fused_scan
    from purejax_mgtopo.algorithm.kernels.masked_lstm import masked_lstm
    from purejax_mgtopo.algorithm.kernels.reversed_lstm import lean_scan

    random = np.random.default_rng(0)
    size, gates = sizes.hidden, 4 * sizes.hidden

    def drawn(*shape: int, scale: float = 1.0) -> Any:
        return jnp.asarray(scale * random.normal(size=shape), jnp.float32)

    for agents, width in sizes.teams:
        each = sizes.lanes, agents
        kernel = drawn(*each, width + size, gates, scale=(width + size) ** -0.5)
        opened = random.random((*each, sizes.batch, agents - 1)) < 0.5
        inputs = (
            kernel.astype(jnp.bfloat16),
            drawn(*each, gates),
            drawn(*each, agents - 1, sizes.batch, width),
            jnp.asarray(opened, jnp.float32),
        )
        lifted = [jax.vmap(jax.vmap(fn)) for fn in (message_lstm, masked_lstm)]
        yield f"message LSTM of {agents} agents", lifted[0], lifted[1], inputs

    def read(scan: Callable[..., Any]) -> Callable[..., Any]:
        return jax.vmap(
            lambda recurrent, projected, keep: scan(recurrent, projected, keep, None)[0]
        )

    recurrent = drawn(sizes.lanes, size, gates, scale=size**-0.5).astype(jnp.bfloat16)
    keep = jnp.asarray(random.random((sizes.lanes, sizes.steps)) < 0.9, jnp.float32)
    projected = drawn(sizes.lanes, sizes.steps, gates)
    yield "eta's LSTM", read(fused_scan), read(lean_scan), (recurrent, projected, keep)


def _program(fn: Callable[..., Any]) -> Callable[..., Any]:
    """The outputs of `fn` and all derivatives of a sum of them."""
    import jax
    import jax.numpy as jnp

    @jax.jit
    def everything(*inputs: Any) -> Any:
        out, pull = jax.vjp(fn, *inputs)
        slopes = jnp.cos(jnp.arange(out.size, dtype=jnp.float32)).reshape(out.shape)
        return out, *pull(slopes.astype(out.dtype))

    return everything


def _differs(name: str, ours: tuple, plain: tuple) -> float:
    largest = 0.0
    for number, pair in enumerate(zip(ours, plain, strict=True)):
        one, other = (np.asarray(x, np.float32) for x in pair)
        off = float(np.max(np.abs(one - other)) / max(1.0, float(np.max(np.abs(other)))))
        what = f"derivative {number}" if number else "output"
        if not off <= NEAR:  # what is not a number is neither
            raise RunError(
                f"{name}: the {what} of the fused kernel is off by {off:.2g} (at most {NEAR})"
            )
        largest = max(largest, off)
    return largest
