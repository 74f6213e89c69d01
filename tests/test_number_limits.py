"""Numbers that no program can hold are refused by name, on every way in, and at once."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest

from purejax_mgtopo.cli.main import main
from purejax_mgtopo.config import (
    CheckpointConfig,
    Config,
    EvaluationConfig,
    Experiment,
    LearnerConfig,
    Means,
    flatten,
    override,
)
from purejax_mgtopo.errors import ConfigError
from purejax_mgtopo.population.waves import Wave, split_into_waves
from purejax_mgtopo.prey.settings import PreySettings
from purejax_mgtopo.training.recipe import load_recipe, parse_recipe, parse_setting

FLOATS = [name for name, value in flatten(Config()).items() if type(value) is float]
WHOLE = [
    name
    for name, value in flatten(Config()).items()
    if type(value) is int and name != "message.latency"
]
LAST = 2**31 - 1


def one_line(error: pytest.ExceptionInfo[ConfigError]) -> str:
    assert "\n" not in str(error.value) and len(str(error.value)) < 300
    return str(error.value)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e39])
@pytest.mark.parametrize("name", FLOATS)
def test_what_is_not_finite_is_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(ConfigError) as error:
        override(Config(), {name: value})
    assert name in one_line(error)


@pytest.mark.parametrize(
    "value", [2**31, 2**32, 10**12, 10**400, 10**5000], ids=["31", "32", "40", "1329", "16610"]
)
@pytest.mark.parametrize("name", WHOLE)
def test_what_32_bits_do_not_hold_is_refused_by_name(name: str, value: int) -> None:
    if name == "evaluation.seed" and value == 2**31:
        value = 2**32
    with pytest.raises(ConfigError) as error:
        override(Config(), {name: value})
    assert name in one_line(error)


def test_python_builds_no_such_settings() -> None:
    for broken in (math.nan, np.float32("inf"), np.float64("nan")):
        with pytest.raises(ConfigError, match="learner.critic_learning_rate"):
            Experiment(learner=LearnerConfig(critic_learning_rate=broken))
        with pytest.raises(ConfigError, match="checkpoint.minutes"):
            Means(checkpoint=CheckpointConfig(minutes=broken))
        with pytest.raises(ConfigError, match="hunters|contact_cost"):
            PreySettings(contact_cost=broken)
    with pytest.raises(ConfigError, match="seeds"):
        dataclasses.replace(Experiment(), seeds=10**12)
    with pytest.raises(ConfigError, match=str(LAST)):
        PreySettings(first_seed=LAST, seeds=2)


@pytest.mark.parametrize(
    ("first", "seeds", "holds"),
    [
        (LAST, 1, True),
        (LAST - 7, 8, True),
        (0, LAST, True),
        (LAST, 2, False),
        (LAST - 6, 8, False),
        (2**31, 1, False),
        (2**32 - 1, 2, False),
        (2**32, 1, False),
        (2**64, 1, False),
    ],
)
def test_the_last_seed_is_the_largest_whole_number_of_32_bits(
    first: int, seeds: int, holds: bool
) -> None:
    if holds:
        assert Experiment(first_seed=first, seeds=seeds).first_seed == first
        return
    with pytest.raises(ConfigError, match="first_seed.*2147483647") as error:
        Experiment(first_seed=first, seeds=seeds)
    one_line(error)


@pytest.mark.parametrize(
    ("seed", "holds"), [(0, True), (2**32 - 1, True), (2**32, False), (-1, False)]
)
def test_evaluations_take_any_random_seed(seed: int, holds: bool) -> None:
    if holds:
        assert Experiment(evaluation=EvaluationConfig(seed=seed)).evaluation.seed == seed
    else:
        with pytest.raises(ConfigError, match=r"evaluation\.seed must be from 0 to 4294967295"):
            Experiment(evaluation=EvaluationConfig(seed=seed))


WORDS: list[tuple[list[str], str]] = [
    (["train", "--seeds", "1000000000000"], "seeds"),
    (["train", "--first-seed", "4294967295", "--seeds", "2"], "first_seed"),
    (["train", "--first-seed", str(LAST), "--seeds", "2"], "first_seed"),
    (["train", "--learner.exploration-noise", "nan"], "learner.exploration_noise"),
    (["train", "--gates.edge-cost", "inf"], "gates.edge_cost"),
    (["train", "--checkpoint.minutes", "inf"], "checkpoint.minutes"),
    (["train", "--evaluation.seed", "4294967296"], "evaluation.seed"),
    (["fit", "--memory", "nan"], "memory"),
    (["fit", "--memory", "inf"], "memory"),
    (["fit", "--seeds", "2147483648"], "seeds"),
    (["prey", "--contact-cost", "nan"], "contact_cost"),
    (["prey", "--first-seed", "2147483648"], "first_seed"),
    (["bench", "--seconds", "nan"], "seconds"),
]


@pytest.mark.parametrize(("words", "name"), WORDS, ids=[" ".join(words) for words, _ in WORDS])
def test_the_command_refuses_them(
    words: list[str], name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", str(tmp_path / "run")] if words[0] == "train" else []
    assert main([*words, *out]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("mgtopo: error:") and shown.count("\n") == 1 and name in shown
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("seeds = 1000000000000", "seeds"),
        ("seeds = 2\nconfig.first_seed = 4294967295", "first_seed"),
        ("config.learner.policy_learning_rate = nan", "learner.policy_learning_rate"),
        ("config.meta.output_l2 = -inf", "meta.output_l2"),
        (f"seeds = {'9' * 5000}", "digits"),
    ],
    ids=["seeds", "first_seed", "nan", "-inf", "digits"],
)
def test_a_recipe_refuses_them(line: str, name: str, tmp_path: Path) -> None:
    text = f'tasks = ["toy_public"]\nmethods = ["none"]\n{line}\n'
    (tmp_path / "recipe.toml").write_text(text)
    with pytest.raises(ConfigError, match=name) as error:
        load_recipe(tmp_path).runs()
    one_line(error)


def test_a_setting_of_very_many_digits_is_refused() -> None:
    recipe = parse_recipe({"tasks": ["toy_public"], "methods": ["none"]}, Path("recipe.toml"))
    with pytest.raises(ConfigError, match="seeds"):
        recipe.runs([parse_setting(f"seeds={'9' * 5000}")])


@pytest.mark.timeout(60)
def test_a_recipe_of_very_many_tasks_is_answered_at_once() -> None:
    many = {"tasks": [f"task{i}" for i in range(100_000)], "methods": ["none"]}
    with pytest.raises(ConfigError, match="100,000 tasks x 1 methods"):
        parse_recipe(many, Path("recipe.toml"))


@pytest.mark.timeout(60)
def test_billions_of_seeds_are_waves_at_once() -> None:
    waves = split_into_waves(Experiment(seeds=LAST), 2)
    assert len(waves) == 2**30
    assert waves[-1] == Wave(2**30 - 1, LAST - 1, 1) and waves[1] == Wave(1, 2, 2)
    assert list(split_into_waves(Experiment(seeds=5, first_seed=3), 2)) == [
        Wave(0, 3, 2),
        Wave(1, 5, 2),
        Wave(2, 7, 1),
    ]
