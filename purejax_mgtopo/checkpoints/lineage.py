"""What a checkpoint says about itself, and whether this program may go on from it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from purejax_mgtopo.checkpoints.stored import FORMAT, of_another_format
from purejax_mgtopo.config import Experiment, differences, flatten
from purejax_mgtopo.errors import RunError
from purejax_mgtopo.population.lanes import lanes_together
from purejax_mgtopo.population.population import Population
from purejax_mgtopo.population.waves import Wave
from purejax_mgtopo.records.fingerprint import changed, fingerprint, unfit
from purejax_mgtopo.records.provenance import device_kind, versions
from purejax_mgtopo.settings import completed

LAYOUT = ("lanes", "devices", "precision", "kernels")
"""What decides the last bit of a result beside the experiment and its fingerprint, as a checkpoint's meta tells it."""


class CheckpointError(RunError):
    """A checkpoint that could not be written, or none that can be read."""


def describe(
    population: Population,
    wave: Wave,
    step: int,
    score: float,
    records: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The meta of a checkpoint, ready for JSON."""
    return {
        "format": FORMAT,
        "episode": step,
        "score": score if math.isfinite(score) else None,
        "wave": dataclasses.asdict(wave),
        "lanes": population.lanes,
        "devices": population.mesh.size,
        "settings": flatten(population.config.experiment),
        "precision": population.config.means.precision,
        "kernels": population.config.means.kernels,
        "versions": versions(),
        "device": device_kind(),
        "fingerprint": _fingerprint(population),
        "records": None if records is None else dict(records),
    }


def check_lineage(
    folder: Path, meta: Mapping[str, Any], population: Population, wave: Wave
) -> None:
    """Raise CheckpointError where the checkpoints in a wave's `folder` are those of another run, or of other types."""
    if problem := of_another_format(folder, meta):
        raise CheckpointError(problem)
    ours = flatten(population.config.experiment) | {"wave": dataclasses.asdict(wave)}
    theirs = flatten(Experiment()) | completed(meta["settings"]) | {"wave": meta["wave"]}
    longer = population.config.experiment.episodes
    if theirs["episodes"] < longer:  # extended since
        theirs["episodes"] = longer
    differing = differences(theirs, ours)
    if differing:
        raise CheckpointError(
            f"{folder} holds checkpoints of a run with other settings: {'; '.join(differing)}"
        )
    if problem := unfit(meta.get("fingerprint", {}), _fingerprint(population)):
        raise CheckpointError(f"{folder} cannot be gone on with: {problem}")


def changes_since(meta: Mapping[str, Any], population: Population, wave: Wave) -> list[str]:
    """What differs of that on which the last bits depend, each in words."""
    now = describe(population, wave, 0, 0.0)
    then = {"kernels": "xla"} | dict(meta)  # which all had before there was a choice
    found = [f"{name} {then[name]} -> {now[name]}" for name in LAYOUT if then[name] != now[name]]
    if "fingerprint" in meta:
        return found + changed(meta["fingerprint"], now["fingerprint"])
    return [*found, "the code, flags and settings that it was made with are not told by it"]


def _fingerprint(population: Population) -> dict[str, Any]:
    together = lanes_together(population.config.means, population.lanes_per_device)
    layout = {"processes": jax.process_count(), "lanes that advance together": together}
    return fingerprint(population.config.experiment) | layout
