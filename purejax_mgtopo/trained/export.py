"""`mgtopo export`: one trained seed as a file that `policy.load_policy` reads without the code that trained it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from purejax_mgtopo.errors import ConfigError, RunError
from purejax_mgtopo.records.files import clear_disk_errors, write_atomically
from purejax_mgtopo.records.record import CONFIG
from purejax_mgtopo.trained.assess import frozen_seeds
from purejax_mgtopo.trained.load import Networks, Trained, load_trained
from purejax_mgtopo.trained.policy import TOPOLOGIES, Header, pack

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
        ConfigError: for a seed that the run does not have, or a rule or interpreter that the file cannot tell.
    """
    trained = load_trained(folder, [seed])
    content = pack(header_of(trained, seed), arrays_of(trained, trained.of(seed)))
    if seed in frozen_seeds(trained.folder):
        raise RunError(f"seed {seed} of {folder} did not stay finite in training; export another")
    name = f"seed{seed}_episode{trained.episode}.npz"
    target = trained.folder / POLICIES / name if out is None else Path(out)
    with clear_disk_errors(target):
        if target.exists() and target.read_bytes() != content:
            raise RunError(f"{target} holds something else already; choose another file with --out")
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(target, content)
    return target


def header_of(trained: Trained, seed: int) -> Header:
    """Raises ConfigError for a rule or interpreter that the file cannot tell."""
    config, env = trained.experiment, trained.algorithm.env
    for axis, name, known in (
        ("topology", config.topology, TOPOLOGIES),
        ("messages", config.messages, _MESSAGE_LAYERS),
    ):
        if name not in known:
            raise ConfigError(f"export knows the {axis} {', '.join(known)}, not {name}")
    return Header(
        task=config.task,
        method=config.method,
        topology=config.topology,
        messages=config.messages,
        agents=env.num_agents,
        observation=env.observation_size,
        action=env.action_size,
        hidden=config.learner.hidden,
        shared=config.learner.share_parameters,
        latency=config.message.latency,
        rounds=config.message.rounds,
        aggregate=config.message.aggregate,
        activation="relu",
        seed=seed,
        episode=trained.episode,
        commit=_commit(trained.folder),
    )


def arrays_of(trained: Trained, networks: Networks) -> dict[str, NDArray]:
    """One seed's policies and gates by the names of the file's layout."""
    config, policy = trained.experiment, networks.learner.policy
    layers: dict[str, Any] = {}
    if TOPOLOGIES[config.topology] is None:
        layers |= _mlp("gates", networks.rule.gates["params"], 3)
    layers |= _MESSAGE_LAYERS[config.messages](policy.interpreter)
    head = policy.head["params"]
    first = head["from_observation"]
    if "from_heard" in head:
        first = {**first, "kernel": _rows(head["from_heard"]["kernel"], first["kernel"])}
    layers |= {"head/0": first} | _mlp("head", head["rest"], 2, first=1)
    lead = (None,) if config.learner.share_parameters else ()
    return {
        f"{name}/{part}": np.asarray(array)[lead]
        for name, layer in layers.items()
        for part, array in layer.items()
    }


def _lstm_layers(interpreter: Any) -> dict[str, Any]:
    if not interpreter:  # nobody receives
        return {}
    return {"lstm": interpreter["params"]}


def _commnet_layers(interpreter: Any) -> dict[str, Any]:
    layers = {"encoder": interpreter["encoder"]["params"]}
    for part in ("own", "heard"):
        for k, mix in enumerate(interpreter.get(part, ())):
            layers[f"{part}/{k}"] = mix["params"]
    return layers


_MESSAGE_LAYERS = {"lstm": _lstm_layers, "commnet": _commnet_layers}
"""An interpreter's parameters by the names of the file's layout; `READERS` has the other side."""


def _mlp(name: str, params: Any, layers: int, first: int = 0) -> dict[str, Any]:
    return {f"{name}/{first + k}": params[f"Dense_{k}"] for k in range(layers)}


def _rows(upper: NDArray, lower: NDArray) -> NDArray:
    return np.concatenate([upper, lower], axis=-2)


def _commit(folder: Path) -> str | None:
    document = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    git = document.get("git") or {}
    return f"{git['commit']}-dirty" if git.get("dirty") else git.get("commit")
