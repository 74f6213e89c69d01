"""Where checkpoints would land elsewhere because of a name, nothing is begun, and nothing is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from fake_population import FakePopulation, Notes, small
from fake_runs import pressing, resume, sweep, train

from purejax_mgtopo.errors import RunError
from purejax_mgtopo.records.folders import refuse_unfit
from purejax_mgtopo.training.recipe import parse_recipe
from purejax_mgtopo.training.recipe_runs import RecipeRun
from purejax_mgtopo.universal.recipe import load_meta_recipe
from purejax_mgtopo.universal.training import meta_train

FIT = ["a b", "w%20b", "a#b", "a|b", "é", "a]b"]
UNFIT = ["a[b]", "a\\b", "a*b", "a?b"]
TEAMS = 'question = "?"\ntasks = ["toy_public"]\nseeds = 2\n[meta_train]\nsteps = 1\n'


def begin(folder: Path) -> object:
    return train(small(), folder, reporter=Notes(), population=FakePopulation)


def begin_a_sweep(folder: Path) -> object:
    document = {"question": "?", "tasks": ["toy_public"], "methods": ["none"], "seeds": 3}
    recipe = parse_recipe(document, Path("recipe.toml"))
    return sweep(recipe, folder, reporter=Notes(), population=FakePopulation)


def begin_a_meta_training(folder: Path) -> object:
    file = folder.parents[1] / "meta_train.toml"
    file.write_text(TEAMS)
    try:
        return meta_train(load_meta_recipe(file), folder, Notes())
    finally:
        file.unlink()


@pytest.mark.parametrize("act", [begin, begin_a_sweep, begin_a_meta_training])
@pytest.mark.parametrize("name", UNFIT)
def test_nothing_begins_in_such_a_folder_or_beneath_it(
    act: Callable[[Path], object], name: str, tmp_path: Path
) -> None:
    (tmp_path / "home").mkdir()
    for folder in (tmp_path / "home" / name, tmp_path / "home" / name / "run"):
        with pytest.raises(RunError, match="choose or rename a folder") as error:
            act(folder)
        assert str(folder) in str(error.value) and "\n" not in str(error.value)
        assert [path.name for path in tmp_path.rglob("*")] == ["home"]


@pytest.mark.parametrize("name", UNFIT)
def test_a_run_that_was_moved_to_such_a_folder_is_not_said_to_be_bad(
    name: str, tmp_path: Path
) -> None:
    assert train(small(), tmp_path / "run", reporter=Notes(), population=pressing).interrupted
    (tmp_path / "run").rename(tmp_path / name)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(RunError, match="choose or rename a folder"):
        resume(tmp_path / name, reporter=Notes(), population=FakePopulation)
    assert sorted(tmp_path.rglob("*")) == before
    (tmp_path / name).rename(tmp_path / "run")
    going_on = resume(tmp_path / "run", reporter=Notes(), population=FakePopulation)
    assert going_on.episode == 40


@pytest.mark.parametrize("name", FIT)
def test_other_names_are_taken(name: str, tmp_path: Path) -> None:
    refuse_unfit(tmp_path / name / "run")


def test_a_name_that_this_locale_cannot_say_is_told(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="cannot be said in this locale; choose one such as LC_ALL"):
        refuse_unfit(tmp_path / "f\udcc3\udca9ll")


def test_a_link_past_which_the_path_goes_up_leads_where_the_system_says(tmp_path: Path) -> None:
    (tmp_path / "a[b]" / "deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "a[b]" / "deep")
    with pytest.raises(RunError, match="checkpoints cannot be written"):
        refuse_unfit(tmp_path / "link" / ".." / "run")
    refuse_unfit(tmp_path / "link" / "run")  # the name alone counts


def test_a_sweep_makes_folders_that_are_fit_of_any_words() -> None:
    tasks = ["a@p[1].npz", "a@p_1_.npz", "a@p*1*.npz", "a@/x/p[1].npz", "a@x\\p.npz"]
    methods = ["meta, start=p?.npz", "meta, start=p_.npz", "what[1]"]
    runs = [RecipeRun(task, method, small()) for task in tasks for method in methods]
    folders = [run.folder for run in runs]
    for folder in folders:
        refuse_unfit(folder)
        assert len(folder.parts) == 2
    assert len(set(folders)) == len(runs)
    assert RecipeRun("a@p.npz", "meta, hidden=64", small()).folder == Path("a@p.npz/meta,hidden=64")
