"""A stand-in for the compiled program: instant, deterministic, and free of JAX."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from purejax_mgtopo.config import Config


@dataclass(frozen=True)
class Training:
    train_return: np.ndarray
    edge_rate: np.ndarray
    critic_loss: np.ndarray


class Evaluation(NamedTuple):
    return_sampled: np.ndarray
    return_greedy: np.ndarray
    edge_rate_sampled: np.ndarray
    edge_rate_greedy: np.ndarray


@dataclass(frozen=True)
class Report:
    episode: int
    env_steps: int
    training: Training
    evaluation: Evaluation | None
    finite: np.ndarray


@dataclass
class FakePopulation:
    """Returns climb from -10; seed s is s higher. `before_chunk(n)` runs before chunk n."""

    config: Config
    before_chunk: Callable[[int], None] = lambda n: None
    broken_seed: int | None = None

    def init(self) -> int:
        return 0

    def advance(self, state: int) -> tuple[int, Report]:
        config, episode = self.config, state + self.config.chunk_episodes
        self.before_chunk(state // config.chunk_episodes)
        seeds = np.arange(config.seeds, dtype=np.float32)
        value = seeds - 10 + episode / 100
        finite = np.ones(config.seeds, bool)
        if self.broken_seed is not None:
            finite[self.broken_seed] = False
            value = np.where(finite, value, np.nan)
        evaluation = None
        if episode % config.evaluation.every == 0:
            ones = np.ones_like(seeds)
            evaluation = Evaluation(value, value + 0.5, 0.25 * ones, 0.5 * ones)
        return episode, Report(
            episode=episode,
            env_steps=25 * (episode + config.learner.warmup_episodes),
            training=Training(value - 1, 0.75 + 0 * value, 2 + 0 * value),
            evaluation=evaluation,
            finite=finite,
        )


def small(**changes: object) -> Config:
    """Four chunks of ten episodes, an evaluation every second one, three seeds."""
    from purejax_mgtopo.config import EvaluationConfig

    base = Config(
        task="toy_follow_holder",
        seeds=3,
        episodes=40,
        chunk_episodes=10,
        evaluation=EvaluationConfig(every=20, episodes=2),
    )
    return dataclasses.replace(base, **changes)  # type: ignore[arg-type]
