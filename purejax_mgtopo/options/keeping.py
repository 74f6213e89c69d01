"""Settings of evaluations and checkpoints: what is measured and kept on the way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from purejax_mgtopo.errors import require


@dataclass(frozen=True)
class EvaluationConfig:
    """Noise-free episodes on fixed evaluation seeds: before the first update, every so often, and at the end."""

    every: int = 500
    """Training episodes between evaluations.
    (ours, because the paper says none: a hundred points to a curve)"""
    episodes: int = 100
    """Episodes in each evaluation of a seed.
    (ours, because the paper says none: a mean within a tenth of the deviation of episodes)"""
    final_episodes: int = 1_000
    """Episodes of a seed that its final return is a mean of: others, played once, at the end; rounded up to whole
    evaluations. 0 takes the last evaluation.
    (ours, because the choice of a hundred moves a mean as much as methods differ)"""
    seed: int = 20_210
    """Random seed of the evaluation episodes: every evaluation, of every seed, plays the same ones.
    (ours, because the paper says none, and the same episodes compare best)"""

    def __post_init__(self) -> None:
        require(self.every >= 1, "evaluation.every must be at least 1")
        require(self.episodes >= 1, "evaluation.episodes must be at least 1")
        require(
            self.final_episodes >= 0, "evaluation.final_episodes must not be negative; 0 plays none"
        )

    @property
    def final_batches(self) -> int:
        """How many times as many episodes as an evaluation has, the final one plays."""
        return -(-self.final_episodes // self.episodes)


@dataclass(frozen=True)
class CheckpointConfig:
    """When the whole state of training is saved, so that `mgtopo resume` goes on from there."""

    minutes: float = 5.0
    """Minutes between checkpoints, at least: one is made at the end of the next chunk, and when a run stops or ends.
    (ours, because so much may be lost without regret)"""
    keep: int = 2
    """How many of the latest checkpoints to keep; the one with the best return stays besides.
    (ours, because the second serves where the first is damaged)"""
    on_error: Literal["stop", "continue"] = "stop"
    """What to do when a checkpoint cannot be written (a full disk): stop the run, or say so and continue.
    (ours, because what cannot be resumed should not go on unnoticed)"""

    def __post_init__(self) -> None:
        require(self.minutes >= 0, "checkpoint.minutes must not be negative")
        require(self.keep >= 1, "checkpoint.keep must be at least 1")
