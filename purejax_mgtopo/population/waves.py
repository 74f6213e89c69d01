"""Seeds in waves: when more are asked for than fit, the same program trains them one group after another."""

from __future__ import annotations

from dataclasses import dataclass

from purejax_mgtopo.config import Experiment


@dataclass(frozen=True)
class Wave:
    """Seeds that train together, each from its beginning to its end."""

    index: int
    first_seed: int
    seeds: int

    def __contains__(self, seed: int) -> bool:
        return self.first_seed <= seed < self.first_seed + self.seeds


def split_into_waves(experiment: Experiment, lanes: int) -> tuple[Wave, ...]:
    """The run's seeds in waves of at most `lanes`; only the last may be smaller, and runs with idle lanes.

    No seed's result depends on the wave it is in.
    """
    if lanes < 1:
        raise ValueError(f"lanes must be at least 1, not {lanes}")
    starts = range(0, experiment.seeds, lanes)
    return tuple(
        Wave(index, experiment.first_seed + start, min(lanes, experiment.seeds - start))
        for index, start in enumerate(starts)
    )


def even_lanes(seeds: int, limit: int) -> int:
    """The fewest lanes, not above `limit`, that need no more waves than `limit` does: idle lanes are waste."""
    waves = -(-seeds // max(1, min(limit, seeds)))
    return -(-seeds // waves)
