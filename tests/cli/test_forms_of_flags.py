"""A flag is the same flag in each of its forms, and what is given twice is not decided in silence."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from purejax_mgtopo.cli import main as cli
from purejax_mgtopo.config import Experiment, with_learner
from purejax_mgtopo.errors import ConfigError
from purejax_mgtopo.machine import startup
from purejax_mgtopo.records.record import read_config

pytestmark = pytest.mark.usefixtures("no_jax")


@pytest.mark.parametrize("command", ["train", "fit"])
@pytest.mark.parametrize("words", [["--learner_preset", "improved"], ["--learner_preset=improved"]])
def test_a_preset_is_applied_by_whichever_dash(command: str, words: list[str]) -> None:
    parsed = cli.parse([command, *words])
    assert parsed.learner_preset == "improved" and parsed.experiment.learner.n_step > 1


@pytest.mark.parametrize("word", ["--no_cache", "--no-cache", "--no-cache=true"])
def test_a_plug_in_starts_without_the_cache_where_it_is_refused(
    word: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(startup, "use_cache", asked.append)
    monkeypatch.setattr(startup, "configure_platform", lambda means: True)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "plain_plugin.py").write_text("")
    assert cli.parse(["train", "--out", "x", word, "--import", "plain_plugin"]).no_cache
    assert asked == [False]
    assert cli.parse(["train", "--out", "x", "--import=plain_plugin"]).imports == ("plain_plugin",)
    assert asked == [False, True]
    sys.modules.pop("plain_plugin")


@pytest.mark.parametrize(
    ("words", "flag"),
    [
        ("train --seeds 2 --seeds 3", "--seeds"),
        ("train --seeds=2 --seeds 2", "--seeds"),
        ("train --learner-preset improved --learner_preset paper", "--learner-preset"),
        ("train --learner.n_step 1 --learner.n-step 2", "--learner.n-step"),
        (
            "train --meta.blend-intermediate --meta.no-blend-intermediate",
            "--meta.blend-intermediate",
        ),
        ("sweep quickstart --tasks navigation_N3_l3 --tasks push_N3_l3", "--tasks"),
        ("evaluate runs --episodes 1 --episodes 2", "--episodes"),
    ],
)
def test_a_flag_that_is_given_twice_is_refused(
    words: str, flag: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(words.split()) == 2
    assert capsys.readouterr().err == (
        f"mgtopo: error: {flag} is given 2 times, and only one can hold; give it once\n"
    )


def test_auto_may_be_written_for_a_setting_as_for_a_flag(recipe: Path) -> None:
    text = (recipe / "recipe.toml").read_text() + 'wandb = "off"\nlanes = 2\ndevices = "auto"\n'
    (recipe / "recipe.toml").write_text(text)
    assert cli.main(["sweep", str(recipe), "--no-cache", "--set", "lanes=auto"]) == 0
    for method in ("none", "meta"):
        means = read_config(recipe / "results" / "toy_public" / method).means
        assert (means.lanes, means.devices) == (0, 0)


def test_the_learner_preset_of_the_command_line_wins_over_a_methods(recipe: Path) -> None:
    """As every setting of the command line does; single settings of the recipe lie above it all the same."""
    text = (recipe / "recipe.toml").read_text() + 'wandb = "off"\n'
    text += '[method.none]\nlearner_preset = "paper"\nlearner.n_step = 2\n'
    (recipe / "recipe.toml").write_text(text)
    words = ["sweep", str(recipe), "--no-cache", "--learner-preset", "improved"]
    assert cli.main(words) == 0
    improved = with_learner(Experiment(), "improved").learner
    for method, n_step in (("none", 2), ("meta", improved.n_step)):
        learner = read_config(recipe / "results" / "toy_public" / method).experiment.learner
        assert learner == replace(improved, n_step=n_step)


def test_what_may_be_repeated_and_what_changes_nothing_by_it() -> None:
    words = ["--set", "seeds=1", "--set=episodes=20", "--debug", "--debug"]
    assert cli.parse(["sweep", "quickstart", *words]).set == ("seeds=1", "episodes=20")
    with pytest.raises(ConfigError, match="unknown flag --seedz"):  # the nearer mistake
        cli.parse(["train", "--seedz", "1", "--seedz", "2"])
