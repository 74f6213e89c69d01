"""How a run ended."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from pathlib import Path

from purejax_mgtopo.config import Config
from purejax_mgtopo.population.waves import split_into_waves
from purejax_mgtopo.training.account import seeds_in_words


@dataclass(frozen=True)
class RunResult:
    """How a run ended."""

    folder: Path
    config: Config
    episode: int
    """Training episodes done, per seed; of waves that follow one another, the sum."""
    seconds: float
    stopped_by: signal.Signals | None
    """What ended it early; None when it finished."""
    non_finite: int
    """Seeds whose parameters left the finite numbers."""
    figure: Path | None
    hopeless: bool = False
    """It ended early because no seed was left to train."""
    unsaved: str | None = None
    """Why its last state could not be saved, where training went on after that; None where it was saved."""

    def __repr__(self) -> str:
        experiment = self.config.experiment
        ended = "interrupted" if self.interrupted else "not saved" if self.unsaved else "finished"
        lost = f", {self.non_finite} not finite" if self.non_finite else ""
        return (
            f"<RunResult {experiment.task}, {experiment.method}: {ended} after {self.place} of "
            f"{seeds_in_words(experiment.seeds)}{lost}; {self.folder}>"
        )

    @property
    def place(self) -> str:
        """How far it came: episodes of a seed, and the wave where there are several."""
        experiment = self.config.experiment
        waves = split_into_waves(experiment, self.config.means.lanes or experiment.seeds)
        wave, episode = divmod(self.episode, experiment.episodes)
        if self.episode and not episode:  # between two waves, or at the end
            wave, episode = wave - 1, experiment.episodes
        several = f" of wave {wave + 1} of {len(waves)}" if len(waves) > 1 else ""
        return f"{episode:,} of {experiment.episodes:,} episodes{several}"

    @property
    def all_lost(self) -> bool:
        """Whether no seed stayed finite."""
        return self.hopeless or self.non_finite >= self.config.experiment.seeds

    @property
    def interrupted(self) -> bool:
        """Whether the run was stopped before its end."""
        return self.stopped_by is not None
