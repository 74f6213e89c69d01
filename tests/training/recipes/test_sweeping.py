"""A sweep runs all that is unfinished, and refuses what does not belong to it."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_population import FakePopulation, Notes
from fake_runs import pressing, resume, sweep

from purejax_mgtopo.analysis.claims import StatedClaim
from purejax_mgtopo.analysis.judging import Judgement
from purejax_mgtopo.analysis.verdicts import read_verdicts
from purejax_mgtopo.config import Config
from purejax_mgtopo.errors import ConfigError, RunError
from purejax_mgtopo.training.recipe import Setting, parse_recipe

RECIPE = {
    "question": "Which?",
    "tasks": ["toy_public"],
    "methods": ["none", "meta"],
    "seeds": 3,
    "config": {"episodes": 40, "chunk_episodes": 10, "evaluation": {"every": 20}},
}


def test_a_sweep_runs_all_and_a_second_call_skips_what_is_finished(tmp_path: Path) -> None:
    recipe = parse_recipe(RECIPE, tmp_path / "recipe.toml")
    reporter, built = Notes(), []

    def build(config: Config) -> FakePopulation:
        built.append(config.experiment.method)
        return FakePopulation(config)

    first = sweep(recipe, reporter=reporter, population=build)
    assert built == ["none", "meta"]
    assert first.folder == tmp_path / "results"
    assert first.figure == tmp_path / "results" / "figures" / "curves.png"
    assert first.figure.exists()
    summary = first.summaries[1]
    assert (summary.task, summary.method, summary.finite) == ("toy_public", "meta", 3)
    assert summary.final_return.point == pytest.approx(-8.6)
    assert summary.final_return.low <= -8.6 <= summary.final_return.high
    assert summary.edge_rate == pytest.approx(0.25)
    assert summary.minutes > 0

    again = sweep(recipe, reporter=reporter, population=build)
    assert built == ["none", "meta"]
    assert again.summaries == first.summaries
    assert sum("already finished" in note for note in reporter.notes) == 2


def test_claims_are_judged_by_what_the_sweep_left(tmp_path: Path) -> None:
    """Said in a recipe and found again beside its results, also after the recipe claims something else."""
    said = {"says": "Talk pays", "method": "meta", "beats": ["none"]}
    for claims in ([said], [said, {"says": "It is the worst", "method": "none", "bottom": 1}]):
        recipe = parse_recipe({**RECIPE, "claim": claims}, tmp_path / "recipe.toml")
        assert recipe.claims[0] == StatedClaim(
            "Talk pays", "meta", ("none",), tasks=("toy_public",)
        )
        sweep(recipe, reporter=Notes(), population=FakePopulation)
        (told,) = read_verdicts([tmp_path])
        assert told.question == "Which?"
        assert [one.claim for one in told.verdicts] == list(recipe.claims)
        assert {one.judgement for one in told.verdicts} == {Judgement.OPEN}  # three seeds


VALUES = RECIPE | {
    "methods": ["none", "meta"],
    "method": {"meta": {"learner": {"hidden": [8, 16]}}},
    "claim": [
        {"says": "Wide is better", "method": "meta, hidden=16", "beats": ["meta, hidden=8"]},
        {"says": "It is the best", "method": "meta, hidden=16", "top": 1},
    ],
}


def test_a_claim_about_values_that_a_change_does_away_with_is_left_open(tmp_path: Path) -> None:
    """Hours of runs must not end in an error about a claim."""
    recipe = parse_recipe(VALUES, tmp_path / "recipe.toml")
    changes = [Setting("learner.hidden", 32)]
    sweep(recipe, changes=changes, reporter=Notes(), population=FakePopulation)
    said: list[str] = []
    (told,) = read_verdicts([tmp_path], said.append)
    assert said == [] and told.counts() == "2 no evidence"
    first, second = (one.evidence[0].missing for one in told.verdicts)
    assert first == ("meta, hidden=16 not run", "meta, hidden=8 not run")
    assert "meta, hidden=16 not run" in second


def test_a_claim_about_values_that_the_recipe_never_had_is_refused_first(tmp_path: Path) -> None:
    claim = {"says": "Wide is better", "method": "meta, hidden=61", "beats": ["none"]}
    recipe = parse_recipe(VALUES | {"claim": [claim]}, tmp_path / "recipe.toml")
    built: list[Config] = []
    for changes in ([], [Setting("episodes", 20)]):
        with pytest.raises(ConfigError, match="claim 1: method: .*'meta, hidden=16'"):
            sweep(recipe, changes=changes, reporter=Notes(), population=built.append)  # type: ignore[arg-type]
    assert built == [] and not (tmp_path / "results").exists()


def test_a_sweep_refuses_other_settings_before_it_starts(tmp_path: Path) -> None:
    recipe = parse_recipe(RECIPE | {"methods": ["meta"]}, tmp_path / "recipe.toml")
    sweep(recipe, reporter=Notes(), population=FakePopulation)
    wider = parse_recipe(RECIPE, tmp_path / "recipe.toml")
    built: list[Config] = []
    changes = [Setting("seeds", 2), Setting("learner.hidden", 64)]
    with pytest.raises(
        RunError, match=r"seeds 3 -> 2; learner.hidden 128 -> 64; .*choose another folder, or"
    ):
        sweep(
            wider,
            changes=changes,
            reporter=Notes(),
            population=lambda config: built.append(config) or FakePopulation(config),  # type: ignore[func-returns-value]
        )
    assert built == []
    other = sweep(
        wider,
        tmp_path / "other",
        changes=changes,
        reporter=Notes(),
        population=FakePopulation,
    )
    assert [summary.seeds for summary in other.summaries] == [2, 2]


def test_an_interrupted_sweep_goes_on_where_it_stopped(tmp_path: Path) -> None:
    recipe = parse_recipe(RECIPE, tmp_path / "recipe.toml")

    def second_is_pressed(config: Config) -> FakePopulation:
        return pressing(config) if config.experiment.method == "meta" else FakePopulation(config)

    stopped = sweep(recipe, reporter=Notes(), population=second_is_pressed)
    assert stopped.interrupted is not None
    assert [summary.method for summary in stopped.summaries] == ["none"]
    reporter = Notes()
    whole = sweep(recipe, reporter=reporter, population=FakePopulation)
    assert whole.interrupted is None
    assert [summary.method for summary in whole.summaries] == ["none", "meta"]
    assert "toy_public/meta: going on from episode 30" in reporter.notes
    assert [tick.episode for tick in reporter.ticks] == [40]


def test_a_run_that_is_resumed_alone_goes_by_its_recipes_word(tmp_path: Path) -> None:
    """Of two that are both `meta`, progress and the run's own picture must say which."""
    tables = {"method": {"slow": {"preset": "meta", "learner": {"hidden": [8, 16]}}}}
    recipe = parse_recipe(RECIPE | {"methods": ["slow"]} | tables, tmp_path / "recipe.toml")
    sweep(recipe, reporter=Notes(), population=pressing)
    reporter, place = Notes(), tmp_path / "results" / "toy_public" / "slow,hidden=8"
    assert resume(place, reporter=reporter, population=FakePopulation).figure is not None
    assert "toy_public/slow, hidden=8: going on from episode 30" in reporter.notes


def test_a_sweep_refuses_an_interrupted_run_with_other_settings(tmp_path: Path) -> None:
    recipe = parse_recipe(RECIPE | {"methods": ["meta"]}, tmp_path / "recipe.toml")
    sweep(recipe, reporter=Notes(), population=pressing)
    changes = [Setting("learner.hidden", 64)]
    with pytest.raises(
        RunError, match=r"interrupted with other settings: learner.hidden 128 -> 64"
    ):
        sweep(recipe, changes=changes, reporter=Notes(), population=FakePopulation)
