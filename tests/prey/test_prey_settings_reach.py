"""Every setting of the making of prey moves what it names, and nothing else; nothing is trained."""

from __future__ import annotations

import dataclasses
import functools
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purejax_mgtopo.algorithm.types import Clock, Streams
from purejax_mgtopo.prey import chase as chasing
from purejax_mgtopo.prey import command, selection, selfplay
from purejax_mgtopo.prey.selfplay import Duel, PairMetrics, Pairs
from purejax_mgtopo.prey.settings import PreySettings

BASE = PreySettings(seeds=3, episodes=40, chunk=10, hidden=6, chase_episodes=20)
REACH: dict[str, tuple[Any, set[str]]] = {
    "agents": (6, {"networks", "reward", "episode", "chase"}),
    "seeds": (2, {"pairs", "chase"}),
    "episodes": (60, {"pairs"}),
    "first_seed": (5, {"pairs", "choice"}),
    "hidden": (7, {"networks", "episode"}),
    "contact_cost": (5.0, {"reward", "episode"}),
    "boundary_cost": (5.0, {"reward", "episode"}),
    "hunters": (0.5, {"episode"}),
    "stays": (0.5, {"choice"}),
    "chase_episodes": (0, {"choice"}),
    "chunk": (20, {"pairs", "chunk", "chase"}),
}
"""Another value of each, and what it is to move."""


@functools.cache
def duel(settings: PreySettings) -> Duel:
    return Duel(settings)


@functools.cache
def teams(settings: PreySettings) -> Any:
    made = duel(settings)
    return jax.eval_shape(
        lambda key: (made.predators.init(key).learner, made.prey.init(key).learner),
        jax.random.key(0),
    )


def networks(settings: PreySettings) -> str:
    return str(jax.tree.map(lambda x: x.shape, teams(settings)))


def reward(settings: PreySettings) -> str:
    made = duel(settings)
    state = jax.eval_shape(made.env.initial_state, jax.random.key(0))
    return jax.jit(made.prey_reward).lower(state).as_text()


def episode(settings: PreySettings) -> str:
    policies = (team.policy for team in teams(settings))
    keys = jax.eval_shape(Streams.split, jax.random.key(0))
    return jax.jit(duel(settings).explore).lower(*policies, keys).as_text()


def made_up_pairs(settings: PreySettings) -> Pairs:
    pairs = Pairs.__new__(Pairs)  # no program is needed to ask what is done when
    pairs.settings, pairs.mesh = settings, selfplay.Mesh(np.array(jax.devices()[:1]), ("seed",))
    return pairs


def pairs(settings: PreySettings) -> str:
    """Which seeds train, and what is told when."""
    told: list[Any] = []
    made, nothing = made_up_pairs(settings), PairMetrics(*(np.arange(64.0),) * 3)
    start = Clock(episode=np.int32(0), stored=np.int32(0))
    made.duel = SimpleNamespace(start_clock=lambda: start)
    made._init = lambda keys: np.asarray(jax.random.key_data(keys))
    made._advance = lambda pairs, clock: (pairs, nothing)
    trained = made.train(lambda episode, metrics: told.append((episode, len(metrics.contacts))))
    return f"{trained} {told}"


def chunk(settings: PreySettings) -> str:
    """How many episodes a program plays."""
    made = made_up_pairs(settings)
    made.duel = SimpleNamespace(update=lambda pair, clock: (pair + 1, pair))
    clock = Clock(episode=jnp.zeros((), jnp.int32), stored=jnp.zeros((), jnp.int32))
    return str(made._chunk(jnp.zeros(()), clock))


def chase(settings: PreySettings) -> str:
    """What the predators are trained by; where nothing is measured nobody asks."""

    class Told(Exception):
        """Enough is known."""

    def population(config: Any) -> Any:
        raise Told(str(config))

    trained = dataclasses.replace(settings, chase_episodes=settings.chase_episodes or 20)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chasing, "Population", population)
        with pytest.raises(Told) as told:
            chasing.chase(trained, "scripted", lambda episode: None)
    return str(told.value)


def choice(settings: PreySettings) -> str:
    """How one of the trained is picked, whose it is, and whether it is measured."""
    told: list[Any] = []

    class Trained:
        def __init__(self, asked: PreySettings) -> None:
            self.duel = SimpleNamespace(env=SimpleNamespace(sizes=()))

        def train(self, tell: Any) -> Any:
            learner = SimpleNamespace(learner=SimpleNamespace(policy=()))
            return SimpleNamespace(predators=learner, prey=learner)

    met = SimpleNamespace(held_out=lambda: (np.array([3.0, 1.0]), np.array([1.0, 1.0])))

    def write(out: Any, sizes: Any, arrays: Any, story: dict[str, Any]) -> None:
        told.append({name: story[name] for name in story if name not in ("settings", "provenance")})

    def chosen(met: Any, stays: float) -> int:
        told.append(stays)
        return 1

    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr(selfplay, "Pairs", Trained)
        patch.setattr(selection, "cross_play", lambda *_: met)
        patch.setattr(selection, "choose", chosen)
        patch.setattr(selection, "frozen", lambda *_: {})
        patch.setattr("jax_mpe.prey.write", write)
        patch.setattr("jax_mpe.make", lambda *_, **__: ())
        figures = dict.fromkeys(("contacts", "inside", "team_return"), [0.0] * 3)
        patch.setattr(chasing, "chase", lambda *_: SimpleNamespace(intervals=lambda: figures))
        patch.setattr(chasing, "hunt", lambda *_: [0.0] * 3)
        command.make_prey(settings, Path(folder) / "own.npz", lambda line: None)
    return str(told)


PIECES = {
    "networks": networks,
    "reward": reward,
    "episode": episode,
    "pairs": pairs,
    "chunk": chunk,
    "chase": chase,
    "choice": choice,
}


@functools.cache
def base(piece: str) -> str:
    return PIECES[piece](BASE)


def test_every_setting_is_in_the_table() -> None:
    assert set(REACH) == {field.name for field in dataclasses.fields(PreySettings)}


@pytest.mark.parametrize("name", REACH)
def test_a_setting_of_prey_moves_what_it_names_and_nothing_else(name: str) -> None:
    value, wanted = REACH[name]
    settings = dataclasses.replace(BASE, **{name: value})
    assert {piece for piece, told in PIECES.items() if told(settings) != base(piece)} == wanted
