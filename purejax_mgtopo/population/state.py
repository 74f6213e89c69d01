"""What a population of seeds is, and what it tells after a chunk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import flax.struct
import numpy as np
from jaxtyping import Array, Bool
from numpy.typing import NDArray

from purejax_mgtopo.algorithm.algorithm import LearnerState
from purejax_mgtopo.algorithm.types import Both, Clock, Measures


@flax.struct.dataclass
class LaneState:
    """One seed inside the program."""

    seed: LearnerState
    alive: Bool[Array, ""]
    """All parameters have been finite numbers so far. Once they are not, those of the chunk before stay for good."""
    tally: Measures
    """Sums, over the chunks since the last evaluation, of the chunks' means."""


@flax.struct.dataclass
class PopulationState:
    """All lanes, and what they share: everything that a run needs to go on."""

    clock: Clock
    shared: Both
    """What the parts of all seeds share, and move together; mostly nothing."""
    lanes: LaneState
    """Every leaf with a leading axis of lanes, sharded over the devices."""

    @property
    def seeds(self) -> LearnerState:
        """The learners, each leaf with a leading axis of lanes."""
        return self.lanes.seed


@flax.struct.dataclass
class LaneReport:
    """What one seed tells after a chunk."""

    training: Measures
    """Training measures, means over the chunk."""
    since_evaluation: Measures
    """Means over the chunks since the last evaluation, this one included."""
    finite: Bool[Array, ""]
    """The seed is alive: it is not frozen for having left the finite numbers."""


@dataclass(frozen=True)
class ChunkReport:
    """What a process hears after a chunk about its own seeds: NumPy arrays [S, ...], by name."""

    episode: int
    env_steps: int
    seeds: NDArray[np.int64]
    """[S] numbers of the seeds, ascending."""
    training: Mapping[str, NDArray]
    """Training measures, means over this chunk."""
    evaluation: Mapping[str, NDArray] | None
    """What an evaluation at the chunk's end has measured; None without one."""
    since_evaluation: Mapping[str, NDArray] | None
    """Means over all chunks since the evaluation before; None where `evaluation` is. Its edge rate, which an
    evaluation has as well, goes by ``train_edge_rate``."""
    finite: NDArray
    final: Mapping[str, NDArray] | None = None
    """What the final evaluation has measured, at the last chunk's end; NaN in evaluations before it. None where
    there is no evaluation, and in runs without a final one."""
    before: ChunkReport | None = None
    """In the first chunk's report: that of the untrained team, at episode 0. What training measures is NaN in it."""
