"""For what programs are traced: the kind of device, and the type in which activations are stored.

Neither changes which values are computed, only how, so that they are no part of an algorithm: whoever traces a program
says them, as a context. A program keeps what was said when it was traced.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import jax

_PLATFORM: ContextVar[str] = ContextVar("platform", default="")


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
