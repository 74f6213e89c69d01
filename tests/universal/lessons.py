"""Meta-trainings whose lifetimes are numbers: all around them is real, and an update takes no time."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from purejax_mgtopo.algorithm.topology.edgewise.network import FEATURES, EdgeNetwork, no_memory
from purejax_mgtopo.training.progress import Reporter, SilentReporter
from purejax_mgtopo.universal import training
from purejax_mgtopo.universal.kept.record import MetaRecord
from purejax_mgtopo.universal.learning import LearningState
from purejax_mgtopo.universal.recipe import load_meta_recipe

TEXT = """
tasks = ["toy_follow_holder", "toy_follow_holder_N4"]
config.seeds = 2
[meta_train]
steps = 6
lifetimes = 4
checkpoint_every = 2
learning_rate = 0.01
gradient_clip = 0.5
"""


@flax.struct.dataclass
class Number:
    """A lifetime that is a number, a key, and an array without elements, as replays of rules that keep none."""

    value: jax.Array
    key: jax.Array
    nothing: jax.Array


class Numbers:
    """A group whose lifetimes draw a number at each step, and ask the rule to grow by it."""

    def __init__(self, factor: float) -> None:
        self.factor, self.rule = factor, SimpleNamespace(init_eta=self.init_eta)

    def init_eta(self, key):
        x = jnp.zeros((1, 2, 2, FEATURES))
        return EdgeNetwork().init(key, x, jnp.zeros(1), no_memory())

    def first(self, key):
        return Number(jnp.zeros(()), key, jnp.zeros(0))

    def step(self, eta, life):
        key, draw = jax.random.split(life.key)
        value = self.factor * jax.random.normal(draw)
        gradient = jax.tree.map(lambda x: jnp.full_like(x, value), eta)
        told = {"return": value, "meta_objective": 2 * value, "edge_rate": jax.nn.sigmoid(value)}
        return Number(value, key, life.nothing), (gradient, told | {"correction": jnp.abs(value)})


def groups(*_: object) -> list[Numbers]:
    """In place of the lifetimes of the recipe's two tasks."""
    return [Numbers(1.0), Numbers(-100.0)]


def run(recipe: Path, out: Path, reporter: Reporter | None = None) -> Path | None:
    """Meta-train, or go on."""
    return training.meta_train(load_meta_recipe(recipe), out, reporter or SilentReporter())


TASKS = ("toy_follow_holder", "toy_follow_holder_N4")


def measured(step: int) -> dict[str, dict[str, float]]:
    """What an update might tell of each task: numbers of single precision, of which some are not known."""
    rng = np.random.default_rng(step)
    names = ("correction", "edge_rate", "meta_objective", "return")
    told: dict[str, dict[str, float]] = {}
    for task in TASKS:
        told[task] = {name: float(np.float32(rng.normal())) for name in names} | {"sound": 1.0}
    if step == 3:  # no lifetime of the second task was finite
        told[TASKS[1]] = dict.fromkeys(names, math.nan) | {"sound": 0.0}
    return told


class Quick:
    """In place of `Learning`: nothing is compiled, and updates tell what `measured` says. `before(n)` runs before the
    n-th update of the meta-training."""

    before: ClassVar[Callable[[int], None]] = staticmethod(lambda n: None)

    def __init__(self, *_: object) -> None: ...

    def init(self) -> LearningState:
        rule = {"params": {"x": np.zeros(3, np.float32)}}
        return LearningState(np.asarray(0, np.int32), rule, (), ())  # type: ignore[arg-type]

    def placed(self, state: LearningState) -> LearningState:
        return state

    def advance(self, state: LearningState) -> tuple[LearningState, list[dict[str, float]]]:
        step = int(state.step) + 1
        type(self).before(step)
        after = state.replace(step=np.asarray(step, np.int32))  # type: ignore[attr-defined]
        return after, list(measured(step).values())


@contextlib.contextmanager
def recorded(recipe: Path, folder: Path, steps: int, saved: int, **depends: Any) -> Iterator[Any]:
    """A meta-training that has done so many updates, of which so many are saved, and goes on, without JAX."""
    with MetaRecord(folder, load_meta_recipe(recipe)) as record:
        record.begin(depends)
        for step in range(1, steps + 1):
            record.update(step, measured(step), wall=2.0 if step > 1 else 100.0)
            if step == saved:
                record.save(step, {"step": np.asarray(step), "eta.x": np.arange(40.0)})
        yield record
