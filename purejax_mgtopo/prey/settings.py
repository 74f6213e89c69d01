"""The recipe for prey, free of JAX so that the command line can show it without starting it."""

from __future__ import annotations

from dataclasses import dataclass

from purejax_mgtopo.config import Experiment
from purejax_mgtopo.errors import ConfigError
from purejax_mgtopo.settings import check_numbers


@dataclass(frozen=True)
class PreySettings:
    """Train prey against predators in self-play, pick the best, freeze and measure it."""

    agents: int = 3
    """Number N of predators; the number of prey and the arena follow from it."""
    seeds: int = 8
    """Independent pairs of teams; one pair's prey is picked."""
    episodes: int = 20_000
    """Episodes of self-play for each pair."""
    first_seed: int = 0
    """Pairs are numbered from here on; each number is its pair's random seed."""
    hidden: int = 64
    """Units of each hidden layer of the prey; predators have 128."""
    contact_cost: float = 10.0
    """What a contact with a predator costs the prey."""
    boundary_cost: float = 3.0
    """Weight of the penalty near and beyond the arena's edge; with 1, prey spend a tenth of their time outside."""
    # Without, prey whose predators never learned to hunt would not learn to flee.
    hunters: float = 0.25
    """Share of episodes in which predators head straight for the nearest prey, so that all prey learn to flee."""
    stays: float = 0.95
    """Least share of its steps that a prey must spend in the arena to be picked."""
    chase_episodes: int = 5_000
    """Training episodes of the fresh predators that measure the picked prey; 0 measures nothing."""
    chunk: int = 500
    """Episodes between two lines of progress."""

    def __post_init__(self) -> None:
        check_numbers(self)
        if self.agents < 2 or self.seeds < 1 or self.hidden < 1 or self.chunk < 1:
            raise ConfigError("agents must be at least 2; seeds, hidden and chunk at least 1")
        for name in ("episodes", "chase_episodes"):
            value = getattr(self, name)
            if value % self.chunk or value < 0 or (name == "episodes" and value == 0):
                raise ConfigError(f"{name} ({value}) must be a multiple of chunk ({self.chunk})")
        together = Experiment().updates_per_iteration
        if self.chase_episodes and self.chunk % together:  # said before hours of self-play
            raise ConfigError(
                f"chunk ({self.chunk}) must be a multiple of {together}, for so many episodes of the predators that "
                "measure the prey go together; or let chase_episodes be 0, which measures nothing"
            )
        if min(self.contact_cost, self.boundary_cost) < 0 or not (
            0 <= self.stays <= 1 and 0 <= self.hunters <= 1
        ):
            raise ConfigError("costs must not be negative; hunters and stays must lie in [0, 1]")

    @property
    def task(self) -> str:
        """Predators see every landmark and prey."""
        return f"predator_prey_N{self.agents}_l{self.agents}"
