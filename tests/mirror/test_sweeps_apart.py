"""Sweeps of one recipe under several settings, and runs of one method with several values, stay apart in W&B."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
import stand_ins
from fake_population import FakePopulation, Notes
from mirrored import DiskStore
from wandb_files import WrittenRun, offline_runs

from purejax_mgtopo.cli.main import main
from purejax_mgtopo.mirror.places import sweep_id
from purejax_mgtopo.training.recipe import parse_recipe, parse_setting

RECIPE = """
tasks = ["toy_public"]
methods = ["meta"]
seeds = 3
[config]
episodes = 20
chunk_episodes = 10
evaluation.every = 10
evaluation.episodes = 2
wandb = "offline"
learner.hidden = [8, 16]
"""


def swept(home: Path, out: Path, discount: float) -> list[WrittenRun]:
    notes = Notes()
    recipe = parse_recipe(tomllib.loads(RECIPE), home / "recipe.toml")
    stand_ins.sweep(
        recipe,
        out,
        changes=[parse_setting(f"learner.discount={discount}")],
        reporter=notes,
        population=FakePopulation,
        store=DiskStore({}),
    )
    return [
        run for folder in sorted((out / "toy_public").iterdir()) for run in offline_runs(folder)
    ]


@pytest.mark.usefixtures("no_environment")
def test_each_run_is_told_from_its_neighbours_and_each_sweep_from_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = swept(tmp_path / "which", tmp_path / "a", 0.9)
    second = swept(tmp_path / "which", tmp_path / "b", 0.5)
    words = ["meta, hidden=16", "meta, hidden=8"]
    for runs, folder in ((first, tmp_path / "a"), (second, tmp_path / "b")):
        assert [run.name for run in runs] == [f"toy_public/{word}" for word in words]
        assert [run.config["method"] for run in runs] == words  # what the dashboard groups by
        assert {run.config["sweep_id"] for run in runs} == {sweep_id(folder)}
        assert {run.group for run in runs} == {"which"}
    key = sweep_id(tmp_path / "a")
    assert key and key != sweep_id(tmp_path / "b")
    swept(tmp_path / "which", tmp_path / "a", 0.9)  # nothing is left to do
    assert sweep_id(tmp_path / "a") == key

    asked = []
    monkeypatch.setattr(
        "purejax_mgtopo.mirror.dashboard.save_dashboard",
        lambda *arguments: asked.append(arguments) or "https://there",
    )
    assert main(["wandb-dashboard", str(tmp_path / "b")]) == 0
    assert asked == [(None, "purejax_mgtopo", "which", sweep_id(tmp_path / "b"))]


def test_the_dashboard_shows_one_sweep() -> None:
    pytest.importorskip("wandb_workspaces")
    from purejax_mgtopo.mirror.dashboard import workspace

    filtered = str(workspace("team", "project", "which", "0a1b").runset_settings.filters)
    assert "0a1b" in filtered and "sweep_id" in filtered and "which" not in filtered
    assert "which" in str(workspace("team", "project", "which").runset_settings.filters)
    assert not workspace("team", "project").runset_settings.filters
