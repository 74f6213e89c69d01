from __future__ import annotations

from pathlib import Path

import pytest

from purejax_mgtopo.errors import ConfigError
from purejax_mgtopo.training.recipe import Setting, load_recipe, parse_recipe, parse_setting

FULL = """
question = "Does it?"
tasks = ["toy_follow_holder", "toy_public"]
methods = ["none", "meta", "stgs+commnet"]
seeds = 4
[config]
episodes = 2000
learner.discount = 0.5
"learner.hidden" = 64
[config.meta]
learning_rate = 1e-4
[task.toy_public]
learner.discount = 0.9
learner.hidden = 32
[method.meta]
learner.hidden = 16
"""


def write(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.toml").write_text(text, encoding="utf-8")
    return folder


def test_runs_are_tasks_times_methods_with_layers(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path / "study", FULL))
    runs = {run.name: run for run in recipe.runs()}
    assert list(runs) == [
        f"{task}/{method}"
        for task in ("toy_follow_holder", "toy_public")
        for method in ("none", "meta", "stgs+commnet")
    ]
    assert recipe.question == "Does it?"
    plain = runs["toy_follow_holder/none"].config.experiment
    assert (plain.task, plain.topology, plain.seeds) == ("toy_follow_holder", "none", 4)
    assert (plain.episodes, plain.learner.discount, plain.learner.hidden) == (2000, 0.5, 64)
    assert plain.meta.learning_rate == 1e-4
    assert runs["toy_public/none"].config.experiment.learner.hidden == 32
    both = runs["toy_public/meta"].config.experiment.learner
    assert (both.hidden, both.discount) == (16, 0.9)  # the method's table wins over the task's
    assert runs["toy_public/stgs+commnet"].folder == Path("toy_public", "stgs+commnet")


def test_a_learners_preset_lies_beneath_all_else(tmp_path: Path) -> None:
    """A preset that overrules a recipe's own settings, or a method's that is lost by it."""
    text = FULL.replace("seeds = 4", 'seeds = 4\nlearner_preset = "improved"')
    runs = {run.name: run for run in load_recipe(write(tmp_path / "study", text)).runs()}
    learner = runs["toy_public/meta"].config.experiment.learner
    assert (learner.n_step, learner.updates_per_episode, learner.exploration_noise) == (5, 2, 0.6)
    assert (learner.hidden, learner.discount) == (16, 0.9)
    shared = runs["toy_public/stgs+commnet"].config.experiment
    assert (shared.messages, shared.learner.n_step) == ("commnet", 5)
    own = FULL.replace("seeds = 4", 'learner_preset = "improved"').replace(
        "learner.discount = 0.5", "learner.n_step = 3"
    )
    (run, *_) = load_recipe(write(tmp_path / "own", own)).runs()
    assert (run.config.experiment.learner.n_step, run.config.experiment.learner.hidden) == (3, 64)


def test_a_method_may_have_a_learner_of_its_own(tmp_path: Path) -> None:
    text = MINIMAL.replace('["meta"]', '["none", "better", "plain"]') + (
        'learner_preset = "improved"\n[method.better]\npreset = "none"\nlearner.n_step = 7\n'
        '[method.plain]\npreset = "full"\nlearner_preset = "paper"\n'
    )
    runs = [run.config.experiment for run in load_recipe(write(tmp_path / "study", text)).runs()]
    assert [run.learner.n_step for run in runs] == [5, 7, 1]
    assert [run.learner.updates_per_episode for run in runs] == [2, 2, 1]


def test_tables_lie_within_tables(tmp_path: Path) -> None:
    text = 'tasks = ["toy_public"]\nmethods = ["i2c"]\n[config.member.i2c]\norder = "released"\n'
    (run,) = load_recipe(write(tmp_path / "study", text)).runs()
    assert run.config.experiment.member.i2c.order == "released"


def test_a_file_or_its_folder(tmp_path: Path) -> None:
    folder = write(tmp_path / "study", FULL)
    assert load_recipe(folder) == load_recipe(folder / "recipe.toml")


def test_command_line_wins(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, FULL))
    changes = [parse_setting("learner.hidden=8"), Setting("seeds", 2)]
    assert {run.config.experiment.learner.hidden for run in recipe.runs(changes)} == {8}
    assert {run.config.experiment.seeds for run in recipe.runs(changes)} == {2}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("learner.hidden=64", 64),
        ("meta.learning_rate = 5e-4", 5e-4),
        ("learner.share_parameters=true", True),
        ("seed_axis=map", "map"),
        ("seed_axis='map'", "map"),
    ],
)
def test_values_of_settings(text: str, value: object) -> None:
    setting = parse_setting(text)
    assert setting.value == value
    assert type(setting.value) is type(value)


MINIMAL = 'tasks = ["toy_public"]\nmethods = ["meta"]\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (MINIMAL + "sedes = 3", "unknown key 'sedes'; did you mean 'seeds'"),
        (
            MINIMAL + "[config]\nlearner.hiden = 3",
            r"\[config\]: unknown setting .* 'learner.hidden'",
        ),
        (MINIMAL + "[config]\nlearner = 3", r"\[config\]: unknown setting 'learner'"),
        (MINIMAL + "[method.metta]\nseeds = 3", r"\[method.metta\]: unknown .* mean 'meta'"),
        (MINIMAL + "[task.toy_publik]\nseeds = 3", r"\[task.toy_publik\]: unknown .* 'toy_public'"),
        (MINIMAL + "[method.meta]\nmeta.entropi = 3", r"\[method.meta\]: .* mean 'meta.entropy'"),
        (MINIMAL + "[method]\nmeta = 3", r"\[method.meta\] must be a table"),
        (MINIMAL + 'task = "toy"', "did you mean tasks"),
        (MINIMAL + "[config]\ntopology = 'full'", "topology is set by"),
        (MINIMAL + "seeds = 2\n[config]\nseeds = 3", "seeds stands both"),
        (MINIMAL + "seeds = 0", "toy_public/meta: seeds must be at least 1"),
        (MINIMAL + "seeds = '3'", "seeds must be of type int"),
        (MINIMAL + "question = 3", "question must be a string"),
        (MINIMAL + "learner_preset = ['paper']", "learner_preset must be a name"),
        (MINIMAL + "learner_preset = 'impruved'", "learner_preset: unknown .* mean 'improved'"),
        (
            MINIMAL + "[method.meta]\nlearner_preset = 'impruved'",
            r"\[method.meta\] learner_preset: unknown .* mean 'improved'",
        ),
        (
            MINIMAL + "[[claim]]\nsays = 'so'\nmethod = 'metta'\ntop = 1",
            "claim 1: method: unknown method .* mean 'meta'",
        ),
        (MINIMAL + "[claim]\nsays = 'so'", r"each beginning with \[\[claim\]\]"),
        ('tasks = ["a"]\nmethods = ["metta"]', "methods: unknown method .* mean 'meta'"),
        ('tasks = ["a"]\nmethods = ["meta", "meta"]', "lists 'meta' more than once"),
        ('tasks = ["a"]\nmethods = ["none", "maddpg"]', "a/none and a/maddpg are the same run"),
        ('tasks = ["a"]\nmethods = ["full", "full+lstm"]', "are the same run; leave one out"),
        ('tasks = ["a_N3", "a_N3@shipped"]\nmethods = ["full"]', "are the same run"),
        (
            'tasks = ["predator_prey_N6_l3", "predator_prey_N6_l6"]\nmethods = ["full"]',
            "are the same run",
        ),
        ('tasks = ["a@./p.npz", "a@p.npz"]\nmethods = ["full"]', "are the same run"),
        (
            MINIMAL + '[config]\n"learner.hidden" = 8\nlearner.hidden = 16',
            r"\[config\]: learner.hidden is given twice, as 8 and 16",
        ),
        ('tasks = "a"\nmethods = ["meta"]', "tasks must be a list of names"),
        ('methods = ["meta"]', "tasks must be a list of names"),
        (MINIMAL + 'import = "math"\nconfig = 3', r"\[config\] must be a table of settings, not 3"),
        ("tasks = [", "not valid TOML"),
    ],
)
def test_a_mistake_is_named_with_file_and_place(tmp_path: Path, text: str, message: str) -> None:
    folder = write(tmp_path, text)
    with pytest.raises(ConfigError, match=message) as caught:
        load_recipe(folder).runs()
    assert str(caught.value).startswith(str(folder / "recipe.toml"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["hidden", "=3", "learner.hidden=", "learner.hiden=3", "task=a"])
def test_a_wrong_setting_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_setting(text)


def test_a_missing_recipe_names_those_beside_it(tmp_path: Path) -> None:
    write(tmp_path / "runs" / "quickstart", MINIMAL)
    write(tmp_path / "runs" / "paper", MINIMAL)
    (tmp_path / "runs" / "empty").mkdir()
    for wrong in ("runs/quikstart", "quickstart"):
        with pytest.raises(ConfigError, match="does not exist; did you mean .*runs/quickstart"):
            load_recipe(tmp_path / wrong)
    with pytest.raises(ConfigError, match=r"runs has no recipe.toml; .*paper.*quickstart"):
        load_recipe(tmp_path / "runs")
    with pytest.raises(ConfigError, match=r"empty has no recipe.toml; did you mean"):
        load_recipe(tmp_path / "runs" / "empty")


def test_two_words_for_a_method_may_have_settings_of_their_own(tmp_path: Path) -> None:
    text = 'tasks = ["a"]\nmethods = ["full", "full+lstm"]\n[method.full]\nlearner.hidden = 8'
    assert len(load_recipe(write(tmp_path, text)).runs()) == 2


def test_a_byte_order_mark_and_a_change_given_twice(tmp_path: Path) -> None:
    folder = write(tmp_path, "\ufeff" + MINIMAL)
    recipe = load_recipe(folder)
    with pytest.raises(ConfigError, match="seeds is given twice, as 1 and 2"):
        recipe.runs([Setting("seeds", 1), Setting("seeds", 2)])


def test_shipped_recipes_are_valid() -> None:
    runs = Path(__file__).parents[3] / "runs"
    files = sorted(runs.glob("*/recipe.toml"))
    assert files
    for file in files:
        assert load_recipe(file).runs()


def test_parsed_without_a_file() -> None:
    document = {"tasks": ["toy_public"], "methods": ["none"]}
    (run,) = parse_recipe(document, Path("here")).runs()
    assert run.config.experiment.topology == "none"
