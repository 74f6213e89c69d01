"""Of a run of several waves, one whose last checkpoint is damaged is made again, and all waves after it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from fake_population import Killed
from resume_cases import Notes, Stopping, same_run, tiny
from stand_ins import resume, train

from purejax_mgtopo.checkpoints import retention
from purejax_mgtopo.checkpoints.stored import wave_folders
from purejax_mgtopo.checkpoints.whole import verify_run
from purejax_mgtopo.errors import RunError
from purejax_mgtopo.population.population import Population
from purejax_mgtopo.records.record import Status, status

WAVES, EPISODES, CHUNKS = 3, 8, 4


@pytest.fixture(scope="module")
def in_waves() -> Population:
    changes = {"seeds": WAVES, "lanes": 1, "episodes": EPISODES, "checkpoint.keep": 2}
    return Population(tiny("none", **changes), lanes=1)


@pytest.fixture(scope="module")
def whole(in_waves: Population, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("waves") / "whole"
    train(in_waves.config, folder, reporter=Notes(), population=lambda _: in_waves)
    return folder


def damage(run: Path, wave: int) -> None:
    manifest = run / f"checkpoints/wave_{wave}/{EPISODES}/state/manifest.ocdbt"
    manifest.write_bytes(manifest.read_bytes()[:-1])


def test_of_a_finished_run(in_waves: Population, whole: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    damage(run, 0)
    reporter = Notes()
    result = resume(run, reporter=reporter, population=lambda _: in_waves)
    assert not result.interrupted and status(run) is Status.FINISHED
    same_run(whole, run, waves=WAVES)
    assert all(finding.problem is None for finding in verify_run(run))
    assert any("order of waves" in note for note in reporter.notes)
    with pytest.raises(RunError, match="nothing to resume"):
        resume(run, reporter=Notes(), population=lambda _: in_waves)


def test_of_one_that_was_stopped_in_a_later_wave(
    in_waves: Population, whole: Path, tmp_path: Path
) -> None:
    """In the second chunk of wave 2, whose checkpoints stand where its new ones will."""
    run = tmp_path / "run"
    stopping = Stopping(in_waves, at=2 * CHUNKS + 2)
    train(in_waves.config, run, reporter=Notes(), population=lambda _: stopping)
    damage(run, 0)
    resume(run, reporter=Notes(), population=lambda _: in_waves)
    same_run(whole, run, waves=WAVES)


@pytest.mark.parametrize("function", ["rename", "rmtree"])
def test_of_one_that_was_killed_as_later_checkpoints_were_removed(
    function: str,
    in_waves: Population,
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    damage(run, 0)

    act = {"rename": Path.rename, "rmtree": shutil.rmtree}[function]

    def kill(path: Path, *more: Any, **options: Any) -> Any:
        if "wave_2" in path.name:
            raise Killed
        return act(path, *more, **options)

    with monkeypatch.context() as patch:
        patch.setattr({"rename": Path, "rmtree": shutil}[function], function, kill)
        with pytest.raises(Killed):
            resume(run, reporter=Notes(), population=lambda _: in_waves)
    left = [folder.name for folder in wave_folders(run / "checkpoints")]
    assert left == {"rmtree": ["wave_0"], "rename": ["wave_0", "wave_2"]}[function]
    resume(run, reporter=Notes(), population=lambda _: in_waves)
    same_run(whole, run, waves=WAVES)
    found = sorted(path.name for path in (run / "checkpoints").iterdir())
    assert found == [f"wave_{wave}" for wave in range(WAVES)]


def test_what_was_set_aside_by_hand_stays(tmp_path: Path) -> None:
    for name in ("wave_0", "wave_1", "wave_2.old", "wave_3.removed", "wave_10"):
        (tmp_path / name / "4").mkdir(parents=True)
    assert retention.remove_later(tmp_path / "wave_0") == [1, 10]
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["wave_0", "wave_2.old", "wave_3.removed"]
