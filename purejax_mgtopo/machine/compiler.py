"""How programs are compiled, and what of a machine decides the last bit of a result."""

from __future__ import annotations

import functools
import os
import re
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import jax

_PRECISIONS = {
    "auto": None,
    "float32": "highest",
    "tf32": "tensorfloat32",
    "bfloat16": "bfloat16",
}
_WIDTHS = (("AVX512", "avx512f", 512), ("AVX", "avx", 256), ("SSE", "sse2", 128))
"""Families of x86 vector instructions: as XLA calls them, as Linux does, and the bits of a vector."""


def matmul_precision(precision: str) -> AbstractContextManager[None]:
    """The context in which programs are traced whose float32 products are to be that exact; it is fixed then."""
    chosen = _PRECISIONS[precision]
    # None would stand above what the user's JAX_DEFAULT_MATMUL_PRECISION says, and hide it.
    return nullcontext() if chosen is None else jax.default_matmul_precision(chosen)


@functools.cache
def compiler_options(platform: str, precision: str = "auto") -> dict[str, int] | None:
    """What XLA does not do on a CPU unless told to; the same for every number of devices, for it changes last bits.

    Loops with the widest vectors there are, which it halves by default (measured: 4 to 7 %); and no products shared
    out to other cores, which sums their parts in another order: where every core has a device nothing is lost by that
    (measured: 3 % gained), and a seed alone must equal the seed among others.
    """
    # XLA else leaves out roundings to bfloat16, and with them stores the wider numbers.
    exact: dict[str, int] = {"xla_allow_excess_precision": False}
    options = exact if precision == "bfloat16" else {}
    if platform != "cpu":
        return options or None
    options |= {"xla_cpu_prefer_vector_width": 512, "xla_cpu_multi_thread_eigen": False}
    try:
        jax.jit(lambda x: x, compiler_options=options)(0.0)
    except Exception:  # options come and go with versions of XLA; none is needed for right results
        return None
    return options


def vector_bits() -> int | None:
    """Bits of the widest vectors that compiled programs use on this CPU; None where that is not known.

    The processor's, as Linux lists them, or fewer by ``XLA_FLAGS=--xla_cpu_max_isa=...``.
    """
    try:
        listed = re.search(r"^flags\s*:(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        return None
    if listed is None:
        return None
    return widest_vectors(listed[1].split(), os.environ.get("XLA_FLAGS", ""))


def widest_vectors(instructions: list[str], flags: str) -> int | None:
    """Bits of the widest vectors among a processor's `instructions` that XLA's `flags` allow."""
    limit = re.search(r"--xla_cpu_max_isa=(\w+)", flags)
    allowed = 512
    if limit is not None:
        named = [bits for family, _, bits in _WIDTHS if limit[1].upper().startswith(family)]
        allowed = named[0] if named else allowed
    fitting = [bits for _, name, bits in _WIDTHS if name in instructions and bits <= allowed]
    return max(fitting, default=None)
