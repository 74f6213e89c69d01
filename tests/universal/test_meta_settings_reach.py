"""Every setting of meta-training moves what it names, and nothing else.

Programs are compared as text before compilation, and plans as what they tell. Two programs take long to write: of
these it is told which settings they ask for, so that all others need no second look.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import tempfile
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any, ClassVar
from unittest.mock import MagicMock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from lessons import TEXT, Numbers
from test_lifetimes import eta, group, life

from purejax_mgtopo.config import Means
from purejax_mgtopo.settings import override
from purejax_mgtopo.universal import training
from purejax_mgtopo.universal.evolution import Evolution
from purejax_mgtopo.universal.learning import Learning
from purejax_mgtopo.universal.recipe import MetaRecipe, load_meta_recipe
from purejax_mgtopo.universal.settings import MetaTraining

# Programs are written for shapes that lie on no device, so that what they are given cannot be taken over.
pytestmark = pytest.mark.filterwarnings("ignore:Some donated buffers were not usable")

BASE = MetaTraining(
    steps=6, lifetimes=4, checkpoint_every=2, fresh_episodes=2, shortest=4, longest=40
)
REACH: dict[str, tuple[Any, set[str]]] = {
    "phase": ("learning", {"plan"}),
    "estimator": ("evolution", {"plan"}),
    "deviation": (0.5, {"pair"}),
    "start": ("shipped", {"plan"}),
    "steps": (7, {"plan"}),
    "lifetimes": (2, {"first generation", "step"}),
    "shortest": (5, {"lot"}),
    "longest": (50, {"lot"}),
    "fresh_episodes": (3, {"judging"}),
    "highest_cost": (0.5, {"lot"}),
    "largest_scale": (5.0, {"lot"}),
    "longest_delay": (3, {"lot"}),
    "learning_rate": (0.5, {"update"}),
    "gradient_clip": (0.5, {"update"}),
    "entropy": (0.5, {"objective"}),
    "output_l2": (0.5, {"objective"}),
    "mean_l2": (0.5, {"objective"}),
    "seed": (1, {"first generation"}),
    "checkpoint_every": (3, {"plan"}),
}
"""Another value of each, and the pieces that it is to move."""
NAMES = frozenset(field.name for field in dataclasses.fields(MetaTraining))


def text(function: Any, *given: Any) -> str:
    return jax.jit(function).lower(*given).as_text()


def under(settings: MetaTraining) -> Any:
    """Lifetimes under these settings."""
    made = copy.copy(group())
    made.settings = settings
    return made


def lot(settings: MetaTraining) -> str:
    return text(under(settings).draw, jax.random.key(0))


def judging(settings: MetaTraining) -> str:
    return text(under(settings).judged, life(), jax.random.key(0))


def objective(settings: MetaTraining) -> str:
    made = under(settings)
    _, (taus, told) = jax.eval_shape(made.lived, eta(), life())
    fresh, advantages = jax.eval_shape(group().judged, life(), jax.random.key(0))
    return text(made.objective, eta(), life().moving, taus, told, fresh, advantages)


def pair(settings: MetaTraining) -> str:
    """A step of evolution, whose lives are what the rule is."""

    class Told(Evolution):
        def whole(self, eta, life):
            return sum(jnp.sum(x) for x in jax.tree.leaves(eta)), jnp.zeros(())

    made = under(settings)
    made.born = lambda key: key
    evolution = Told(made)
    return text(evolution.step, eta(), evolution.first(jax.random.key(0)))


def learning(settings: MetaTraining) -> Learning:
    return Learning(settings, [Numbers(1.0), Numbers(-1.0)], Means())


def first_generation(settings: MetaTraining) -> str:
    state = learning(settings).init()
    return "".join(str(np.asarray(jax.random.key_data(each.key))) for each in state.lives)


def step(settings: MetaTraining) -> str:
    made = learning(settings)
    lives = jax.eval_shape(made.init).lives[0]
    return made._steps[0].lower(shapes(), lives).as_text()


def update(settings: MetaTraining) -> str:
    made = learning(settings)
    adam = jax.eval_shape(made._adam.init, shapes())
    return made._update.lower(shapes(), (adam, adam), (shapes(), shapes())).as_text()


@functools.cache
def shapes() -> Any:
    return jax.eval_shape(Numbers(1.0).init_eta, jax.random.key(0))


def plan(settings: MetaTraining) -> str:
    """What `meta_train` makes and does, in order, where nothing learns."""
    told: list[Any] = []

    class Asked:
        """Stands in for `Learning`."""

        def __init__(self, asked, lessons, means, start):
            told.append(("start", start is None))

        def advance(self, state):
            told.append("step")
            measures = {"return": 0.0, "edge_rate": 0.0, "sound": 1.0}
            return SimpleNamespace(step=state.step + 1, eta={}), [measures] * 2

    class Kept(contextlib.nullcontext):
        """Stands in for `MetaRecord`."""

        folder, finished, begun = Path("nowhere"), False, MappingProxyType({})

        def __init__(self, folder, recipe):
            super().__init__(self)

        def save(self, step, arrays):
            told.append(("saved", step))

        def finish(self, rule, step):
            told.append(("finished", step))

        def __getattr__(self, name):
            return lambda *_, **__: {}

    def noted(word: str, answer: Any = None) -> Any:
        return lambda *_, **__: told.append(word) or answer

    done = SimpleNamespace(stopped_by=None, lost=(), unsaved=())
    stand_ins = {
        "MetaRecord": Kept,
        "Learning": Asked,
        "sweep": noted("teams", done),
        "load_trained": lambda _: None,
        "group_of": noted("frozen"),
        "LearningGroup": noted("learning"),
        "Evolution": noted("evolution"),
        "open_meta_mirror": lambda *_: None,
        "_depends": lambda _: {},
        "_named": lambda _: {},
        "rule_bytes": lambda *_: b"",
    }
    first = SimpleNamespace(step=0, eta={})
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        for name, stand_in in stand_ins.items():
            patch.setattr(training, name, stand_in)
        patch.setattr(training.MetaLoop, "_first", lambda self, learning: first)
        (Path(folder) / "meta_train.toml").write_text(TEXT)
        teams = load_meta_recipe(Path(folder)).teams
        training.meta_train(MetaRecipe(settings, teams), Path(folder), MagicMock())
    return str(told)


PIECES = {
    "lot": lot,
    "pair": pair,
    "first generation": first_generation,
    "step": step,
    "update": update,
    "plan": plan,
}
SLOW = {"judging": judging, "objective": objective}
"""Those that are written once, and once more for each setting that is to move them."""


@functools.cache
def base(piece: str) -> str:
    return (PIECES | SLOW)[piece](BASE)


class Spied(MetaTraining):
    """Tells which settings are asked for."""

    asked: ClassVar[set[str]] = set()

    def __getattribute__(self, name: str) -> Any:
        if name in NAMES:
            Spied.asked.add(name)
        return super().__getattribute__(name)


@functools.cache
def asks(piece: str) -> frozenset[str]:
    spied = Spied(**dataclasses.asdict(BASE))
    Spied.asked.clear()
    SLOW[piece](spied)
    return frozenset(Spied.asked)


def test_every_setting_is_in_the_table() -> None:
    assert set(REACH) == NAMES


@pytest.mark.parametrize("name", REACH)
def test_a_setting_moves_what_it_names_and_nothing_else(name: str) -> None:
    value, wanted = REACH[name]
    settings = override(BASE, {name: value})
    written = {*PIECES, *(piece for piece in SLOW if piece in wanted)}
    moved = {piece for piece in written if (PIECES | SLOW)[piece](settings) != base(piece)}
    assert moved == wanted
    assert {piece for piece in SLOW if name in asks(piece)} == wanted & set(SLOW)
