"""Layers that store less: the values and derivatives of the plain ones, and the types of what they hand on."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purejax_mgtopo.algorithm.algorithm import Algorithm
from purejax_mgtopo.algorithm.kernels.joint_scan import joint_scan
from purejax_mgtopo.algorithm.kernels.masked_lstm import masked_lstm
from purejax_mgtopo.algorithm.kernels.reversed_lstm import lean_scan, reversed_scan
from purejax_mgtopo.algorithm.kernels.stored import Dense, dense, for_products, joint_dense, relu
from purejax_mgtopo.algorithm.kernels.target import platform, traced_for
from purejax_mgtopo.algorithm.kernels.thin_matmul import thin_matmul
from purejax_mgtopo.config import Experiment, override, with_method

BATCH, WIDTH, HIDDEN, SENDERS = 6, 5, 4, 3
NEAR = {"float32": 2e-6, "bfloat16": 2e-2}


def drawn(*shape: int, seed: int = 0) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def plain_lstm(kernel: Any, bias: Any, sequence: Any, received: Any) -> Any:
    """Gate by gate, as textbooks have it."""
    hidden = cell = jnp.zeros((received.shape[0], HIDDEN))
    for x, reads in zip(sequence, received.T, strict=True):
        pre = jnp.concatenate([x, hidden], axis=-1) @ kernel + bias
        i, f, g, o = (pre[:, k * HIDDEN : (k + 1) * HIDDEN] for k in range(4))
        after = jax.nn.sigmoid(f) * cell + jax.nn.sigmoid(i) * jnp.tanh(g)
        new, reads = jax.nn.sigmoid(o) * jnp.tanh(after), reads[:, None]
        hidden, cell = reads * new + (1 - reads) * hidden, reads * after + (1 - reads) * cell
    return hidden


def agree(lean: Callable, plain: Callable, inputs: tuple, precision: str, gpu: bool = True) -> None:
    """Outputs and all derivatives, the kernel being the first of the inputs."""
    kept = jnp.dtype(precision)
    slopes = drawn(*plain(*inputs).shape, seed=9)
    narrow = (inputs[0].astype(kept), *inputs[1:])
    with traced_for("gpu" if gpu else "cpu"), jax.default_matmul_precision("highest"):
        out, pull = jax.vjp(lean, *narrow)
        found = pull(slopes.astype(out.dtype))
        wanted, pull = jax.vjp(plain, *inputs)
        expected = pull(slopes)
    assert [x.dtype for x in found] == [x.dtype for x in narrow]
    for ours, theirs in zip((out, *found), (wanted, *expected), strict=True):
        scale = max(1.0, float(jnp.max(jnp.abs(theirs))))
        np.testing.assert_allclose(
            np.asarray(ours, np.float32) / scale, theirs / scale, atol=NEAR[precision]
        )


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("precision", NEAR)
def test_the_masked_lstm_is_the_textbooks(precision: str) -> None:
    received = (np.random.default_rng(1).random((BATCH, SENDERS)) < 0.5).astype(np.float32)
    received[0], received[1] = 0, 1
    received[2] = (0.2, 0.7, 1.0)  # straight-through rules differentiate in between
    inputs = (
        drawn(WIDTH + HIDDEN, 4 * HIDDEN),
        drawn(4 * HIDDEN, seed=1),
        drawn(SENDERS, BATCH, WIDTH, seed=2),
        jnp.asarray(received),
    )
    agree(masked_lstm, plain_lstm, inputs, precision)
    row = (*inputs[:2], inputs[2][:, 2:3], inputs[3][2:3])  # as a rollout has it
    agree(masked_lstm, plain_lstm, row, precision)


@pytest.mark.parametrize("precision", NEAR)
def test_layers_are_products_and_sums(precision: str) -> None:
    kernel, x, bias = drawn(WIDTH, 3), drawn(BATCH, 2, WIDTH, seed=1), drawn(3, seed=2)
    agree(lambda k, x, b: dense(x, k, b), lambda k, x, b: x @ k + b, (kernel, x, bias), precision)
    thin = lambda k, x: thin_matmul(x, k)  # noqa: E731
    agree(thin, lambda k, x: x @ k, (kernel, x), precision)
    agree(thin, lambda k, x: x @ k, (kernel, x), precision, gpu=False)


class Summed(nn.Module):
    """Two layers of an input each, one with a bias."""

    def setup(self) -> None:
        self.layers = Dense(3), Dense(3, use_bias=False)

    def __call__(self, *inputs: Any) -> Any:
        return joint_dense(self.layers, inputs)


def test_of_narrow_layers_a_sum_is_one_product() -> None:
    inputs = drawn(BATCH, WIDTH), drawn(BATCH, 2, seed=1)
    params = Summed().init(jax.random.key(0), *inputs)
    layers = params["params"]["layers_0"], params["params"]["layers_1"]
    wanted = inputs[0] @ layers[0]["kernel"] + layers[0]["bias"] + inputs[1] @ layers[1]["kernel"]
    for narrow, products, near in ((False, 2, 2e-6), (True, 1, 2e-2)):
        with jax.default_matmul_precision("bfloat16" if narrow else "highest"):
            read = for_products(params)
        found = Summed().apply(read, *inputs)
        np.testing.assert_allclose(np.asarray(found, np.float32), wanted, atol=near * 3)
        text = str(jax.make_jaxpr(Summed().apply)(read, *inputs))
        assert text.count("dot_general") == products


def test_the_rectifier_needs_only_what_it_gives() -> None:
    x = jnp.asarray([-1.0, 0.0, 2.0])
    with traced_for("gpu"):
        np.testing.assert_array_equal(relu(x), [0.0, 0.0, 2.0])
        np.testing.assert_array_equal(jax.grad(lambda x: jnp.sum(3 * relu(x)))(x), [0.0, 0.0, 3.0])


def test_programs_are_traced_for_what_is_said() -> None:
    assert platform() == jax.default_backend()
    with traced_for("gpu"):
        assert platform() == "gpu"
    assert platform() == jax.default_backend()


def test_only_where_asked_are_weights_rounded_and_never_biases() -> None:
    params = {"params": {"kernel": drawn(2, 2), "bias": drawn(2)}}
    assert for_products(params) is params
    with jax.default_matmul_precision("bfloat16"):
        rounded = for_products(params)["params"]
    assert (rounded["kernel"].dtype, rounded["bias"].dtype) == (jnp.bfloat16, jnp.float32)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("meta", "cpu"),
        ("stgs", "gpu"),
        ("ic3net", "gpu"),
        ("none+gat+pic", "gpu"),
        ("none+lstm+factored", "gpu"),
    ],
)
def test_a_state_stays_of_float32_whatever_is_stored(method: str, target: str) -> None:
    """Shapes and types alone: nothing is compiled."""
    small = {"learner.hidden": 8, "learner.batch_size": 64, "learner.warmup_episodes": 3}
    experiment = override(with_method(Experiment(), method), {**small, "meta.hidden": 8})
    with jax.default_matmul_precision("bfloat16"), traced_for(target):
        algorithm = Algorithm(experiment)
        key = jax.random.key(0)
        before = jax.eval_shape(algorithm.init, key)
        clock = jax.eval_shape(algorithm.start_clock)
        shared = jax.eval_shape(algorithm.parts.init_shared, key)
        after = jax.eval_shape(algorithm.iterate, before, clock, shared)[0]
        text = str(jax.make_jaxpr(algorithm.iterate)(before, clock, shared))
    assert jax.tree.map(lambda x: x.dtype, before) == jax.tree.map(lambda x: x.dtype, after)
    floats = [x.dtype for x in jax.tree.leaves(after) if jnp.issubdtype(x.dtype, jnp.floating)]
    assert set(floats) == {jnp.dtype(jnp.float32)}
    assert re.search(r"bf16\[(3,)?64,", text)  # and yet activations of a whole batch are not


@pytest.mark.parametrize("precision", NEAR)
def test_the_lean_lstm_is_the_one_that_keeps_all(precision: str) -> None:
    steps = 7
    recurrent, projected = drawn(HIDDEN, 4 * HIDDEN), drawn(steps, 4 * HIDDEN, seed=1)
    keep = jnp.ones(steps).at[3].set(0.0).at[-1].set(0.0)

    def lean(recurrent: Any, projected: Any) -> Any:
        states = jax.lax.stop_gradient(lean_scan(recurrent, projected, keep, None))
        return (
            lean_scan(recurrent, projected, keep, None)[0]
            + 2 * lean_scan(recurrent, projected, keep, states)[0]
        )

    def plain(recurrent: Any, projected: Any) -> Any:
        return 3 * reversed_scan(recurrent, projected, keep, None)[0]

    agree(lean, plain, (recurrent, projected), precision)


@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize(("steps", "reverse"), [(5, False), (12, True)])
def test_a_joint_scan_tells_the_same(steps: int, reverse: bool, many: bool) -> None:
    def step(carry: Any, x: Any) -> tuple:
        total, last, count = carry
        again = total * x
        return (total + jnp.sum(x), x[0] + last, count + 1), (
            again,
            {"n": count, "twice": again},
            (),
            jnp.sum(x),
        )

    start = jnp.zeros((2, 3)), jnp.ones(3), jnp.zeros((), jnp.int32)
    inputs = drawn(steps, 2, 3)
    plain = joint_scan(step, start, inputs, reverse)
    with traced_for("gpu"):
        scan = partial(joint_scan, step, start, reverse=reverse, many=many)
        joint = scan(inputs)
        text = str(jax.make_jaxpr(scan)(inputs))
    assert jax.tree.structure(plain) == jax.tree.structure(joint)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-6), plain, joint)
    assert f"f32[{steps},7]" in text  # six numbers that are told twice, and one
    assert ("f32[9]" in text) == many  # the nine numbers that a step leaves


def test_what_is_left_to_the_next_step_may_be_the_same_array_at_first_and_another_later() -> None:
    """Of three arrays two are one: the first two at the start, the last two after a step."""

    def step(carry: Any, x: Any) -> tuple:
        a, b, c = carry
        new = b + 2 * x
        return (a + x, new, new), a + 10 * b + 100 * c

    zeros = jnp.zeros(3)
    start, inputs = (zeros, zeros, jnp.ones(3)), drawn(4, 3)
    plain = joint_scan(step, start, inputs)
    with traced_for("gpu"):
        joint = joint_scan(step, start, inputs, many=True)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-6), plain, joint)
