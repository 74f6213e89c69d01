"""Kernels of our own, in interpretation: values and all derivatives of the plain ones, and where they are used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purejax_mgtopo.algorithm.algorithm import Algorithm
from purejax_mgtopo.algorithm.kernels.fused.calls import interpreted
from purejax_mgtopo.algorithm.kernels.fused.message_lstm import ROWS, message_lstm
from purejax_mgtopo.algorithm.kernels.fused.reversed_scan import fused_scan
from purejax_mgtopo.algorithm.kernels.masked_lstm import masked_lstm
from purejax_mgtopo.algorithm.kernels.reversed_lstm import lean_scan
from purejax_mgtopo.algorithm.kernels.target import fuses, made_of, traced_for, traced_with
from purejax_mgtopo.config import Experiment, Means, override, with_method
from purejax_mgtopo.errors import ConfigError
from purejax_mgtopo.population.lanes import devices_for

NEAR = {"float32": 2e-6, "bfloat16": 2e-2}
"""Of the largest of an array, or of one. In bfloat16 both round, but not in the same places."""
LANES, AGENTS = 2, 3


def drawn(*shape: int, seed: int = 0) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def agree(ours: Callable, plain: Callable, inputs: tuple, near: float) -> None:
    """Every output, every derivative, and their types."""

    def everything(fn: Callable) -> Any:
        out, pull = jax.vjp(fn, *inputs)
        flat, structure = jax.tree.flatten(out)
        slopes = [drawn(*x.shape, seed=9).astype(x.dtype) for x in flat]
        return out, pull(jax.tree.unflatten(structure, slopes))

    with traced_for("gpu"), jax.default_matmul_precision("highest"), interpreted():
        found, wanted = (jax.jit(everything, static_argnums=0)(fn) for fn in (ours, plain))
    for x, y in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        assert x.dtype == y.dtype
        x, y = np.asarray(x, np.float32), np.asarray(y, np.float32)
        scale = max(1.0, np.abs(y).max())
        np.testing.assert_allclose(x / scale, y / scale, atol=near)


def messages(
    senders: int, batch: int, width: int, hidden: int, precision: str, *outer: int
) -> tuple:
    """Kernel, bias, what is sent and which of it arrives: in the first two rows nothing and all, and once a part."""
    received = np.random.default_rng(1).random((*outer, batch, senders)) < 0.5
    received = received.astype(np.float32)
    received[..., 0, :], received[..., 1, :] = 0, 1
    received[..., 2, :] = np.linspace(0.2, 0.7, senders)
    return (
        drawn(*outer, width + hidden, 4 * hidden).astype(precision) / 2,
        drawn(*outer, 4 * hidden, seed=1),
        drawn(*outer, senders, batch, width, seed=2),
        jnp.asarray(received),
    )


@pytest.mark.parametrize("precision", NEAR)
@pytest.mark.parametrize(
    ("senders", "batch", "width", "hidden"),
    [(2, 16, 14, 16), (5, ROWS + 5, 17, 16), (3, 2 * ROWS, 3, 32)],
)
def test_the_fused_message_lstm_is_the_plain_one(
    senders: int, batch: int, width: int, hidden: int, precision: str
) -> None:
    inputs = messages(senders, batch, width, hidden, precision)
    agree(message_lstm, masked_lstm, inputs, NEAR[precision])


@pytest.mark.parametrize("precision", NEAR)
def test_so_it_is_for_many_lanes_of_many_agents(precision: str) -> None:
    inputs = messages(2, ROWS + 1, 5, 16, precision, LANES, AGENTS)
    ours, plain = (jax.vmap(jax.vmap(fn)) for fn in (message_lstm, masked_lstm))
    agree(ours, plain, inputs, NEAR[precision])


def test_agents_may_share_one_lstm() -> None:
    kernel, bias, sequence, received = messages(2, 16, 5, 16, "float32", AGENTS)
    inputs = kernel[0], bias[0], sequence, received
    ours, plain = (jax.vmap(fn, (None, None, 0, 0)) for fn in (message_lstm, masked_lstm))
    agree(ours, plain, inputs, NEAR["float32"])


@pytest.mark.parametrize(
    ("senders", "batch", "width", "hidden", "fused"),
    [
        (2, 16, 5, 16, True),
        (2, 1, 5, 16, False),  # a rollout's row
        (1, 16, 5, 16, False),
        (2, 16, 5, 24, False),  # no power of two
        (2, 16, 5, 8, False),
        (2, 16, 40, 16, False),  # more columns, those of zeros counted, than the kernel has rows
        (2, 16, 5, 256, False),  # too much for shared memory, and so is the next
        (2, 16, 70, 128, False),
    ],
)
def test_what_has_no_blocks_is_left_to_the_plain_one(
    senders: int, batch: int, width: int, hidden: int, fused: bool
) -> None:
    received = jnp.ones((batch, senders))
    inputs = drawn(width + hidden, 4 * hidden), drawn(4 * hidden), drawn(senders, batch, width)
    with traced_for("gpu"):
        text = str(jax.make_jaxpr(message_lstm)(*inputs, received))
    assert ("pallas_call" in text) == fused


@pytest.mark.parametrize("precision", NEAR)
@pytest.mark.parametrize(("steps", "hidden"), [(7, 16), (4, 32)])
def test_the_fused_scan_is_the_lean_one(steps: int, hidden: int, precision: str) -> None:
    """Cells too, and what is computed from states that are known already."""
    keep = jnp.ones((LANES, steps)).at[0, 2].set(0.0).at[1, -1].set(0.0).at[1, 0].set(0.5)
    inputs = (
        drawn(LANES, hidden, 4 * hidden).astype(precision) / 2,
        drawn(LANES, steps, 4 * hidden, seed=1),
    )

    def both(scan: Callable) -> Callable:
        def one(recurrent: Any, projected: Any, keep: Any) -> Any:
            states = jax.lax.stop_gradient(scan(recurrent, projected, keep, None))
            again = scan(recurrent, projected, keep, states)[0]
            return scan(recurrent, projected, keep, None)[0], 2 * again, states

        return lambda recurrent, projected: jax.vmap(one)(recurrent, projected, keep)

    agree(both(fused_scan), both(lean_scan), inputs, NEAR[precision])


@pytest.mark.parametrize(("hidden", "fused"), [(128, True), (256, False), (24, False), (8, False)])
def test_a_recurrent_kernel_that_no_program_can_hold_is_left_to_the_lean_scan(
    hidden: int, fused: bool
) -> None:
    inputs = drawn(hidden, 4 * hidden), drawn(3, 4 * hidden), jnp.ones(3)
    text = str(jax.make_jaxpr(lambda *x: fused_scan(*x, None))(*inputs))
    assert ("pallas_call" in text) == fused


def iteration(kernels: str, precision: str) -> str:
    """What an iteration of `meta` consists of; nothing is compiled."""
    small = {"learner.hidden": 16, "meta.hidden": 16, "learner.batch_size": 64}
    experiment = override(with_method(Experiment(), "meta"), small)
    with traced_for("gpu"), traced_with(kernels), jax.default_matmul_precision(precision):
        algorithm = Algorithm(experiment)
        state = jax.eval_shape(algorithm.init, jax.random.key(0))
        shared = jax.eval_shape(algorithm.parts.init_shared, jax.random.key(0))
        return str(jax.make_jaxpr(algorithm.iterate)(state, algorithm.start_clock(), shared))


@pytest.mark.parametrize(
    ("kernels", "precision", "calls"),
    [
        ("fused", "bfloat16", 6),  # target, policy, its derivative; eta twice, its derivative
        ("xla", "bfloat16", 0),
        ("fused", "highest", 0),
    ],
)
def test_they_are_used_where_they_are_asked_for_and_nowhere_else(
    kernels: str, precision: str, calls: int
) -> None:
    assert iteration(kernels, precision).count("pallas_call[") == calls


def test_a_program_is_traced_with_its_kernels_whoever_traces_it() -> None:
    told: list[bool] = []
    jax.jit(made_of("fused", lambda x: told.append(fuses()) or x))(1.0)
    with traced_with("fused"):
        jax.jit(made_of("xla", lambda x: told.append(fuses()) or x))(1.0)
        told.append(fuses())
    assert told == [True, False, True] and not fuses()


def test_only_a_gpu_runs_them_and_only_in_bfloat16() -> None:
    means = Means(kernels="fused", precision="bfloat16")
    with pytest.raises(ConfigError, match="on a GPU only, and JAX uses a CPU here; set kernels to"):
        devices_for(means, 1)
    with traced_for("gpu"):
        assert len(devices_for(means, 1)) == 1
    with pytest.raises(ConfigError, match=r"set precision to bfloat16 \(now auto\)"):
        Means(kernels="fused")
