"""Run folders without training: real records, made-up numbers."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np

from purejax_mgtopo.config import Config, EvaluationConfig, Experiment, Means, with_method
from purejax_mgtopo.records.metrics import Evaluation
from purejax_mgtopo.records.record import RunRecord

AGENTS = {"navigation_N3_l3": 3, "navigation_N6_l1": 6, "toy_follow_holder": 3}
AGENTS |= dict.fromkeys(
    ["predator_prey_N3_l3", "predator_prey_N3_l2", "predator_prey_N3_l3@shipped"], 3
)
LEVELS = {
    "none": -26.0,
    "full": -24.5,
    "meta": -22.0,
    "reinforce": -22.4,
    "universal": -22.6,
    "stgs": -25.0,
    "i2c": -24.0,
    "gated_acml": -24.2,
}
RATES = {
    "none": 0.0,
    "full": 1.0,
    "meta": 0.46,
    "reinforce": 0.3,
    "universal": 0.2,
    "stgs": 0.97,
    "i2c": 0.4,
    "gated_acml": 0.6,
}


def config_of(task: str, method: str, seeds: int, evaluations: int, **changes: object) -> Config:
    base = Experiment(
        task=task,
        seeds=seeds,
        episodes=500 * evaluations,
        evaluation=EvaluationConfig(every=500, episodes=2),
    )
    return changed(Config(with_method(base, method)), **changes)


def changed(config: Config, **changes: object) -> Config:
    """`config` with fields of its halves replaced, whichever half has them."""
    mine = {item.name for item in dataclasses.fields(Means)}
    means = {name: value for name, value in changes.items() if name in mine}
    others = {name: value for name, value in changes.items() if name not in mine}
    return Config(
        dataclasses.replace(config.experiment, **others),  # type: ignore[arg-type]
        dataclasses.replace(config.means, **means),  # type: ignore[arg-type]
    )


def write_run(
    folder: Path,
    task: str,
    method: str,
    *,
    seeds: int = 8,
    evaluations: int = 12,
    until: int | None = None,
    broken: tuple[int, ...] = (),
    pairs: bool = True,
    level: float | np.ndarray | None = None,
    end: bool = True,
    fail: str | None = None,
    measured: Mapping[str, float] = MappingProxyType({}),
    **changes: object,
) -> Path:
    """A run in `folder`; `until` evaluations if it did not finish, `broken` seeds freeze half-way.

    Args:
        measured: what its parts measure, by a level; NaN in the first evaluation, as that of an untrained team is.
    """
    config = config_of(task, method, seeds, evaluations, **changes)
    rng = np.random.default_rng(abs(hash_of(f"{task}/{method}")))
    goal = (LEVELS[method] if level is None else level) + rng.normal(0, 1.2, seeds)
    n = AGENTS[task]
    mean_rate = np.clip(RATES[method] + rng.normal(0, 0.12, (n, n)), 0, 1)
    mean_rate = np.where(RATES[method] in (0.0, 1.0), RATES[method], mean_rate)
    np.fill_diagonal(mean_rate, 0)
    command = f"mgtopo sweep runs/{task} --seeds {seeds}"
    with RunRecord(folder, config, command) as record:
        kept: dict[str, np.ndarray] = {}
        for k in range(until or evaluations):
            share = (k + 1) / evaluations
            now = goal - 60 * np.exp(-8 * share) + rng.normal(0, 0.4, seeds)
            finite = np.ones(seeds, bool)
            if k >= evaluations // 2:
                finite[list(broken)] = False
            rate = np.clip(0.5 + (mean_rate - 0.5) * min(1, 2 * share), 0, 1)
            rate = np.repeat((rate * (1 - np.eye(n)))[None], seeds, axis=0).astype(np.float32)
            edge = rate.sum(axis=(1, 2)) / (n * (n - 1))
            columns = {
                "return_sampled": now,
                "return_greedy": now + 0.3,
                "train_return": now - 1,
                "edge_rate": np.clip(edge + rng.normal(0, 0.02, seeds), 0, 1),
            }
            columns = {name: np.asarray(v, np.float32) for name, v in columns.items()}
            # A seed that was lost stays as it was before: its returns look like any others.
            kept = {name: np.where(finite, v, kept.get(name, v)) for name, v in columns.items()}
            columns = dict(kept)
            for name, base in measured.items():
                own = base * (1 + share + np.arange(seeds) / seeds)
                columns[name] = np.asarray(own if k else np.full(seeds, np.nan), np.float32)
            if pairs:
                columns["pair_rate"] = rate
            episode = 500 * (k + 1)
            numbers = config.experiment.first_seed + np.arange(seeds, dtype=np.int32)
            record.evaluation(Evaluation(episode, 25 * episode, numbers, finite, columns))
        if fail:
            record.event("failed", error=fail, episode=500 * (until or evaluations))
        elif end and until is None:
            record.event(
                "end", episode=config.experiment.episodes, non_finite=len(broken), wall=12.5
            )
        record.flush()
    return folder


def write_sweep(
    folder: Path,
    tasks: tuple[str, ...],
    methods: tuple[str, ...],
    question: str,
    claims: Sequence[dict[str, object]] = (),
    **settings,
) -> Path:
    """A finished sweep's results."""
    for task in tasks:
        for method in methods:
            write_run(folder / task / method, task, method, **settings)
    runs = [{"task": t, "method": m, "folder": f"{t}/{m}"} for t in tasks for m in methods]
    description = {"question": question, "command": "mgtopo sweep runs/demo", "runs": runs}
    if claims:
        description["claims"] = list(claims)
    (folder / "sweep.json").write_text(json.dumps(description))
    return folder


def hash_of(text: str) -> int:
    """The same in every process, unlike `hash`."""
    return int.from_bytes(text.encode()[-6:], "big") % 2**31
