"""Shapes and names that everything else builds on."""

import importlib
import pkgutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from core_cases import plain

from purejax_mgtopo.algorithm.edges import drop_diagonal, fill_diagonal, others
from purejax_mgtopo.algorithm.part import Interpreter, Rule
from purejax_mgtopo.algorithm.types import Clock, Streams
from purejax_mgtopo.config import Experiment, override
from purejax_mgtopo.methods import CRITICS, MESSAGES, METHODS, TOPOLOGIES, load


@pytest.mark.parametrize("n", range(2, 7))
def test_diagonals_and_others_equal_explicit_loops(n):
    """Senders out of ascending order, an agent among its own senders, a batch axis mixed in."""
    rng = np.random.default_rng(n)
    square = rng.normal(size=(3, n, n)).astype(np.float32)
    rows = rng.normal(size=(3, n, 4)).astype(np.float32)
    senders = [[j for j in range(n) if j != i] for i in range(n)]
    dropped, heard = drop_diagonal(jnp.asarray(square)), others(jnp.asarray(rows))
    for i in range(n):
        np.testing.assert_array_equal(dropped[:, i], square[:, i, senders[i]])
        np.testing.assert_array_equal(heard[i], np.moveaxis(rows[:, senders[i]], 1, 0))
    filled = np.asarray(fill_diagonal(dropped))
    np.testing.assert_array_equal(filled, square * (1 - np.eye(n, dtype=np.float32)))


def test_every_purpose_and_moment_has_a_key_of_its_own():
    """Two purposes, or two updates, that share their randomness."""
    streams = Streams.split(jax.random.key(0))
    keys = [*plain(streams)]
    for moment in range(50):
        keys += plain(streams.at(jnp.asarray(moment)))
    assert len({tuple(key) for key in keys}) == len(keys) == 51 * len(plain(streams))


def test_the_clock_advances_both_counters():
    clock = Clock(episode=jnp.asarray(3), stored=jnp.asarray(8)).advanced(5)
    assert (int(clock.episode), int(clock.stored)) == (8, 13)


def test_the_tables_of_names_hold_exactly_the_objects():
    """A method that the command line lists and that nobody wrote, or the other way round."""
    for table, kind, folder in (
        (TOPOLOGIES, Rule, "topology"),
        (MESSAGES, Interpreter, "messages"),
    ):
        listed = {load(table, name) for name in table}
        assert len(listed) == len(table)
        assert all(issubclass(part, kind) and not part.__abstractmethods__ for part in listed)
        if kind is Rule:  # which has a class for each of its architectures
            listed.add(
                load(table, "meta").of(override(Experiment(), {"meta.architecture": "edge"}))
            )
            assert len(listed) == len(table) + 1
        assert listed == set(written(kind, folder))
    for name in CRITICS:
        assert {"init", "value", "counterfactual"} <= set(dir(load(CRITICS, name)))
    for table in (TOPOLOGIES, MESSAGES, CRITICS):
        assert all(entry.name == name for name, entry in table.items())
    for method in METHODS.values():
        assert method.topology in TOPOLOGIES
        assert method.messages in MESSAGES


def written(kind, folder):
    """The parts that can be asked for in a folder: those that are not what others are built on."""
    package = importlib.import_module(f"purejax_mgtopo.algorithm.{folder}")
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        for part in vars(importlib.import_module(module.name)).values():
            if not isinstance(part, type) or part.__module__ != module.name:
                continue
            if issubclass(part, kind) and part.__name__ not in ("EdgeGates", "Edgewise"):
                yield part


def test_names_come_without_jax():
    """`--help` must not start JAX."""
    source = Path(__import__("purejax_mgtopo.methods").methods.__file__).read_text()
    assert "import jax" not in source
