"""What eta makes of episodes, beside REINFORCE, counted too: Figures 4 (right) and 5 of Zhang & Chen 2021.

    python runs/paper/advantages.py RUN     # plays a run of `meta` that has its checkpoints; minutes
    python runs/paper/advantages.py         # prints the tables of what lies here, in a second

Numbers land in `advantages/`: `TASK.json`, four episodes of the median seed whole, which `python runs/figures.py
paper/advantages` draws, and `TASK.parquet`, a row for each seed, episode and pair of agents.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet as parquet
from jaxtyping import Float

from purejax_mgtopo.analysis.statistics import stratified_bootstrap
from purejax_mgtopo.report.analyses import (
    Advantages,
    episode_advantages,
    judge_run,
    standardised,
)

HOME = Path(__file__).resolve().parent / "advantages"
WHOLE_EPISODES = 4


@dataclass(frozen=True)
class Pairing:
    """Two lines of advantages whose correlation over an episode's steps is counted."""

    column: str
    says: str
    """What is held against what."""


PAIRINGS = (
    Pairing("learned_reinforce", "learned eta and REINFORCE"),
    Pairing("initial_reinforce", "initial eta and REINFORCE: chance"),
    Pairing("learned_initial", "learned eta and initial eta"),
    Pairing("learned_senders", "learned eta, a sender and the receiver's others (mean over these)"),
    Pairing("initial_senders", "initial eta, the same"),
)


def correlations(
    one: Float[np.ndarray, "T ..."], other: Float[np.ndarray, "T ..."]
) -> Float[np.ndarray, "..."]:
    """Correlation of lines over the steps; NaN where one of them is constant."""
    one, other = standardised(one), standardised(other)
    constant = (one == 0).all(axis=0) | (other == 0).all(axis=0)
    return np.where(constant, np.nan, np.mean(one * other, axis=0))


def among_senders(lines: Float[np.ndarray, "T N N-1"]) -> Float[np.ndarray, "N N-1"]:
    """Mean correlation of each line with those of the same receiver's other senders; NaN without another."""
    alike = correlations(lines[:, :, :, None], lines[:, :, None, :])
    alike[:, *np.diag_indices(lines.shape[2])] = np.nan
    known = np.isfinite(alike)
    return np.where(
        known.any(axis=2),
        np.nansum(alike, axis=2) / np.maximum(known.sum(axis=2), 1),
        np.nan,
    )


def counted(found: Advantages) -> pyarrow.Table:
    """A row for each pair of agents of one episode."""
    agents, senders = found.learned.shape[1:]
    receiver, column = np.divmod(np.arange(agents * senders), senders)
    shared = np.broadcast_to(found.reinforce[:, None, None], found.learned.shape)
    values = (
        correlations(found.learned, shared),
        correlations(found.initial, shared),
        correlations(found.learned, found.initial),
        among_senders(found.learned),
        among_senders(found.initial),
    )
    return pyarrow.table(
        {
            "seed": np.full(agents * senders, found.seed, np.int32),
            "episode_seed": np.full(agents * senders, found.episode_seed, np.int32),
            "receiver": receiver.astype(np.int32),
            "sender": (column + (column >= receiver)).astype(np.int32),
        }
        | {
            pairing.column: value.ravel().astype(np.float32)
            for pairing, value in zip(PAIRINGS, values, strict=True)
        }
    )


def play(folder: Path, episodes: int, home: Path) -> None:
    """Judge the first noise-free episodes of all seeds of a run, and write what is found into `home`."""
    from purejax_mgtopo.machine.startup import use_cache
    from purejax_mgtopo.records.run_data import load_run
    from purejax_mgtopo.trained.load import load_trained

    use_cache(True)
    data = load_run(folder)
    whole = judge_run(data, data.experiment.method, WHOLE_EPISODES)
    if whole is None:
        raise SystemExit(f"{folder} has no checkpoints of a rule that judges every edge")
    trained = load_trained(folder)
    rows = []
    for seed in trained.seeds:
        networks = trained.of(seed)
        for number in range(episodes):
            rows.append(counted(episode_advantages(trained.algorithm, networks, seed, number)))
        print(f"seed {seed}: {episodes} episodes judged", flush=True)
    told = {
        "task": data.experiment.task,
        "method": data.experiment.method,
        "trained_episodes": str(trained.episode),
    }
    table = pyarrow.concat_tables(rows).replace_schema_metadata(told)
    home.mkdir(parents=True, exist_ok=True)
    parquet.write_table(table, home / f"{data.experiment.task}.parquet", compression="zstd")
    whole.write(home / f"{data.experiment.task}.json")


def tell(counts: Path) -> str:
    """The table of one task, in Markdown: a median over episodes and pairs for each seed, then over seeds."""
    table = parquet.read_table(counts)
    about = {key.decode(): word.decode() for key, word in table.schema.metadata.items()}
    seed = table["seed"].to_numpy()
    seeds = np.unique(seed)
    episodes, agents = (
        len(np.unique(table[name].to_numpy())) for name in ("episode_seed", "receiver")
    )
    lines = [
        f"`{about['method']}` on `{about['task']}` after {int(about['trained_episodes']):,} episodes: "
        f"{len(seeds)} seeds, {episodes} episodes, {agents * (agents - 1)} pairs.",
        "",
        "| correlation over an episode's steps of | median [95 %] | above 0.5 | below -0.5 |",
        "|---|---|---|---|",
    ]
    for pairing in PAIRINGS:
        values = table[pairing.column].to_numpy().astype(float)
        each = [values[(seed == one) & np.isfinite(values)] for one in seeds]
        middle = stratified_bootstrap([np.array([np.median(own) for own in each])])
        above, below = (
            f"{np.mean([np.mean(sign * own > 0.5) for own in each]):.0%}".replace("%", " %")
            for sign in (1, -1)
        )
        lines.append(
            f"| {pairing.says} | {middle.point:.2f} [{middle.low:.2f}, {middle.high:.2f}] | {above} | {below} |"
        )
    return "\n".join(lines)


def main(words: Sequence[str]) -> int:
    """Play a run, if one is named, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "run", nargs="?", type=Path, help="the folder of a run with its checkpoints"
    )
    parser.add_argument("--episodes", type=int, default=50, help="episodes of each seed")
    parser.add_argument(
        "--out", type=Path, default=HOME, metavar="DIR", help="in place of this folder"
    )
    asked = parser.parse_args(words)
    if asked.run is not None:
        play(asked.run, asked.episodes, asked.out)
    found = sorted(asked.out.glob("*.parquet"))
    if not found:
        parser.error("nothing has been counted yet: name a run that has its checkpoints")
    print("\n\n".join(map(tell, found)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
