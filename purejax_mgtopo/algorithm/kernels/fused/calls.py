"""How kernels of our own are called: by Pallas, which Triton compiles for a GPU, or interpreted where there is none.

What such a kernel multiplies stands in its name, for no compiled text says it: `machine.hlo` reads it there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import jax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

NARROWEST = 16
"""Numbers that a product in a kernel must have along each axis, at least."""
WIDEST = 128
"""Hidden units of an LSTM whose recurrent kernel, in bfloat16, fits in an A100's shared memory, with what is beside."""

_NAMES = "CompilerParams", "TritonCompilerParams"  # the latter before JAX 0.7
_PARAMS: Any = next(getattr(triton, name) for name in _NAMES if hasattr(triton, name))
_INTERPRETED: ContextVar[bool] = ContextVar("interpreted", default=False)


@contextmanager
def interpreted() -> Iterator[None]:
    """Kernels traced here are computed by JAX, step by step, on whatever device there is: for tests."""
    token = _INTERPRETED.set(True)
    try:
        yield
    finally:
        _INTERPRETED.reset(token)


def call(
    kernel: Callable[..., None],
    outputs: Sequence[jax.ShapeDtypeStruct],
    inputs: Sequence[Any],
    split: Sequence[int | None],
    rows: int,
    products: int,
    warps: int,
) -> list[Any]:
    """Run `kernel` once for each block of rows.

    Args:
        outputs: what is written.
        inputs: what is read.
        split: for each input, then for each output, the axis of its rows; None if each program has it whole.
        rows: rows in a block; they divide all rows.
        products: operations of products in one program, a multiplication and an addition counted as two.
        warps: groups of 32 threads that work on one program.
    """
    shapes = [x.shape for x in (*inputs, *outputs)]
    blocks = {
        shape[axis] // rows for shape, axis in zip(shapes, split, strict=True) if axis is not None
    }
    (count,) = blocks or {1}
    specs = [_spec(shape, axis, rows) for shape, axis in zip(shapes, split, strict=True)]
    with jax.named_scope(f"products_{products}_a_program"):
        written = pl.pallas_call(
            kernel,
            grid=(count,),
            in_specs=specs[: len(inputs)],
            out_specs=specs[len(inputs) :],
            out_shape=list(outputs),
            compiler_params=_PARAMS(num_warps=warps, num_stages=1),
            interpret=_INTERPRETED.get(),
        )(*inputs)
    return list(written)


def _spec(shape: tuple[int, ...], axis: int | None, rows: int) -> pl.BlockSpec:
    block = tuple(rows if k == axis else size for k, size in enumerate(shape))
    return pl.BlockSpec(block, lambda i: tuple(i if k == axis else 0 for k in range(len(shape))))


def power_of_two(least: int) -> int:
    """The smallest power of two that is not below `least`, as sizes in a kernel must be."""
    return 1 << max(least - 1, 0).bit_length()
