"""Rules, interpreters, critics and tasks that live outside of the package."""

from __future__ import annotations

import dataclasses
import os
import shlex
import sys
from pathlib import Path

import jax.numpy as jnp
import jax_mpe
import pytest
from fake_population import FakeStore
from fake_runs import pressing
from outside import MODULE
from stand_ins import stand_ins

from purejax_mgtopo import methods, register_rule
from purejax_mgtopo.cli import running
from purejax_mgtopo.cli.main import main
from purejax_mgtopo.config import Experiment
from purejax_mgtopo.errors import ConfigError
from purejax_mgtopo.plugins import registry
from purejax_mgtopo.training.recipe import load_recipe


@pytest.fixture
def tables():
    """What a test registers is gone after it."""
    every = (methods.TOPOLOGIES, methods.MESSAGES, methods.CRITICS, methods.TASKS, jax_mpe._OTHERS)
    kept = [dict(table) for table in every]
    path, loaded = list(sys.path), set(sys.modules)
    yield
    for table, before in zip(every, kept, strict=True):
        table.clear()
        table.update(before)
    sys.path[:] = path
    for name in set(sys.modules) - loaded:
        if name.startswith("my_"):
            del sys.modules[name]


def test_a_module_registers_all_four_kinds(
    tables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "my_module.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    registry.import_plugin("my_module", "--import")
    chosen = Experiment(task="meet", topology="coin", messages="whisper", critic="judge")
    assert chosen.method == "coin+whisper+judge"
    assert jax_mpe.check_task(methods.load(methods.TASKS, "meet")()) == []
    assert registry.plugins_of({"topology": "coin", "messages": "lstm", "task": "meet"}) == {
        "topology": {"coin": "my_module:Coin"},
        "task": {"meet": "my_module:Meet"},
    }
    assert main(["methods"]) == 0
    assert "Every edge is open half of the time" in " ".join(capsys.readouterr().out.split())
    assert main(["tasks"]) == 0
    assert "Three agents meet" in capsys.readouterr().out


def test_a_recipe_imports_what_lies_beside_it(tables, tmp_path: Path) -> None:
    (tmp_path / "my_rules.py").write_text(
        "from purejax_mgtopo import register_rule\nregister_rule('mine', 'my_rules:Mine')\n"
    )
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('import = ["my_rules"]\ntasks = ["toy_public"]\nmethods = ["mine+lstm"]\n')
    (run,) = load_recipe(recipe).runs()
    assert run.config.experiment.topology == "mine"
    recipe.write_text('import = ["my_nothing"]\ntasks = ["toy_public"]\nmethods = ["none"]\n')
    with pytest.raises(ConfigError, match="recipe.toml: my_nothing cannot be imported"):
        load_recipe(recipe)


def test_the_words_that_go_on_with_a_run_find_what_lies_beside_its_recipe(
    tables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """From the folder in which the sweep was called, whose own modules need no word."""
    home, elsewhere = tmp_path / "my study", tmp_path / "elsewhere"
    for folder, name in ((home, "mine"), (elsewhere, "near")):
        folder.mkdir()
        text = (
            f"from purejax_mgtopo import register_rule\nregister_rule('{name}', 'my_{name}:Rule')\n"
        )
        (folder / f"my_{name}.py").write_text(text)
    monkeypatch.chdir(elsewhere)
    monkeypatch.setattr(running, "check_tasks", lambda configs: None)
    monkeypatch.setenv("PYTHONPATH", "/some/where")
    for name in ("mine", "near"):
        (home / "recipe.toml").write_text(
            f'import = ["my_{name}"]\ntasks = ["toy_public"]\nmethods = ["{name}+lstm"]\n[config]\n'
            "episodes = 60\nchunk_episodes = 10\nevaluation.every = 20\nwandb = 'off'\n"
        )
        with stand_ins(population=pressing, store=FakeStore({})):
            assert main(["sweep", str(home), "--no-cache"]) == running.INTERRUPTED
        line = capsys.readouterr().err.splitlines()[-1]
        words = shlex.split(line.partition("go on by: ")[2])
        run = str(home / "results" / "toy_public" / f"{name}+lstm")
        path = [f"PYTHONPATH={home}{os.pathsep}/some/where"] if name == "mine" else []
        assert words == [*path, "mgtopo", "resume", run]


def test_installed_packages_offer_theirs(tables, tmp_path: Path, monkeypatch) -> None:
    info = tmp_path / "my_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[purejax_mgtopo.rules]\noffered = my_package:Rule\n[purejax_mgtopo.tasks]\nplay = my_package:Play\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    registry.find_entry_points.cache_clear()
    assert Experiment(topology="offered").topology == "offered"  # nothing of it is imported yet
    assert methods.TASKS["play"].path == "my_package:Play"
    with pytest.raises(ConfigError, match="my_package:Rule, which cannot be imported.*PYTHONPATH"):
        methods.load(methods.TOPOLOGIES, "offered")
    registry.find_entry_points.cache_clear()


def test_names_are_guarded(tables) -> None:
    for name, message in (("meta", "is a rule already"), ("a+b", "cannot name"), ("", "cannot")):
        with pytest.raises(ConfigError, match=message):
            register_rule(name, "my_module:Rule")
    with pytest.raises(ConfigError, match="give a class, or 'module:Class'"):
        register_rule("mine", "my_module.Rule")
    register_rule("mine", "my_module:Rule")
    register_rule("mine", "my_module:Rule")  # as when a module is imported twice
    with pytest.raises(ValueError, match="is a task of jax_mpe already"):
        jax_mpe.register_task("push_N3", jax_mpe.Push)


class Broken(jax_mpe.Navigation):
    """A task to break."""


def broken(**changes: object) -> type:
    return dataclasses.dataclass(frozen=True)(type("Broken", (Broken,), changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"observe": lambda s, state: jnp.zeros((3, 9))}, r"observe gives \(3, 9\)"),
        ({"reward": lambda s, a, b, c: jnp.zeros(3)}, r"reward has shape \(3,\)"),
        ({"reward": lambda s, a, b, c: jnp.nan}, "is not a finite number"),
        (
            {"advance": lambda s, state, a: state.replace(agent_velocity=jnp.zeros((3, 3)))},
            "^advance changes the shape or type of a field",
        ),
        (
            {"moving_fields": ("agent_velocity",)},
            "which neither moving_fields nor fixed_fields name",
        ),
        ({"moving_fields": ("agent_place",)}, "moving_fields names 'agent_place'"),
        ({"measures": lambda s, state: {"m": jnp.zeros(2)}}, "measure 'm' has shape"),
        ({"right_edges": lambda s, state: jnp.zeros((2, 2))}, r"right_edges has shape \(2, 2\)"),
    ],
)
def test_the_checker_names_the_contract_that_is_broken(changes: dict, message: str) -> None:
    found = jax_mpe.check_task(broken(**changes)(3, 3))
    assert len(found) == 1, found
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(found[0])


@pytest.mark.slow
def test_the_checker_is_content_with_all_tasks() -> None:
    for name in (
        "navigation_N3_l3",
        "predator_prey_N3_l3",
        "push_N3",
        "reference_N2",
        "toy_public",
    ):
        assert jax_mpe.check_task(jax_mpe.make(name)) == [], name
    assert jax_mpe.check_task(object()) == [
        "it is an object of object; derive it from jax_mpe.Scenario"
    ]
