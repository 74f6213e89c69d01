"""Recipes over values of settings, of methods twice, of a part, by name; and runs that are to be longer."""

from __future__ import annotations

import os
import shutil
import subprocess
import tomllib
from pathlib import Path

import numpy as np
import pytest
from resume_cases import Notes, same_run, tiny
from stand_ins import train

from purejax_mgtopo.cli.main import main
from purejax_mgtopo.errors import ConfigError
from purejax_mgtopo.records.record import Status, read_config, status
from purejax_mgtopo.records.run_data import load_run
from purejax_mgtopo.training.recipe import load_recipe, parse_recipe, parse_setting
from purejax_mgtopo.training.run import resume

ROOT = Path(__file__).parents[3]


def recipe(text: str):
    return parse_recipe(tomllib.loads(text), Path("study/recipe.toml"))


def test_each_value_is_a_run() -> None:
    found = recipe(
        'tasks = ["toy_public"]\nmethods = ["none", "meta"]\n[config]\nlearner.hidden = [64, 128]\n'
        "[method.meta]\nmeta.learning_rate = [1e-4, 5e-4]\n"
    ).runs()
    assert [run.method for run in found] == [
        "none, hidden=64",
        "none, hidden=128",
        *(f"meta, hidden={h}, learning_rate={r}" for h in (64, 128) for r in ("0.0001", "0.0005")),
    ]
    assert found[0].folder == Path("toy_public", "none,hidden=64")
    last = found[-1].config.experiment
    assert (last.learner.hidden, last.meta.learning_rate) == (128, 5e-4)


def test_names_that_end_alike_are_told_in_full() -> None:
    (first, *_) = recipe(
        'tasks = ["toy_public"]\nmethods = ["meta"]\n[config]\nlearner.hidden = [8]\nmeta.hidden = [16]\n'
    ).runs()
    assert first.method == "meta, learner.hidden=8, meta.hidden=16"


def test_values_on_the_command_line() -> None:
    small = recipe('tasks = ["toy_public"]\nmethods = ["meta"]\n')
    found = small.runs([parse_setting("learner.hidden=[8, 16]")])
    assert [run.config.experiment.learner.hidden for run in found] == [8, 16]


def test_a_method_twice_under_two_names() -> None:
    found = recipe(
        'tasks = ["toy_public"]\nmethods = ["meta", "slow"]\n[method.slow]\npreset = "meta"\n'
        "gates.learning_rate = 1e-4\n"
    ).runs()
    assert [run.method for run in found] == ["meta", "slow"]
    assert found[1].config.experiment.topology == "meta"
    assert found[1].config.experiment.gates.learning_rate == 1e-4


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("learner.hidden = []", "learner.hidden lists no value"),
        ("learner.hidden = [8, 'x']", "hidden=x: learner.hidden must be of type int"),
        ("learner.hidden = [8, 8]", "are the same run"),
    ],
)
def test_wrong_values_are_named(settings: str, message: str) -> None:
    text = f'tasks = ["toy_public"]\nmethods = ["meta"]\n[config]\n{settings}\n'
    with pytest.raises(ConfigError, match=message):
        recipe(text).runs()


def test_a_part_of_a_recipe() -> None:
    whole = recipe('tasks = ["toy_public", "push_N3"]\nmethods = ["none", "meta"]\n')
    runs = whole.runs([parse_setting("learner.hidden=[8, 16]")])

    def names(tasks=(), methods=()):
        return [run.name for run in whole.chosen(runs, tasks, methods)]

    assert len(names()) == 8
    assert names(["push_N3"], ["meta"]) == ["push_N3/meta, hidden=8", "push_N3/meta, hidden=16"]
    assert names(methods=["meta, hidden=8"]) == [
        "toy_public/meta, hidden=8",
        "push_N3/meta, hidden=8",
    ]
    with pytest.raises(ConfigError, match="unknown method 'metta'; did you mean 'meta'"):
        names(methods=["metta"])
    with pytest.raises(ConfigError, match="unknown task 'push'"):
        names(tasks=["push"])


def test_shipped_recipes_go_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = load_recipe("quickstart")
    assert found.tasks == ("toy_crossed_goals",)
    assert found.results == Path("results/quickstart")  # here, and not inside the package
    with pytest.raises(ConfigError, match="did you mean quickstart.*shipped: .*paper"):
        load_recipe("quikstart")


def test_no_recipe_is_missing_from_the_wheel() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    included = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    recipes = {str(path.relative_to(ROOT)) for path in ROOT.glob("runs/*/recipe.toml")}
    assert recipes <= set(included)
    for source, target in included.items():
        assert (ROOT / source).is_file(), source
        assert target == f"purejax_mgtopo/recipes/{Path(source).parent.name}/{Path(source).name}"


@pytest.mark.slow
def test_a_finished_run_is_extended(tmp_path: Path) -> None:
    longer = tiny("none+commnet", episodes=12)
    train(tiny("none+commnet", episodes=8), tmp_path / "extended", reporter=Notes())
    assert status(tmp_path / "extended") is Status.FINISHED
    result = resume(tmp_path / "extended", reporter=Notes(), episodes=12)
    assert result.episode == 12
    assert read_config(tmp_path / "extended").experiment.episodes == 12
    train(longer, tmp_path / "whole", reporter=Notes())
    one, other = load_run(tmp_path / "extended"), load_run(tmp_path / "whole")
    np.testing.assert_array_equal(one.episodes, [0, 4, 8, 12])
    for name in ("train_return", "edge_rate"):
        np.testing.assert_array_equal(one.column(name), other.column(name))
    same_run(tmp_path / "extended", tmp_path / "whole")


@pytest.mark.slow
def test_what_cannot_be_extended_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    train(tiny("none+commnet", episodes=8), tmp_path / "run", reporter=Notes())
    assert main(["resume", str(tmp_path / "run")]) == 1
    assert "--episodes N extends it" in capsys.readouterr().err
    assert main(["resume", str(tmp_path / "run"), "--episodes", "4"]) == 2
    assert "would shorten it" in capsys.readouterr().err
    assert main(["resume", str(tmp_path / "run"), "--episodes", "9"]) == 2
    assert "multiple" in capsys.readouterr().err
    assert read_config(tmp_path / "run").experiment.episodes == 8
    assert status(tmp_path / "run") is Status.FINISHED


def test_a_method_named_twice_is_told_how_it_can_be(tmp_path: Path) -> None:
    recipe = {"tasks": ["toy_public"], "methods": ["meta", "meta"], "seeds": 1}
    with pytest.raises(
        ConfigError, match=r'more than once; .*\[method.meta_2\] says preset = "meta"'
    ):
        parse_recipe(recipe, tmp_path / "recipe.toml")
    told = recipe | {
        "methods": ["meta", "meta_2"],
        "method": {"meta_2": {"preset": "meta", "learner.hidden": 8}},
    }
    assert len(parse_recipe(told, tmp_path / "recipe.toml").runs()) == 2


STUB = """#!/bin/sh
echo "$@" >> "$CALLS"
for last in "$@"; do :; done
case $1 in
  train | resume) mkdir -p "$last"; [ $1 != train ] || [ -z "$FAIL" ] || exit 3 ;;
  export) mkdir -p "$(dirname "$last")"; echo eta > "$last" ;;
esac
"""


def test_figure_3_learns_its_rules_before_it_compares_them(tmp_path: Path) -> None:
    """A file that the recipe names and the script does not make; or, called again, all from the beginning."""
    home = tmp_path / "runs" / "paper_fixed"
    shutil.copytree(ROOT / "runs" / "paper_fixed", home, ignore=shutil.ignore_patterns("results"))
    stub, calls = tmp_path / "bin" / "mgtopo", tmp_path / "calls"
    stub.parent.mkdir()
    stub.write_text(STUB)
    stub.chmod(0o755)

    def called(*words: str, fail: str = "") -> tuple[int, list[list[str]]]:
        calls.write_text("")
        path = f"{stub.parent}{os.pathsep}{os.environ['PATH']}"
        surroundings = {**os.environ, "PATH": path, "CALLS": str(calls), "FAIL": fail}
        script = ["sh", "runs/paper_fixed/figure3.sh", *words]
        done = subprocess.run(script, cwd=tmp_path, env=surroundings, check=False)
        return done.returncode, [line.split() for line in calls.read_text().splitlines()]

    assert called("10", "20", fail="yes") == (3, [called_train("navigation_N6_l6")])
    code, made = called("10", "20", "--seeds", "8")
    assert code == 0
    kinds = [words[0] for words in made]
    assert kinds == "resume export resume export train export resume export sweep verdicts".split()
    assert made[4] == called_train("predator_prey_N6_l1")
    assert made[2][2:] == made[6][2:] == ["--episodes", "20"]
    assert made[8][-2:] == ["--seeds", "8"]
    assert [words[0] for words in called()[1]] == ["sweep", "verdicts"]
    named = {
        run.config.experiment.meta.start: run.config.experiment.meta.learning_rate
        for run in load_recipe(home).runs()
    }
    assert len(named) == 5 and all((tmp_path / file).is_file() for file in named if file)
    assert {rate for file, rate in named.items() if file} == {0.0}


def called_train(task: str) -> list[str]:
    words = f"train --task {task} --method meta --seeds 1 --episodes 10 --out"
    return [*words.split(), f"runs/paper_fixed/results/learned/{task}"]
