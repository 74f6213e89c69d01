"""How XLA compiles fast rather than well; imports nothing that starts JAX."""

from __future__ import annotations

import functools
import os
import subprocess
import sys

QUICK = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
    "xla_cpu_use_fusion_emitters": False,
}
"""For programs that run for milliseconds and would compile for seconds."""

USERS = {
    "xla_backend_optimization_level": 3,
    "xla_llvm_disable_expensive_passes": False,
    "xla_cpu_use_fusion_emitters": True,
}
"""What stands there if nobody says anything."""


def _spelt(names: tuple[str, ...]) -> str:
    return " ".join(f"--{name}={str(QUICK[name]).lower()}" for name in names)


def _starts(flags: str) -> bool:
    """Whether XLA starts under these; it ends the process at a flag that it does not know."""
    code = "from jaxlib import xla_client; xla_client.CompileOptions().executable_build_options.debug_options"
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"XLA_FLAGS": flags}, capture_output=True
    )
    return done.returncode == 0


@functools.cache
def quick_flags() -> str:
    """For ``XLA_FLAGS``: those of `QUICK` that this version of XLA knows."""
    names = tuple(QUICK)
    if not _starts(_spelt(names)):
        names = tuple(name for name in names if _starts(_spelt((name,))))
    return _spelt(names)


def users_options() -> dict[str, int | bool]:
    """Options of a program that is to be compiled as for users, whatever ``XLA_FLAGS`` say of `QUICK`."""
    given = os.environ.get("XLA_FLAGS", "")
    return {name: value for name, value in USERS.items() if f"--{name}=" in given}
