"""Several processes (hosts) of one run, through JAX's own distributed runtime.

Everything here answers for a single process without starting JAX. Training needs no word between processes; the host's
loop exchanges a few numbers once a chunk, so that all stop, and save, at the same one.
"""

from __future__ import annotations

import contextlib
import ctypes
import inspect
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from purejax_mgtopo.errors import RunError
from purejax_mgtopo.machine.meeting import Facts, Seat, difference, meet

TRANSPORTS = ("Gloo", "NCCL", "CoordinationService")
"""How what carries words between processes calls itself in its errors."""


class ProcessGone(RunError):
    """Another process of this run has ended. Nothing that waits for it, as JAX's own farewell does, ever returns."""

    @classmethod
    def because(cls, error: BaseException) -> ProcessGone:
        """The error to raise for one of JAX's that means another process is gone."""
        why = " ".join(str(error).split())[:200]
        return cls(f"another process of this run is gone ({why})")


def join(wanted: bool, facts: Facts | None = None) -> None:
    """Join the other processes of this run, as Slurm, MPI, Kubernetes or JAX_COORDINATOR_ADDRESS describe them.

    Call before JAX starts. Raises RunError when `wanted` and nothing describes them, when one of them does not come, or
    when they differ in `facts`.
    """
    if not wanted:
        return
    import jax
    from jax._src.clusters import ClusterEnv  # what `initialize` asks as well

    def number(name: str) -> int | None:
        value = os.environ.get(name)
        return None if value is None else int(value)

    def given(name: str) -> list[int] | None:
        value = os.environ.get(name)
        return None if value is None else [int(word) for word in value.split(",")]

    try:
        found = ClusterEnv.auto_detect_unset_distributed_params(
            os.environ.get("JAX_COORDINATOR_ADDRESS"),
            number("JAX_NUM_PROCESSES"),
            number("JAX_PROCESS_ID"),
            given("JAX_LOCAL_DEVICE_IDS"),
            None,
            300,
        )
        address, processes, process, devices = found
        if address is not None and processes is not None and process is not None:
            meet(Seat(address, processes, process), facts or {})
        _speak_at_abort()
        times: dict[str, Any] = {
            "initialization_timeout": 40,
            "heartbeat_timeout_seconds": 30,
            "shutdown_timeout_seconds": 15,
        }
        known = inspect.signature(jax.distributed.initialize).parameters
        with _signals_kept():
            jax.distributed.initialize(
                address,
                processes,
                process,
                devices,
                **{name: value for name, value in times.items() if name in known},
            )
    except (RuntimeError, ValueError) as error:
        if isinstance(error, RunError):
            raise
        raise RunError(
            f"cannot join the other processes: {' '.join(str(error).split())}; start under Slurm or MPI, or set "
            "JAX_COORDINATOR_ADDRESS=host:port, JAX_NUM_PROCESSES and JAX_PROCESS_ID"
        ) from error


@contextlib.contextmanager
def _signals_kept() -> Iterator[None]:
    """JAX takes SIGTERM for itself, in C, and tells nobody: whoever heard it before hears it afterwards."""
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # signals are the main thread's
            before = signal.getsignal(signal.SIGTERM)
            if before is not None:
                signal.signal(signal.SIGTERM, before)


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


def agree(facts: Facts) -> None:
    """Raise RunError in all processes, in the same words, where they differ in `facts`; all must ask together."""
    if count() == 1:
        return
    own = json.dumps({name: str(value) for name, value in facts.items()}).encode()
    longest = int(gather([len(own)]).max())
    words = gather(list(own.ljust(longest))).astype(np.uint8)
    said = {process: json.loads(word.tobytes()) for process, word in enumerate(words)}
    problem = difference(said)
    if problem is not None:
        raise RunError(problem)


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


_last: dict[str, Any] = {"line": "", "code": 1}
"""What to say, and to end with, where JAX ends this process."""


@contextlib.contextmanager
def to_go_on(advice: str) -> Iterator[None]:
    """Within it, `advice` is what to do when another process is lost."""
    before, _last["line"] = _last["line"], advice
    try:
        yield
    finally:
        _last["line"] = before


def leave_with(code: int) -> None:
    """All is said, and this process about to end with `code`: whatever still fails changes nothing of that."""
    _last.update(line=None, code=code)


def _speak_at_abort() -> None:
    """Where another process is lost, JAX aborts this one from a thread in C: a last line, and an orderly exit code."""

    def speak(_: int) -> None:
        advice = _last["line"]
        if advice is not None:
            why = (
                f"another process of this run is gone, as told above; {advice or 'start all again'}"
            )
            with contextlib.suppress(OSError):
                os.write(2, f"mgtopo: error: {why}\n".encode())
        os._exit(_last["code"])

    handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(speak)
    with contextlib.suppress(AttributeError, OSError):  # no such function here
        ctypes.CDLL(None).signal(int(signal.SIGABRT), handler)
        _kept.append(handler)


_kept: list[Any] = []
"""What C may call for as long as the process lives."""


def _distributed() -> Any:
    jax = sys.modules.get("jax")
    if jax is None or not jax.distributed.is_initialized():
        return None
    return jax
