"""A sweep that is called again goes on by the means that are asked for now, and keeps what others have done since."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from fake_population import FakePopulation, Notes
from fake_runs import pressing, resume, sweep, train

from purejax_mgtopo.config import Config, Means, override
from purejax_mgtopo.errors import RunError
from purejax_mgtopo.records.record import Status, read_config, status
from purejax_mgtopo.training.recipe import Recipe, Setting, parse_recipe

RECIPE: dict[str, Any] = {
    "tasks": ["toy_public"],
    "methods": ["none", "meta"],
    "seeds": 3,
    "config": {
        "episodes": 40,
        "chunk_episodes": 10,
        "evaluation": {"every": 20},
        "wandb": "off",
        "lanes": 3,
        "microbatch": 2,
    },
}


def recipe(folder: Path, **config: Any) -> Recipe:
    return parse_recipe(
        RECIPE | {"config": RECIPE["config"] | config}, folder / "study" / "recipe.toml"
    )


def place(folder: Path, method: str = "none") -> Path:
    return folder / "study" / "results" / "toy_public" / method


class Asked(list[Means]):
    """What a program was made of."""

    def __call__(self, config: Config) -> FakePopulation:
        self.append(config.means)
        return FakePopulation(config)


@pytest.mark.parametrize("first", [FakePopulation, pressing])
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"precision": "bfloat16"}, "precision auto -> bfloat16"),
        ({"precision": "bfloat16", "kernels": "fused"}, "kernels xla -> fused"),
    ],
)
def test_means_of_which_other_results_come_are_refused(
    tmp_path: Path, first: Any, changes: dict[str, str], said: str
) -> None:
    sweep(recipe(tmp_path), reporter=Notes(), population=first)
    asked = Asked()
    with pytest.raises(RunError, match=said) as caught:
        given = [Setting(*item) for item in changes.items()]
        sweep(recipe(tmp_path), changes=given, reporter=Notes(), population=asked)
    assert "choose another folder" in str(caught.value) and asked == []


def test_a_run_under_way_goes_on_by_the_other_means_that_are_asked_now(tmp_path: Path) -> None:
    """And is described as gone on with: whoever resumes it next has them too."""
    sweep(recipe(tmp_path, wandb="offline"), reporter=Notes(), population=pressing)
    began = json.loads((place(tmp_path) / "config.json").read_text())
    other = {"wandb": "off", "devices": 2, "checkpoint.keep": 5, "seed_axis": "map"}
    free = {"lanes": 0, "microbatch": 0}  # whatever suits is what it has
    asked, mirrored = Asked(), []

    def mirror(folder: Path, config: Config, say: Any) -> None:
        mirrored.append(config.means.wandb)

    given = [Setting(*item) for item in (other | free).items()]
    options: dict[str, Any] = {"population": asked, "mirror": mirror}
    notes = Notes()
    sweep(recipe(tmp_path, wandb="offline"), changes=given, reporter=notes, **options)
    assert mirrored == ["off", "off"]
    expected = override(Means(), other | {"lanes": 3, "microbatch": 2})
    assert asked[0] == expected and not any("lanes" in note for note in notes.notes)
    assert read_config(place(tmp_path)).means == expected
    now = json.loads((place(tmp_path) / "config.json").read_text())
    earlier = {"wandb": "offline", "devices": 0, "checkpoint.keep": 2, "seed_axis": "auto"}
    assert now.pop("means_before") == [earlier]
    assert now.pop("settings") == began.pop("settings") | other
    assert now == began


def test_waves_under_way_stay_and_a_line_says_so(tmp_path: Path) -> None:
    sweep(recipe(tmp_path), reporter=Notes(), population=pressing)
    asked, notes = Asked(), Notes()
    given = [Setting("lanes", 2)]
    sweep(recipe(tmp_path), changes=given, reporter=notes, population=asked)
    assert [means.lanes for means in asked] == [3, 2]
    (told,) = [note for note in notes.notes if "lanes" in note]
    assert "goes on with lanes = 3, not 2" in told
    assert read_config(place(tmp_path)).means.lanes == 3


def test_devices_that_a_run_is_resumed_on_are_those_from_then_on(tmp_path: Path) -> None:
    (run, _) = recipe(tmp_path, episodes=60).runs()
    train(run.config, tmp_path / "run", reporter=Notes(), population=pressing)
    asked = Asked()

    def pressed(config: Config) -> FakePopulation:
        asked(config)
        return FakePopulation(
            config, lambda chunk: os.kill(os.getpid(), signal.SIGINT) if chunk == 3 else None
        )

    assert resume(tmp_path / "run", devices=1, reporter=Notes(), population=pressed).interrupted
    assert not resume(tmp_path / "run", reporter=Notes(), population=asked).interrupted
    assert [means.devices for means in asked] == [1, 1]
    description = json.loads((tmp_path / "run" / "config.json").read_text())
    assert description["means_before"] == [{"devices": 0}]  # and not again where nothing changed


def test_a_run_is_not_resumed_by_means_of_which_other_results_come(tmp_path: Path) -> None:
    (run, _) = recipe(tmp_path).runs()
    train(run.config, tmp_path / "run", reporter=Notes(), population=pressing)
    means = override(run.config.means, {"precision": "float32"})
    with pytest.raises(RunError, match="precision auto -> float32"):
        resume(tmp_path / "run", means=means, reporter=Notes(), population=FakePopulation)


def test_what_another_sweep_has_finished_meanwhile_is_kept(tmp_path: Path) -> None:
    """And what it has left half done is gone on with."""
    methods = ["none", "full", "meta", "commnet"]
    whole = parse_recipe(RECIPE | {"methods": methods}, tmp_path / "study" / "recipe.toml")
    for method, how in (("full", FakePopulation), ("meta", pressing)):
        sweep(whole, methods=[method], reporter=Notes(), population=how)
        place(tmp_path, method).rename(tmp_path / method)
    built: list[str] = []

    def build(config: Config) -> FakePopulation:
        built.append(config.experiment.method)
        if config.experiment.method == "none":  # the other sweep comes by
            for method in ("full", "meta"):
                (tmp_path / method).rename(place(tmp_path, method))
        return FakePopulation(config)

    notes = Notes()
    result = sweep(whole, reporter=notes, population=build)
    assert result.stopped_by is None and len(result.summaries) == 4
    assert built == ["none", "meta", "commnet"]
    assert "toy_public/full: already finished with these settings, kept" in notes.notes
    assert any(note.startswith("toy_public/meta: going on from") for note in notes.notes)


def test_what_another_has_begun_meanwhile_with_other_settings_is_refused(tmp_path: Path) -> None:
    whole = recipe(tmp_path)
    changes = [Setting("learner.hidden", 64)]
    sweep(whole, methods=["meta"], changes=changes, reporter=Notes(), population=FakePopulation)
    place(tmp_path, "meta").rename(tmp_path / "meta")

    def build(config: Config) -> FakePopulation:
        (tmp_path / "meta").rename(place(tmp_path, "meta"))
        return FakePopulation(config)

    with pytest.raises(RunError, match="learner.hidden 64 -> 128"):
        sweep(whole, reporter=Notes(), population=build)
    assert status(place(tmp_path)) is Status.FINISHED
