"""How a rule for every task is meta-trained, free of JAX: the `[meta_train]` table of a recipe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from purejax_mgtopo.errors import require
from purejax_mgtopo.settings import check_numbers


@dataclass(frozen=True)
class MetaTraining:
    """A population of lifetimes: gates that learn, from fresh to grown, by one rule that learns from all of them."""

    phase: Literal["frozen", "learning"] = "frozen"
    """What learns besides the rule: gates alone, among frozen teams, or all that a team is, from nothing."""
    estimator: Literal["gradient", "evolution"] = "gradient"
    """How the rule learns from lifetimes: by the objective's gradient after every K gate updates, or by the returns of
    whole ones under the rule and its mirror image."""
    deviation: float = 0.05
    """Standard deviation of the noise that evolution adds to the rule, and takes away."""
    start: str = ""
    """A rule file to go on from, or `shipped`; by default a rule that is REINFORCE."""
    steps: int = 5_000
    """Updates of the rule; before each K gate updates of every lifetime, or all of it under evolution."""
    lifetimes: int = 64
    """Lifetimes of each task at a time, or pairs of them under evolution."""
    shortest: int = 20
    """Gate updates of the shortest lifetime; lengths are log-uniform."""
    longest: int = 1_000
    """Gate updates of the longest lifetime."""
    fresh_episodes: int = 32
    """Episodes by which the gates are judged after each K updates."""
    highest_cost: float = 0.1
    """Prices of an open edge are uniform from 0 to this, for rewards of the task's own scale."""
    largest_scale: float = 10.0
    """Rewards are multiplied by a factor that is log-uniform between one over this and this."""
    longest_delay: int = 0
    """Rewards come late by a number of steps that is uniform from 0 to this, prices of edges do not; what would come
    after an episode's end comes in its last step. Tasks need a discount above 0 to be judged so."""
    learning_rate: float = 1e-4
    """Learning rate of the rule (Adam, with moments for each task)."""
    gradient_clip: float = 1.0
    """Largest global norm of a task's meta-gradient."""
    entropy: float = 0.01
    """Weight of the gates' entropy in the objective."""
    output_l2: float = 5e-3
    """Weight of a penalty on the mean square of the correction f."""
    mean_l2: float = 1e-3
    """Weight of a penalty on the square of f's mean."""
    seed: int = 0
    """Random seed of all of it."""
    checkpoint_every: int = 50
    """Updates between two saved states."""

    def __post_init__(self) -> None:
        check_numbers(self)
        for name in ("steps", "lifetimes", "fresh_episodes", "checkpoint_every"):
            require(getattr(self, name) >= 1, f"meta_train.{name} must be at least 1")
        require(
            2 <= self.shortest <= self.longest,
            f"meta_train.shortest must be from 2 to longest ({self.longest}), not {self.shortest}",
        )
        require(self.highest_cost >= 0, "meta_train.highest_cost must not be negative")
        require(self.largest_scale >= 1, "meta_train.largest_scale must be at least 1")
        for name in ("learning_rate", "gradient_clip", "deviation"):
            require(getattr(self, name) > 0, f"meta_train.{name} must be positive")
        for name in ("longest_delay", "entropy", "output_l2", "mean_l2", "seed"):
            require(getattr(self, name) >= 0, f"meta_train.{name} must not be negative")
