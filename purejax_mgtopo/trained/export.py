"""`mgtopo export`: one trained seed as a file: its team, for `policy.load_policy`, or the eta that it has learned."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from purejax_mgtopo.algorithm.topology.edgewise.weights import rule_bytes
from purejax_mgtopo.algorithm.types import PyTree
from purejax_mgtopo.config import flatten
from purejax_mgtopo.errors import ConfigError, RunError
from purejax_mgtopo.machine.paths import expanded
from purejax_mgtopo.records.files import clear_disk_errors, write_atomically
from purejax_mgtopo.records.record import CONFIG
from purejax_mgtopo.trained.assess import frozen_seeds
from purejax_mgtopo.trained.load import TrainedRun, load_trained
from purejax_mgtopo.trained.policy import ActingNetworks, Header, pack

POLICIES = "policies"


Exported = Literal["policy", "eta"]


def export(
    folder: str | Path, seed: int, out: str | Path | None = None, part: Exported = "policy"
) -> Path:
    """Write the policies and gates of one seed, or its eta, from its latest sound checkpoint; returns where.

    Args:
        folder: of the run.
        seed: which of its seeds.
        out: the file; by default ``policies/seed<i>_episode<e>.npz`` in the run's folder, ``policies/eta_...`` for an
            eta. The same networks give the same bytes; a file that holds anything else is not replaced.
        part: what to write: the team that acts, or the update rule eta that it learned its gates by, which other runs
            take by the setting ``meta.start``.

    Raises:
        RunError: where there is no run or no checkpoint, for a seed that did not stay finite, or if the file
            cannot be written.
        ConfigError: for a seed that the run does not have, or an eta where the method learns none.
    """
    trained = load_trained(folder, [seed])
    if part == "eta":
        content = rule_bytes(eta_of(trained, seed), _story(trained, seed))
    else:
        content = pack(header_of(trained, seed), networks_of(trained, seed))
    if seed in trained.frozen or seed in frozen_seeds(trained.folder):
        raise RunError(f"seed {seed} of {folder} did not stay finite in training; export another")
    name = f"{'eta_' if part == 'eta' else ''}seed{seed}_episode{trained.episode}.npz"
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


def eta_of(trained: TrainedRun, seed: int) -> PyTree:
    """The parameters of the update rule that one seed has learned. Raises ConfigError where its method learns none."""
    eta = getattr(trained.of(seed).parts.rule, "eta", None)
    if eta is None:
        learned = "`--method meta` and other methods with the rule `meta` do"
        raise ConfigError(f"{trained.experiment.method} learns no eta of its own; {learned}")
    return eta


def _story(trained: TrainedRun, seed: int) -> dict[str, Any]:
    """What a file says about an eta."""
    experiment = trained.experiment
    return {
        "task": experiment.task,
        "method": experiment.method,
        "agents": trained.algorithm.env.num_agents,
        "architecture": experiment.meta.architecture,
        "hidden": experiment.meta.hidden,
        "seed": seed,
        "episode": trained.episode,
        "commit": _commit(trained.folder),
        "settings": flatten(experiment),
    }


def _commit(folder: Path) -> str | None:
    document = json.loads((folder / CONFIG).read_text(encoding="utf-8-sig"))
    git = document.get("git") or {}
    return f"{git['commit']}-dirty" if git.get("dirty") else git.get("commit")
