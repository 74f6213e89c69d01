"""Recipes over values of settings, of methods twice, of a part, by name; and runs that are to be longer."""

from __future__ import annotations

import dataclasses
import importlib.util
import itertools
import shutil
import tomllib
from pathlib import Path

import numpy as np
import pytest
from resume_cases import Notes, same_run, tiny
from stand_ins import train

from purejax_mgtopo.analysis.claims import StatedClaim
from purejax_mgtopo.cli.main import main
from purejax_mgtopo.errors import ConfigError
from purejax_mgtopo.records.record import Status, read_config, status
from purejax_mgtopo.records.run_data import load_run
from purejax_mgtopo.training.recipe import Recipe, load_recipe, parse_recipe, parse_setting
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


@pytest.fixture
def figure3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The script, beside its recipes, with a command that only notes what it is asked and writes what it exports."""
    home = tmp_path / "paper_fixed"
    shutil.copytree(ROOT / "runs" / "paper_fixed", home, ignore=shutil.ignore_patterns("results"))
    spec = importlib.util.spec_from_file_location("figure3", home / "figure3.py")
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    script.calls, script.finished = [], set()

    def command(words: list[str]) -> int:
        script.calls.append(words)
        if words[0] == "export":
            file = Path(words[-1])
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(words[1])
        return 0

    def state(run: Path) -> Status:
        return Status.FINISHED if run.parent.name in script.finished else Status.UNFINISHED

    monkeypatch.setattr(script, "mgtopo", command)
    monkeypatch.setattr(script, "status", state)
    return script


def test_figure_3_compares_the_rules_that_were_learned_for_it(figure3) -> None:
    """A late eta in an early one's place, the other task's, or one of another trial."""
    figure3.finished = {"navigation_N6_l6", "predator_prey_N6_l1"}
    words = ["--early", "10", "--late", "20", "--seeds", "8", "--episodes", "30"]
    assert figure3.main([*words, "--both", "--learner-preset improved"]) == 0
    assert [call[0] for call in figure3.calls] == ["sweep", *["export"] * 4, "sweep", "verdicts"]
    first, *exports, second, _ = figure3.calls
    assert first[-4:] == ["--set", "episodes=[10,20]", "--learner-preset", "improved"]
    assert second[-6:] == "--seeds 8 --episodes 30 --learner-preset improved".split()
    assert [call[2:6] for call in exports] == [["--seed", "0", "--part", "eta"]] * 4
    results = figure3.HOME / "results" / "10_20"
    fixed = load_recipe(Path(second[1]))
    assert fixed.claims == load_recipe(figure3.HOME).claims
    named = {run.method: run.config.experiment.meta for run in fixed.runs()}
    for who, task in (("navigation", "navigation_N6_l6"), ("predators", "predator_prey_N6_l1")):
        for when, episodes in (("early", 10), ("late", 20)):
            eta = named[f"{who}_{when}"]
            learned = results / "learned" / task / f"meta,episodes={episodes}"
            assert Path(eta.start).read_text() == str(learned) and eta.learning_rate == 0
    assert named["online"].start == named["random"].start == ""
    assert named["online"].learning_rate > 0 and named["random"].learning_rate == 0


def test_figure_3_of_other_tasks_asks_the_same_of_them(figure3) -> None:
    tasks = ("navigation_N3_l3", "predator_prey_N3_l3")
    figure3.finished = set(tasks)
    assert figure3.main(["--early", "10", "--late", "20", "--tasks", *tasks]) == 0
    first, *_, second, _ = figure3.calls
    assert load_recipe(Path(first[1])).tasks == load_recipe(Path(second[1])).tasks == tasks
    assert Path(second[1]).parent.name == "_".join(["10_20", *tasks])
    papers, own = load_recipe(figure3.HOME), load_recipe(Path(second[1]))
    for old, new in zip(papers.claims, own.claims, strict=True):
        words = [old.says, *old.tasks]
        for paper, other in zip(papers.tasks, tasks, strict=True):
            words = [word.replace(paper, other) for word in words]
        assert [new.says, *new.tasks] == words and new.beats == old.beats
    starts = {run.config.experiment.meta.start for run in own.runs()} - {""}
    assert {Path(start).read_text().split("/")[-2] for start in starts} == set(tasks)


def test_figure_3_takes_no_eta_that_is_half_learned(figure3) -> None:
    """A scheduler's request to stop ends a sweep well, and not at its end."""
    figure3.finished = {"navigation_N6_l6"}
    assert figure3.main(["--early", "10", "--late", "20"]) == 1
    assert [call[0] for call in figure3.calls] == ["sweep", "export", "export"]


def test_figure_4_where_topology_matters_changes_the_same_settings() -> None:
    folder = ROOT / "runs" / "paper_ablation"
    papers, own = load_recipe(folder), load_recipe(folder / "reference.toml")

    def apart(recipe: Recipe) -> dict[str, object]:
        """Each method's settings but for the task and the length."""
        found = {run.method: run.config.experiment for run in recipe.runs()}
        return {
            name: dataclasses.replace(each, task="toy_public", seeds=1, episodes=500)
            for name, each in found.items()
        }

    assert apart(own) == apart(papers) and own.methods == papers.methods
    claims = [[(each.method, each.beats) for each in recipe.claims] for recipe in (papers, own)]
    assert claims[0] == claims[1]


def test_the_papers_claims_can_all_hold_but_for_the_order_of_one_task() -> None:
    """Three methods among the last two, say."""
    recipe = load_recipe(ROOT / "runs" / "paper")
    for task in recipe.tasks:
        own = [claim for claim in recipe.claims if task in claim.tasks and claim.on == "all"]
        orders = itertools.permutations(recipe.methods)
        assert any(all(_is_so(claim, order) for claim in own) for order in orders), task


def _is_so(claim: StatedClaim, order: tuple[str, ...]) -> bool:
    """Of methods from the best to the worst."""
    if claim.top:
        return claim.method in order[: claim.top]
    if claim.bottom:
        return claim.method in order[-claim.bottom :]
    return all(order.index(claim.method) < order.index(rival) for rival in claim.beats)
