"""Runs that are mirrored, and what a mirror must hold."""

from __future__ import annotations

import dataclasses
import os
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as parquet
import scipy.stats
import stand_ins
from fake_population import FakePopulation, FakeStore, Notes, State
from wandb_files import WrittenRun, offline_runs, values

from purejax_mgtopo.analysis.statistics import stratified_bootstrap
from purejax_mgtopo.config import Config
from purejax_mgtopo.population.waves import Wave
from purejax_mgtopo.records import record

OFFLINE = {"wandb": "offline"}


class Paired(FakePopulation):
    """Seeds that differ in everything, edge by edge as well."""

    def advance(self, state: State, wave: Wave) -> tuple[State, Any]:
        state, report = super().advance(state, wave)
        if report.evaluation is not None:
            rng = np.random.default_rng(1000 * report.episode + wave.first_seed)
            told = dict(report.evaluation)
            told["edge_rate"] = rng.uniform(size=wave.seeds)
            told["pair_rate"] = rng.uniform(size=(wave.seeds, 3, 3))
            report = dataclasses.replace(report, evaluation=told)
        return state, report


class FromTheStart(Paired):
    """Evaluates the untrained team as well, as the real program does."""

    def advance(self, state: State, wave: Wave) -> tuple[State, Any]:
        first = not state.episode
        state, report = super().advance(state, wave)
        if not first:
            return state, report
        rng = np.random.default_rng(wave.first_seed)
        names = ("return_sampled", "return_greedy", "edge_rate", "edge_rate_greedy")
        told = {name: rng.uniform(size=wave.seeds) for name in names}
        told["pair_rate"] = rng.uniform(size=(wave.seeds, 3, 3))
        nothing = np.full(wave.seeds, np.nan)
        since = dict.fromkeys(("train_return", "critic_loss", "train_edge_rate"), nothing)
        before = dataclasses.replace(
            report, episode=0, env_steps=0, evaluation=told, since_evaluation=since
        )
        return state, dataclasses.replace(report, before=before)


@dataclass
class DiskStore(FakeStore):
    """Outlives its process."""

    def complete(self, episode: int) -> bool:
        return episode in self._all()

    def restore(self) -> Any:
        self.kept[self.folder] = self._all()
        return super().restore()

    def save(self, state: State, score: float) -> None:
        kept = self._all() | {state.episode: state}
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "states.pickle").write_bytes(pickle.dumps(kept))

    def _all(self) -> dict[int, State]:
        path = self.folder / "states.pickle"
        return pickle.loads(path.read_bytes()) if path.exists() else {}


def train(folder: Path, config: Config, **options: Any) -> Notes:
    notes = Notes()
    settings = {"population": Paired, "store": DiskStore({})} | options
    stand_ins.train(config, folder, reporter=notes, **settings)
    return notes


def resume(folder: Path, **options: Any) -> None:
    settings = {"population": Paired, "store": DiskStore({})} | options
    stand_ins.resume(folder, reporter=Notes(), **settings)


def without_wandb() -> dict[str, str]:
    """An environment for another process: W&B's service would be shared, and a kill not noticed by it."""
    return {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}


def program(folder: Path) -> WrittenRun:
    """The W&B run of all seeds, and there is one only."""
    (run,) = [run for run in offline_runs(folder) if "-seed" not in run.id]
    return run


def check_equals_records(folder: Path, run: WrittenRun) -> None:
    """Every number of the mirror, derived once more from Parquet and JSON lines."""
    table = parquet.read_table(folder / "metrics.parquet").to_pydict()
    config = record.read_config(folder)
    steps = [row["_step"] for row in run.rows]
    assert steps == sorted(set(steps)), "steps must grow, none twice"
    chunks = [e for e in record.read_events(folder) if e["event"] == "chunk"]
    rows = {row["_step"]: row for row in run.rows}
    last_wave = max(chunk["wave"] for chunk in chunks)
    compared = 0
    for chunk in chunks:
        row = rows.pop(chunk["wave"] * (config.experiment.episodes + 1) + chunk["episode"])
        for name in ("train_return", "edge_rate", "episodes_per_second", "non_finite"):
            assert row[f"4_progress/{name}"] == chunk[name]
        expected = {}
        if chunk["wave"] == last_wave:
            expected = evaluated(table, chunk["episode"])
        check_told(row, expected)
        compared += bool(expected)
    if 0 in table["episode"]:
        untrained = rows.pop(last_wave * (config.experiment.episodes + 1))
        assert not any(key.startswith("4_progress/") for key in untrained)
        check_told(untrained, evaluated(table, 0))
        compared += 1
    assert compared == len(set(table["episode"]))
    assert not [row for row in rows.values() if "env_steps" in row]  # what is left came at the end


def check_told(row: Any, expected: dict[str, Any]) -> None:
    told = {
        key: value
        for key, value in values(row).items()
        if key != "_step"
        and not key.startswith(("4_progress/", "6_pairs/heat_map"))
        and not key.endswith("._type")
    }
    assert told.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_allclose(told[key], value, rtol=1e-9, err_msg=key)


def evaluated(table: dict[str, list], episode: int) -> dict[str, Any]:
    at = [i for i, e in enumerate(table["episode"]) if e == episode]
    if not at:
        return {}
    columns = {name: np.array([column[i] for i in at], float) for name, column in table.items()}
    order = np.argsort(columns["seed"])
    columns = {name: column[order] for name, column in columns.items()}
    healthy = columns["finite"].astype(bool)
    assert np.isfinite(columns["return_sampled"][healthy]).all()
    steps = {table["env_steps"][i] for i in at}
    expected: dict[str, Any] = {
        "env_steps": steps.pop(),
        "episode": episode,
        "5_seeds/total": len(at),
        "5_seeds/non_finite": np.sum(~healthy),
    }
    assert not steps
    for name, column in columns.items():
        own = column[healthy]
        if own.ndim == 1:
            own = own[np.isfinite(own)]  # of an untrained team nothing of training is known
        if not len(own) or name.startswith("final_"):
            continue
        if name in ("return_sampled", "return_greedy", "train_return", "edge_rate"):
            interval = stratified_bootstrap([own])
            counts, edges = np.histogram(own, 32)
            key = {
                "return_sampled": "1_returns/sampled",
                "return_greedy": "1_returns/greedy",
                "train_return": "1_returns/training",
                "edge_rate": "2_edges/open",
            }[name]
            expected |= {
                f"{key}_iqm": scipy.stats.trim_mean(own, 0.25),
                f"{key}_low": interval.low,
                f"{key}_high": interval.high,
                f"5_seeds/{name}.bins": edges,
                f"5_seeds/{name}.values": counts,
            }
        elif name == "pair_rate":
            mean = own.mean(axis=0).reshape(3, 3)
            for i, j in ((0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)):
                expected[f"6_pairs/{i}_from_{j}"] = mean[i, j]
        elif name not in ("episode", "env_steps", "seed", "finite"):
            expected[f"3_learning/{name}"] = scipy.stats.trim_mean(own, 0.25)
    return expected


RECIPE = {
    "tasks": ["toy_public"],
    "methods": ["none", "meta"],
    "seeds": 6,
    "config": {
        "episodes": 40,
        "chunk_episodes": 10,
        "evaluation": {"every": 20},
        "wandb": "offline",
    },
}


ROOT = Path(__file__).parents[2]


class Recorded:
    """A W&B run of a server that has told how far it came."""

    def __init__(self, step: int) -> None:
        self.id, self.step, self.url = "abc", step, "https://host/run"
        self.logged: list[int] = []
        self.codes: list[int] = []

    def define_metric(self, *args: object, **options: object) -> None: ...
    def log_artifact(self, artifact: object) -> None: ...

    def log(self, row: dict, step: int, commit: bool) -> None:
        self.logged.append(step)

    def finish(self, exit_code: int) -> None:
        self.codes.append(exit_code)
