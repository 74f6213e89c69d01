"""A frozen rule: what a file of it must be, and that it moves gates of any team as it says."""

import functools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from core_cases import (
    NOTHING,
    Algorithm,
    assert_close,
    assert_same,
    context,
    is_same,
    jit,
    made_up_trajectory,
    scattered,
    sizes,
    small,
)

from purejax_mgtopo.algorithm.topology.edgewise.frozen import Universal
from purejax_mgtopo.algorithm.topology.edgewise.network import FEATURES, EdgeNetwork, no_memory
from purejax_mgtopo.algorithm.topology.edgewise.online import EdgeMeta
from purejax_mgtopo.algorithm.topology.edgewise.weights import SHIPPED, read_rule, rule_bytes
from purejax_mgtopo.algorithm.topology.reinforce import Reinforce
from purejax_mgtopo.config import Experiment, override, with_method
from purejax_mgtopo.errors import ConfigError
from purejax_mgtopo.records.fingerprint import files_of


@functools.cache
def born():
    x = jnp.zeros((1, 2, 2, FEATURES))
    return jit(EdgeNetwork().init)(jax.random.key(0), x, jnp.zeros(1), no_memory())


@functools.cache
def learned():
    return scattered(born(), 1, 0.1)


def write(path: Path, eta=None, **story) -> Path:
    path.write_bytes(rule_bytes(learned() if eta is None else eta, story))
    return path


def test_a_file_gives_back_what_was_written(tmp_path: Path) -> None:
    header, eta = read_rule(write(tmp_path / "rule.npz", recipe={"steps": 3}, commit="abc"))
    assert_same(eta, learned())
    assert (header["recipe"], header["commit"]) == ({"steps": 3}, "abc")


def test_the_shipped_rule_is_whole_and_says_how_it_came_to_be() -> None:
    header, _ = read_rule(SHIPPED)
    assert {"recipe", "figures", "sha256"} <= set(header)


def with_arrays(path: Path, change) -> Path:
    with np.load(write(path)) as file:
        arrays = {name: file[name] for name in file.files}
    np.savez(path, **change(arrays))
    return path


def header_of(arrays, **changes):
    header = json.loads(arrays["header"].tobytes()) | changes
    return np.frombuffer(json.dumps(header).encode(), np.uint8)


FIRST = "params.first.Dense_0.bias"
DAMAGED = {
    "cut short": lambda path: path.write_bytes(write(path).read_bytes()[:1000]),
    "something else": lambda path: path.write_text("no archive"),
    "another format": lambda path: with_arrays(
        path, lambda a: a | {"header": header_of(a, format="other")}
    ),
    "a header that is no object": lambda path: with_arrays(
        path, lambda a: a | {"header": np.frombuffer(b"[1]", np.uint8)}
    ),
    "no header": lambda path: with_arrays(
        path, lambda a: {n: x for n, x in a.items() if n != "header"}
    ),
    "a changed number": lambda path: with_arrays(path, lambda a: a | {FIRST: a[FIRST] + 1}),
    "another shape": lambda path: with_arrays(path, lambda a: a | {FIRST: a[FIRST][:-1]}),
    "another type": lambda path: with_arrays(path, lambda a: a | {FIRST: a[FIRST].astype(float)}),
    "an array too few": lambda path: with_arrays(
        path, lambda a: {n: x for n, x in a.items() if n != FIRST}
    ),
    "an array too many": lambda path: with_arrays(path, lambda a: a | {"more": np.zeros(1)}),
    "a pickle": lambda path: with_arrays(path, lambda a: a | {FIRST: np.array([{}], object)}),
    "far too much": lambda path: with_arrays(path, lambda a: a | {"more": np.zeros(10**7)}),
    "a number that is none": lambda path: write(
        path, jax.tree.map(lambda x: x * np.float32(np.nan), learned())
    ),
    "a folder": lambda path: path.mkdir(),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_file_is_refused_in_one_line(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "rule.npz"
    DAMAGED[damage](path)
    with pytest.raises(ConfigError, match=r"rule\.npz") as error:
        read_rule(path)
    assert "\n" not in str(error.value)


def test_a_missing_file_is_refused_before_a_run(tmp_path: Path) -> None:
    gone = tmp_path / "gone.npz"
    made = Algorithm(small("universal", member__universal__file=str(gone)))  # it would act
    with pytest.raises(ConfigError, match="there is no rule file .*gone.npz; `mgtopo meta-train`"):
        jax.eval_shape(made.parts.init_shared, jax.random.key(0))


def test_its_file_is_part_of_what_is_computed(tmp_path: Path) -> None:
    """So that a resumed run notices another one in its place."""
    named = {"member.universal.file": str(tmp_path / "rule.npz"), "task": "navigation_N3_l3"}
    assert files_of(override(with_method(Experiment(), "universal"), named)) == [
        tmp_path / "rule.npz"
    ]
    assert files_of(override(with_method(Experiment(), "meta"), named)) == []
    assert files_of(with_method(Experiment(), "universal")) == []


def step(made, agents: int, eta=None):
    """One gate update, operation by operation: see the test of an untrained network."""
    state = jit(made.init)(jax.random.key(0))
    if eta is not None:
        state = state.replace(eta=eta)
    return made.learn(state, made_up_trajectory(1, 4, agents, 3), context()).state


@pytest.mark.slow
def test_it_moves_gates_as_the_same_network_does_online(tmp_path: Path) -> None:
    file = str(write(tmp_path / "rule.npz"))
    frozen = Universal(small("universal", member__universal__file=file), sizes(3, 3))
    online = EdgeMeta(small("meta", meta__architecture="edge"), sizes(3, 3))
    one, other = step(frozen, 3), step(online, 3, learned())
    assert_close((one.moving, one.baseline), (other.moving, other.baseline))
    plain = step(Reinforce(small("reinforce"), sizes(3, 3)), 3)
    assert not is_same(one.gates, plain.gates)


def test_a_file_of_an_untrained_network_is_reinforce_bit_for_bit(tmp_path: Path) -> None:
    file = str(write(tmp_path / "rule.npz", born()))
    frozen = step(Universal(small("universal", member__universal__file=file), sizes(3, 3)), 3)
    plain = step(Reinforce(small("reinforce"), sizes(3, 3)), 3)
    assert_same((frozen.gates, frozen.moving.nu), (plain.gates, plain.nu))
    assert_same(frozen.baseline, plain.baseline)


def test_the_shipped_rule_moves_gates_of_twelve_agents() -> None:
    made = Universal(small("universal"), sizes(12, 3))
    before, after = jit(made.init)(jax.random.key(0)), step(made, 12)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(after))
    assert not is_same(before.gates, after.gates)
    plain = step(Reinforce(small("reinforce"), sizes(12, 3)), 12)
    assert not is_same(after.gates, plain.gates)


@pytest.mark.slow
def test_it_runs_with_twelve_agents(tmp_path: Path) -> None:
    file = str(write(tmp_path / "rule.npz"))
    changes = {"member__universal__file": file, "learner__warmup_episodes": 2}
    made = Algorithm(small("universal", "toy_follow_holder_N12", **changes))
    state = jit(made.init)(jax.random.key(0))
    after, measures, _ = jit(lambda s, c: made.iterate(s, c, NOTHING))(state, made.start_clock())
    assert all(np.isfinite(value) for value in measures.values())
    assert not is_same(state.parts.rule.moving, after.parts.rule.moving)
