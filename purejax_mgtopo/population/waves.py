"""Seeds in waves: when more are asked for than fit, the same program trains them one group after another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

from purejax_mgtopo.config import Experiment


@dataclass(frozen=True)
class Wave:
    """Seeds that train together, each from its beginning to its end."""

    index: int
    first_seed: int
    seeds: int

    def __contains__(self, seed: int) -> bool:
        return self.first_seed <= seed < self.first_seed + self.seeds


@dataclass(frozen=True)
class Waves(Sequence[Wave]):
    """All waves of a run, made when they are asked for: billions of seeds may be planned."""

    first_seed: int
    seeds: int
    lanes: int

    def __len__(self) -> int:
        return -(-self.seeds // self.lanes)

    @overload
    def __getitem__(self, index: int) -> Wave: ...
    @overload
    def __getitem__(self, index: slice) -> list[Wave]: ...
    def __getitem__(self, index: int | slice) -> Wave | list[Wave]:
        if isinstance(index, slice):
            return [self[i] for i in range(len(self))[index]]
        index = range(len(self))[index]
        start = index * self.lanes
        return Wave(index, self.first_seed + start, min(self.lanes, self.seeds - start))


def split_into_waves(experiment: Experiment, lanes: int) -> Waves:
    """The run's seeds in waves of at most `lanes`; only the last may be smaller, and runs with idle lanes.

    No seed's result depends on the wave it is in.
    """
    if lanes < 1:
        raise ValueError(f"lanes must be at least 1, not {lanes}")
    return Waves(experiment.first_seed, experiment.seeds, lanes)


def even_lanes(seeds: int, limit: int) -> int:
    """The fewest lanes, not above `limit`, that need no more waves than `limit` does: idle lanes are waste."""
    waves = -(-seeds // max(1, min(limit, seeds)))
    return -(-seeds // waves)
