"""Runs of a recipe have names and folders of their own, and no seed of a run counts twice: told before any trains."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from purejax_mgtopo.errors import ConfigError
from purejax_mgtopo.records.run_names import word_for
from purejax_mgtopo.training.recipe import Recipe, parse_recipe


def recipe(text: str, methods: str = '["full"]') -> Recipe:
    whole = f'tasks = ["toy_public"]\nmethods = {methods}\nseeds = 4\n{text}\n'
    return parse_recipe(tomllib.loads(whole), Path("study/recipe.toml"))


def refusal(text: str, methods: str = '["full"]') -> str:
    with pytest.raises(ConfigError) as caught:
        recipe(text, methods).runs()
    assert str(caught.value).startswith("study/recipe.toml: ") and "\n" not in str(caught.value)
    return str(caught.value)


def test_values_that_differ_far_behind_the_point_are_told_apart() -> None:
    found = recipe("[config]\nlearner.discount = [0.9, 0.9000001, 0.9000002, 5e-4]").runs()
    assert [run.method for run in found] == [
        f"full, discount={text}" for text in ("0.9", "0.9000001", "0.9000002", "0.0005")
    ]
    assert len({run.folder for run in found}) == 4


@pytest.mark.parametrize(
    ("text", "methods", "message"),
    [
        ('[config]\nmeta.start = ["a/b", "a_b"]', '["full"]', "meta.start a/b -> a_b"),
        ('[config]\nmeta.start = ["a, b", "a,b"]', '["full"]', "meta.start a, b -> a,b"),
        (
            '[method."a, b"]\npreset = "full"\n[method."a,b"]\npreset = "none"',
            '["a, b", "a,b"]',
            "topology full -> none",
        ),
        (
            '[method.full]\nlearner.hidden = [8, 16]\n[method."full, hidden=8"]\npreset = "none"',
            '["full", "full, hidden=8"]',
            "toy_public/full, hidden=8",
        ),
    ],
)
def test_runs_that_would_share_a_folder_are_refused(text: str, methods: str, message: str) -> None:
    """The second one would find the first one's results there, when that is trained."""
    told = refusal(text, methods)
    assert message in told and "would share the folder toy_public/" in told


@pytest.mark.parametrize(
    "task",
    [
        "toy_public",
        "predator_prey_N3_l3@scripted",
        "predator_prey_N3_l3@prey/mine.npz",
        "predator_prey_N3_l3@/somewhere/else/mine.npz",
        "predator_prey_N3_l3@../mine.npz",
    ],
)
def test_a_run_goes_by_the_recipes_word_wherever_its_tasks_prey_lies(
    task: str, tmp_path: Path
) -> None:
    """The folder of a task whose prey is a file is several deep, or has another name."""
    text = f'tasks = ["{task}"]\nmethods = ["steady"]\n[method.steady]\npreset = "meta"\n'
    (run,) = parse_recipe(tomllib.loads(text), Path("recipe.toml")).runs()
    assert word_for(tmp_path / run.folder, run.config.experiment) == "steady"
    alone = tmp_path / "elsewhere" / "steady"
    assert word_for(alone, run.config.experiment) == "meta"


def test_a_method_without_a_name_is_refused() -> None:
    """Its folder would be the task's, and hold all others."""
    assert "'' cannot name a folder" in refusal('[method.""]\npreset = "none"', '["full", ""]')


@pytest.mark.parametrize(
    ("methods", "name"),
    [('["universal"]', "member.universal.file"), ('["meta"]', "meta.start")],
)
def test_a_file_under_two_spellings_is_one_run(
    methods: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for other in ("./x.npz", "y/../x.npz", f"{tmp_path}/x.npz"):
        told = refusal(f'[config]\n{name} = ["x.npz", "{other}"]', methods)
        assert "are the same run; leave one out" in told
    assert len(recipe(f'[config]\n{name} = ["x.npz", "y.npz", ""]', methods).runs()) == 3


@pytest.mark.parametrize(
    ("text", "methods", "shared"),
    [
        ("[config]\nfirst_seed = [0, 1]", '["full"]', "seeds 1 to 3"),
        ("[config]\nfirst_seed = [3, 0]", '["full"]', "seed 3"),
        ("[method.b]\npreset = 'full'\nfirst_seed = 2", '["full", "b"]', "seeds 2 to 3"),
        ("[method.b]\npreset = 'full'\nseeds = 2", '["full", "b"]', "seeds 0 to 1"),
        (
            "[method.b]\npreset = 'full'\nfirst_seed = 8\n[method.c]\npreset = 'full'\nfirst_seed = 5\nseeds = 20",
            '["b", "full", "c"]',
            "seeds 8 to 11",
        ),
    ],
)
def test_a_seed_that_two_runs_of_the_same_settings_train_is_refused(
    text: str, methods: str, shared: str
) -> None:
    told = refusal(text, methods)
    assert f"are the same run for {shared}" in told and "first_seed" in told


def test_runs_of_the_same_settings_whose_seeds_are_apart_may_be() -> None:
    assert len(recipe("[config]\nfirst_seed = [0, 4, 8]").runs()) == 3
    assert len(recipe("[method.none]\nfirst_seed = 1", '["full", "none"]').runs()) == 2


def test_runs_by_other_kernels_are_others() -> None:
    found = recipe('[config]\nprecision = "bfloat16"\nkernels = ["xla", "fused"]').runs()
    assert [run.config.means.kernels for run in found] == ["xla", "fused"]


def test_swept_counts_of_seeds_begin_at_the_same_one() -> None:
    text = 'tasks = ["toy_public"]\nmethods = ["full"]\n[config]\nseeds = [2, 3]\n'
    with pytest.raises(ConfigError, match="are the same run for seeds 0 to 1"):
        parse_recipe(tomllib.loads(text), Path("study/recipe.toml")).runs()
