"""Several processes of a run judge a checkpoint as one: it is sound for all of them, or bad for all."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np

from purejax_mgtopo.checkpoints.stored import BadCheckpoint
from purejax_mgtopo.machine import processes


def agreed(sound: bool) -> bool:
    """Whether `sound` holds in every process."""
    return bool(np.all(processes.gather([sound])))


@contextlib.contextmanager
def in_all_processes() -> Iterator[None]:
    """What is bad for one process is bad for all: each of them raises BadCheckpoint."""
    problem = None
    try:
        yield
    except BadCheckpoint as error:
        problem = error
    everywhere = agreed(problem is None)
    if problem is not None:
        raise problem
    if not everywhere:
        raise BadCheckpoint("another process finds it bad")
