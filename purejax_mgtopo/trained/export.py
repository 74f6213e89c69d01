"""`mgtopo export`: one trained seed as a file that `policy.load_policy` turns into a function."""

from __future__ import annotations

import json
from pathlib import Path

from purejax_mgtopo.config import flatten
from purejax_mgtopo.errors import RunError
from purejax_mgtopo.machine.paths import expanded
from purejax_mgtopo.records.files import clear_disk_errors, write_atomically
from purejax_mgtopo.records.record import CONFIG
from purejax_mgtopo.trained.assess import frozen_seeds
from purejax_mgtopo.trained.load import TrainedRun, load_trained
from purejax_mgtopo.trained.policy import ActingNetworks, Header, pack

POLICIES = "policies"


def export(folder: str | Path, seed: int, out: str | Path | None = None) -> Path:
    """Write the policies and gates of one seed, from its latest sound checkpoint; returns where.

    Args:
        folder: of the run.
        seed: which of its seeds.
        out: the file; by default ``policies/seed<i>_episode<e>.npz`` in the run's folder. The same networks give
            the same bytes; a file that holds anything else is not replaced.

    Raises:
        RunError: where there is no run or no checkpoint, for a seed that did not stay finite, or if the file
            cannot be written.
        ConfigError: for a seed that the run does not have.
    """
    trained = load_trained(folder, [seed])
    content = pack(header_of(trained, seed), networks_of(trained, seed))
    if seed in trained.frozen or seed in frozen_seeds(trained.folder):
        raise RunError(f"seed {seed} of {folder} did not stay finite in training; export another")
    name = f"seed{seed}_episode{trained.episode}.npz"
    target = trained.folder / POLICIES / name if out is None else expanded(out)
    with clear_disk_errors(target):
        if target.exists() and target.read_bytes() != content:
            raise RunError(f"{target} holds something else already; choose another file")
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(target, content)
    return target


def header_of(trained: TrainedRun, seed: int) -> Header:
    """What the file says about one seed's networks."""
    experiment, env = trained.experiment, trained.algorithm.env
    return Header(
        task=experiment.task,
        method=experiment.method,
        agents=env.num_agents,
        observation=env.observation_size,
        action=env.action_size,
        settings=flatten(experiment),
        others_seen=env.others_seen,
        seed=seed,
        episode=trained.episode,
        commit=_commit(trained.folder),
    )


def networks_of(trained: TrainedRun, seed: int) -> ActingNetworks:
    """All that one seed's team acts with."""
    learned = trained.of(seed)
    return ActingNetworks(learned.learner.policy, trained.algorithm.parts.acting(learned.parts))


def _commit(folder: Path) -> str | None:
    document = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    git = document.get("git") or {}
    return f"{git['commit']}-dirty" if git.get("dirty") else git.get("commit")
