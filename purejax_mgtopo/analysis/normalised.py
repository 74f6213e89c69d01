"""Returns on a scale that all tasks share: 0 is what uniformly random actions return, 1 what the scripted expert does.

The ends were measured once, over thousands of episodes, and stand in `jax_mpe/experts/scales.json`. They are read from
the file alone, so that a report starts no JAX. A task without an entry has no scale: its scores are NaN, shown as "-".
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from purejax_mgtopo.analysis.statistics import Band, Floats, Interval
from purejax_mgtopo.records.run_names import task_key

LABEL = "normalised score (0 random, 1 expert)"


class Ends(NamedTuple):
    """Mean returns of whole episodes at both ends of a task's scale."""

    random: float
    expert: float


def ends(task: str) -> Ends | None:
    """Both ends of a task's scale; None where none was measured."""
    return _ends().get(task_key(task))


def normalised_score(task: str, returns: ArrayLike) -> Floats:
    """Where returns of a task's episodes stand between random actions and the expert; NaN without a scale."""
    found = ends(task)
    values = np.asarray(returns, np.float64)
    if found is None:
        return np.full_like(values, np.nan)
    return (values - found.random) / (found.expert - found.random)


def returns_at(task: str, scores: ArrayLike) -> Floats:
    """The returns at which a task's scores stand: the inverse of `normalised_score`."""
    found = ends(task)
    values = np.asarray(scores, np.float64)
    if found is None:
        return np.full_like(values, np.nan)
    return found.random + values * (found.expert - found.random)


def normalised_interval(task: str, interval: Interval) -> Interval:
    """An interval of returns as one of scores: the scale grows with the return, so that ends stay ends."""
    point, low, high = normalised_score(task, [interval.point, interval.low, interval.high])
    return Interval(float(point), float(low), float(high))


def normalised_band(task: str, band: Band) -> Band:
    """A band of returns as one of scores."""
    return Band(*(normalised_score(task, line) for line in band))


@functools.cache
def _ends() -> Mapping[str, Ends]:
    spec = find_spec("jax_mpe")  # finds it, and does not run it
    if spec is None or spec.origin is None:
        return {}
    path = Path(spec.origin).with_name("experts") / "scales.json"
    tasks = json.loads(path.read_text(encoding="utf-8"))["tasks"]
    found = {task_key(name): Ends(one["random"], one["expert"]) for name, one in tasks.items()}
    # A scale that does not grow would turn the order of returns around.
    return {name: one for name, one in found.items() if one.expert > one.random}
