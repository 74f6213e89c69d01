"""What was compiled for one run is let go before the next, where it has come to hold much."""

from __future__ import annotations

import gc
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from synthetic_runs import write_run

from purejax_mgtopo import Experiment, load_trained, train
from purejax_mgtopo.machine import programs
from purejax_mgtopo.trained import load
from purejax_mgtopo.training import run


class Owner:
    """A program whose function knows who owns it, as methods that are compiled do: a circle."""

    def __init__(self) -> None:
        self.program = jax.jit(lambda x: x + self.shift())
        self.program(jnp.zeros(3)).block_until_ready()

    def shift(self) -> float:
        return 2.0


@pytest.fixture
def owner() -> Iterator[weakref.ref[Owner]]:
    gc.collect()
    gc.disable()
    try:
        yield weakref.ref(Owner())
    finally:
        gc.enable()


def mappings() -> int:
    return Path("/proc/self/maps").read_bytes().count(b"\n")


def test_programs_stay_while_little_is_held_and_go_where_it_is_much(
    owner: weakref.ref[Owner], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of functions that live on go as well: they are traced again when they are called."""
    traced = []

    @jax.jit
    def kept(x: jax.Array) -> jax.Array:
        traced.append(x)
        return x + 3.0

    kept(jnp.zeros(3))
    monkeypatch.setattr(programs, "MOST_BYTES", 2**60)
    assert not programs.let_go_if_many() and owner() is not None
    kept(jnp.ones(3))
    assert len(traced) == 1
    monkeypatch.setattr(programs, "MOST_BYTES", 0)
    assert programs.let_go_if_many() and owner() is None
    assert kept(jnp.ones(3)).tolist() == [4.0] * 3 and len(traced) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts mappings")
def test_many_mappings_are_much_too(
    owner: weakref.ref[Owner], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "MOST_BYTES", 2**60)
    monkeypatch.setattr(programs, "SHARE", programs._allowed() / mappings() / 2)
    assert not programs.let_go_if_many()
    monkeypatch.setattr(programs, "SHARE", programs._allowed() / mappings() * 2)
    assert programs.let_go_if_many() and owner() is None


def test_where_nobody_says_how_much_is_held_it_is_much(monkeypatch: pytest.MonkeyPatch) -> None:
    def untold(path: Path) -> str:
        raise FileNotFoundError(path)

    monkeypatch.setattr(Path, "read_text", untold)
    assert programs._many() and programs._allowed() == programs.USUAL_MAPPINGS


class Asked(Exception):
    """In place of letting go."""


def test_trainings_and_loaded_teams_begin_by_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked() -> bool:
        raise Asked

    for module in (run, load):
        monkeypatch.setattr(module, "let_go_if_many", asked)
    with pytest.raises(Asked):
        train(Experiment(task="toy_crossed_goals", episodes=100, seeds=1), tmp_path / "new")
    recorded = write_run(tmp_path / "recorded", "navigation_N3_l3", "full")
    with pytest.raises(Asked):
        load_trained(recorded)
