"""For what programs are traced: the kind of device, and whether kernels of our own are used there.

Neither changes which values are computed, only how, so that they are no part of an algorithm: whoever traces a program
says them, as a context. A program keeps what was said when it was traced.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import jax

_PLATFORM: ContextVar[str] = ContextVar("platform", default="")
_FUSED: ContextVar[bool] = ContextVar("fused", default=False)


def platform() -> str:
    """The kind of device, e.g. ``cpu`` or ``gpu``; by default what JAX has."""
    return _PLATFORM.get() or jax.default_backend()


@contextmanager
def traced_for(platform: str) -> Iterator[None]:
    """Programs for devices that need not be there."""
    token = _PLATFORM.set(platform)
    try:
        yield
    finally:
        _PLATFORM.reset(token)


def fuses() -> bool:
    """Whether kernels of `fused` take the place of those that XLA makes, where both are there."""
    return _FUSED.get()


@contextmanager
def traced_with(kernels: str) -> Iterator[None]:
    """Programs whose kernels are those that `config.Means.kernels` asks for."""
    token = _FUSED.set(kernels == "fused")
    try:
        yield
    finally:
        _FUSED.reset(token)


def made_of(kernels: str, fn: Callable[..., Any]) -> Callable[..., Any]:
    """`fn`, to be traced by whoever and whenever, with these kernels."""

    @functools.wraps(fn)
    def traced(*inputs: Any) -> Any:
        with traced_with(kernels):
            return fn(*inputs)

    return traced
