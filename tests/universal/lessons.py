"""Meta-trainings whose lifetimes are numbers: all around them is real, and an update takes no time."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import flax.struct
import jax
import jax.numpy as jnp

from purejax_mgtopo.algorithm.topology.edgewise.network import FEATURES, EdgeNetwork, no_memory
from purejax_mgtopo.training.progress import Reporter, SilentReporter
from purejax_mgtopo.universal import training
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
    """A lifetime that is a number and a key."""

    value: jax.Array
    key: jax.Array


class Numbers:
    """A group whose lifetimes draw a number at each step, and ask the rule to grow by it."""

    def __init__(self, factor: float) -> None:
        self.factor, self.rule = factor, SimpleNamespace(init_eta=self.init_eta)

    def init_eta(self, key):
        x = jnp.zeros((1, 2, 2, FEATURES))
        return EdgeNetwork().init(key, x, jnp.zeros(1), no_memory())

    def first(self, key):
        return Number(jnp.zeros(()), key)

    def step(self, eta, life):
        key, draw = jax.random.split(life.key)
        value = self.factor * jax.random.normal(draw)
        gradient = jax.tree.map(lambda x: jnp.full_like(x, value), eta)
        told = {"return": value, "meta_objective": 2 * value, "edge_rate": jax.nn.sigmoid(value)}
        return Number(value, key), (gradient, told | {"correction": jnp.abs(value)})


def groups(*_: object) -> list[Numbers]:
    """In place of the lifetimes of the recipe's two tasks."""
    return [Numbers(1.0), Numbers(-100.0)]


def run(recipe: Path, out: Path, reporter: Reporter | None = None) -> Path | None:
    """Meta-train, or go on."""
    return training.meta_train(load_meta_recipe(recipe), out, reporter or SilentReporter())
