"""Several processes (hosts) of one run, through JAX's own distributed runtime.

Everything here answers for a single process without starting JAX. Training needs no word between processes; the host's
loop exchanges a few numbers once a chunk, so that all stop, and save, at the same one.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from purejax_mgtopo.errors import RunError

TRANSPORTS = ("Gloo", "NCCL", "CoordinationService")
"""How what carries words between processes calls itself in its errors."""


class ProcessGone(RunError):
    """Another process of this run has ended. Nothing that waits for it, as JAX's own farewell does, ever returns."""

    @classmethod
    def because(cls, error: BaseException) -> ProcessGone:
        """The error to raise for one of JAX's that means another process is gone."""
        why = " ".join(str(error).split())[:200]
        return cls(f"another process of this run is gone ({why})")


def join(wanted: bool) -> None:
    """Join the other processes of this run, as Slurm, MPI, Kubernetes or JAX_COORDINATOR_ADDRESS describe them.

    Call before JAX starts. Raises RunError when `wanted` and nothing describes them.
    """
    if not wanted:
        return
    import jax

    def number(name: str) -> int | None:
        value = os.environ.get(name)
        return None if value is None else int(value)

    try:
        jax.distributed.initialize(
            num_processes=number("JAX_NUM_PROCESSES"), process_id=number("JAX_PROCESS_ID")
        )
    except (RuntimeError, ValueError) as error:
        raise RunError(
            f"cannot join the other processes: {' '.join(str(error).split())}; start under Slurm or MPI, or set "
            "JAX_COORDINATOR_ADDRESS=host:port, JAX_NUM_PROCESSES and JAX_PROCESS_ID"
        ) from error


def index() -> int:
    """This process's number."""
    jax = _distributed()
    return 0 if jax is None else int(jax.process_index())


def count() -> int:
    """How many processes share the run."""
    jax = _distributed()
    return 1 if jax is None else int(jax.process_count())


def gather(numbers: Sequence[float]) -> Float[np.ndarray, "P n"]:
    """What every process says, by process; all must ask at the same moment.

    Raises ProcessGone when one of them is.
    """
    if count() == 1:
        return np.asarray([numbers], np.float64)
    from jax.experimental import multihost_utils

    try:
        return np.asarray(
            multihost_utils.process_allgather(np.asarray(numbers, np.float32))
        ).reshape(count(), -1)
    except Exception as error:  # the transport decides which
        raise ProcessGone.because(error) from error


@contextlib.contextmanager
def noticing() -> Iterator[None]:
    """Where a library speaks to the other processes on its own: raise ProcessGone if one does not answer."""
    try:
        yield
    except Exception as error:
        if count() > 1 and any(name in str(error) for name in TRANSPORTS):
            raise ProcessGone.because(error) from error
        raise


def in_first(act: Callable[[], object]) -> None:
    """Call `act` in the first process, while the others wait; they raise RunError if it failed."""
    if index():
        if not gather([0.0])[0, 0]:
            raise RunError("the first process of this run cannot go on; it says why")
        return
    try:
        act()
    except BaseException:
        with contextlib.suppress(RunError):  # the first error is the one to hear of
            gather([0.0])
        raise
    gather([1.0])


def _distributed() -> Any:
    jax = sys.modules.get("jax")
    if jax is None or not jax.distributed.is_initialized():
        return None
    return jax
