"""An eta that a run has learned, taken out of it, begins another run: as it is, or to learn on."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import jax
import numpy as np
import pytest
from core_cases import small
from stand_ins import train
from trained_cases import TINY, made_up, observations, through_a_file

from purejax_mgtopo.algorithm.algorithm import Algorithm
from purejax_mgtopo.algorithm.topology.edgewise.weights import begun, read_rule, rule_bytes
from purejax_mgtopo.cli import main as cli
from purejax_mgtopo.config import Config, Experiment, override, with_method
from purejax_mgtopo.errors import ConfigError
from purejax_mgtopo.methods import TOPOLOGIES
from purejax_mgtopo.records.fingerprint import files_of
from purejax_mgtopo.trained import export as exporting
from purejax_mgtopo.trained.export import eta_of, export
from purejax_mgtopo.trained.load import load_trained
from purejax_mgtopo.trained.policy import load_policy

META = TINY | {"topology": "meta"}


def same(one, other) -> None:
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


@pytest.mark.parametrize("architecture", ["joint", "edge"])
def test_the_file_holds_the_seeds_eta_and_says_whose_it_is(
    architecture: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = made_up(tmp_path, topology="meta", meta__architecture=architecture)
    monkeypatch.setattr(exporting, "load_trained", lambda *args: trained)
    monkeypatch.setattr(exporting, "frozen_seeds", lambda folder: set())
    path = export(tmp_path, 4, part="eta")
    assert path == tmp_path / "policies" / "eta_seed4_episode2.npz"
    expected = jax.tree.map(lambda x: x[0], trained.networks.parts.rule.eta)
    header, eta = read_rule(path, expected)
    same(eta, expected)
    told = {
        name: header[name]
        for name in ("task", "agents", "architecture", "hidden", "seed", "episode")
    }
    assert told == {
        "task": "navigation_N3_l3", "agents": 3, "architecture": architecture, "hidden": 6, "seed": 4, "episode": 2,
    }  # fmt: skip
    # A run of another seed begins with it, whatever its key.
    settings = META | {"meta.start": str(path), "meta.architecture": architecture}
    rule = Algorithm(override(Config(), settings).experiment).team.rule
    for seed in range(2):
        same(rule.init(jax.random.key(seed)).eta, expected)


def test_a_joint_eta_goes_with_its_own_number_of_agents(tmp_path: Path) -> None:
    trained = made_up(tmp_path, topology="meta")
    path = tmp_path / "eta.npz"
    path.write_bytes(rule_bytes(eta_of(trained, 4), exporting._story(trained, 4)))
    other = Algorithm(small("meta", "navigation_N2_l2", meta__start=str(path)))
    with pytest.raises(ConfigError) as caught:
        other.team.rule.init(jax.random.key(0))
    line = str(caught.value)
    assert line.startswith(str(path)) and "architecture joint, agents 3, hidden 6" in line
    assert "\n" not in line and "goes with one number of agents" in line


def test_nothing_named_is_what_was_drawn() -> None:
    fresh = {"kernel": np.ones((2, 3), np.float32)}
    assert begun("", fresh) is fresh


def test_what_learns_no_eta_has_none_to_export(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="reinforce learns no eta of its own; `--method meta`"):
        eta_of(made_up(tmp_path), 4)


def test_a_policy_that_began_with_a_file_is_exported_and_loaded_without_it(tmp_path: Path) -> None:
    """Also one that was exported while the file was there, whose header names it still."""
    eta = tmp_path / "eta.npz"
    eta.write_bytes(rule_bytes(eta_of(made_up(tmp_path, topology="meta"), 4), {}))
    trained = made_up(tmp_path, topology="meta", meta__start=str(eta))
    (seen,) = observations(trained, steps=1)
    before = through_a_file(trained)
    expected = before(seen)
    eta.unlink()
    assert before.header.settings["meta.start"] == str(eta)
    same(load_policy(tmp_path / "policy.npz")(seen), expected)
    same(through_a_file(trained)(seen), expected)  # exported only now


def test_a_policy_of_a_frozen_rule_acts_without_the_rules_file(tmp_path: Path) -> None:
    file = str(tmp_path / "rule.npz")
    trained = made_up(tmp_path, topology="universal", member__universal__file=file)
    with pytest.raises(ConfigError, match="no rule file"):
        assert trained.algorithm.team.rule.eta is not None
    assert np.isfinite(through_a_file(trained)(observations(trained, steps=1)[0]).action).all()


def test_its_file_is_part_of_what_is_computed(tmp_path: Path) -> None:
    named = {"meta.start": str(tmp_path / "eta.npz"), "task": "navigation_N3_l3"}
    assert files_of(override(with_method(Experiment(), "meta"), named)) == [tmp_path / "eta.npz"]
    assert files_of(override(with_method(Experiment(), "reinforce"), named)) == []
    assert files_of(with_method(Experiment(), "meta")) == []


def test_the_table_says_whose_setting_names_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the rule's name: another one that begins with an eta has its file too."""
    entry = dataclasses.replace(TOPOLOGIES["meta"], name="mine")
    monkeypatch.setitem(TOPOLOGIES, "mine", entry)
    named = {"topology": "mine", "meta.start": str(tmp_path / "eta.npz")}
    assert files_of(override(Experiment(), named)) == [tmp_path / "eta.npz"]


def test_a_missing_file_is_one_line_and_leaves_no_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "train",
        "--method",
        "meta",
        "--meta.start",
        str(tmp_path / "gone.npz"),
        "--wandb",
        "off",
    ]
    assert cli.main([*words, "--out", str(tmp_path / "run")]) != 0
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1 and "there is no rule file" in said[0] and "export --part eta" in said[0]
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_fixed_eta_stays_and_one_that_learns_moves(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Figure 3: learned in one run, exported by the command, fixed in a second, taken further in a third."""
    train(override(Config(), META), tmp_path / "first")
    file = tmp_path / "eta.npz"
    words = ["export", str(tmp_path / "first"), "--seed", "5", "--part", "eta", "--out", str(file)]
    assert cli.main(words) == 0
    assert str(file) in "".join(capsys.readouterr().out.split())
    learned = eta_of(load_trained(tmp_path / "first"), 5)
    same(read_rule(file, learned)[1], learned)
    for name, rate in (("fixed", 0.0), ("further", 1e-3)):
        settings = META | {"meta.start": str(file), "meta.learning_rate": rate}
        train(override(Config(), settings), tmp_path / name)
    file.unlink()  # teams that were trained act without it
    fixed, further = (load_trained(tmp_path / name) for name in ("fixed", "further"))
    for seed in (4, 5):
        same(eta_of(fixed, seed), learned)
        pairs = zip(jax.tree.leaves(eta_of(further, seed)), jax.tree.leaves(learned), strict=True)
        assert any((np.asarray(a) != np.asarray(b)).any() for a, b in pairs)
