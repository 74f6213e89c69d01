"""Who is heard in `toy_follow_holder`: ``python runs/grid/listening.py RESULTS OUT.json``.

For each method and seed of a sweep, over 400 fresh episodes without exploration noise: how often agent 0 receives from
the holder, and how often from the other one (the decoy), with the edges drawn as in training; and the mean return.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import jax
import numpy as np

from purejax_mgtopo.algorithm.rollout import rollout
from purejax_mgtopo.algorithm.types import Mode, Purpose, Streams
from purejax_mgtopo.analysis.statistics import stratified_bootstrap
from purejax_mgtopo.trained.load import TrainedRun, load_trained

EPISODES = 400
HOLDER = 2
"""Where a state of the task says who holds: (corner, corner, holder)."""


def listening(trained: TrainedRun) -> dict[str, list[float]]:
    """What each seed of a run hears, by name."""
    made = trained.algorithm
    keys = jax.random.split(Purpose.ASSESSMENT.key(0), EPISODES)

    def of_seed(networks):
        policy, acting = networks.learner.policy, made.parts.acting(networks.parts)

        def episode(key):
            streams = Streams.split(key)
            tau = rollout(made.env, made.team, policy, acting, streams, Mode.EVAL_SAMPLED, 0.0)
            return tau.open_edges[:, 0], tau.moving[:-1, HOLDER], tau.reward.sum()

        return jax.lax.map(episode, keys, batch_size=100)

    heard, holder, returned = (
        np.asarray(x)
        for x in jax.jit(lambda n: jax.lax.map(of_seed, n))(
            jax.tree.map(jax.numpy.asarray, trained.networks)
        )
    )
    first = holder == 1
    return {
        "holder": np.where(first, heard[..., 0], heard[..., 1]).mean(axis=(1, 2)).tolist(),
        "decoy": np.where(first, heard[..., 1], heard[..., 0]).mean(axis=(1, 2)).tolist(),
        "return": returned.mean(axis=1).tolist(),
    }


def shown(values: list[float], digits: int) -> str:
    """The interquartile mean over seeds, with its 95 % interval."""
    found = stratified_bootstrap([np.asarray(values)])
    return f"{found.point:.{digits}f} [{found.low:.{digits}f}, {found.high:.{digits}f}]"


def main(results: Path, out: Path) -> None:
    """Print a table's row for each method, and keep all seeds' numbers."""
    found = {}
    for path in sorted(results.rglob("config.json")):
        name = path.parent.name
        trained = load_trained(path.parent)
        told = found[name] = listening(trained)
        gap = [a - b for a, b in zip(told["holder"], told["decoy"], strict=True)]
        cells = (
            f"`{name}`",
            f"{trained.episode:,}",
            shown(told["return"], 2),
            f"{np.mean(told['holder']):.2f}",
            f"{np.mean(told['decoy']):.2f}",
            f"{round(np.mean(gap), 2) + 0.0:.2f} ({np.std(gap, ddof=1):.2f})",
        )
        print(f"| {' | '.join(cells)} |")
        out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
