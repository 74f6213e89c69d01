"""What is damaged, gone or set aside is told, mended where it can be, and never made anew without being asked."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from fake_population import FakePopulation, FakeStore, Notes, small
from resume_cases import Stopping, same_run
from stand_ins import resume, stand_ins, train

from purejax_mgtopo.checkpoints.stored import files_note
from purejax_mgtopo.cli import main as cli
from purejax_mgtopo.cli import running
from purejax_mgtopo.errors import RunError
from purejax_mgtopo.population.population import Population
from purejax_mgtopo.records.record import Status, status
from purejax_mgtopo.trained.load import load_trained


@pytest.fixture
def run(silent_run: Path, tmp_path: Path) -> Path:
    shutil.copytree(silent_run, tmp_path / "run")
    return tmp_path / "run"


def wave(run: Path) -> Path:
    return run / "checkpoints" / "wave_0"


def spoil(checkpoint: Path) -> None:
    """Every file of its arrays."""
    for path in checkpoint.rglob("d/*"):
        path.write_bytes(bytes(byte ^ 255 for byte in path.read_bytes()))


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("damage", [spoil, shutil.rmtree])
def test_a_finished_run_makes_its_last_checkpoint_again(
    damage,
    silent_population: Population,
    silent_run: Path,
    run: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    damage(wave(run) / "12")
    assert load_trained(run).episode == 10
    shown = capsys.readouterr().err
    if damage is spoil:
        assert "wave_0/12" in shown and "episode 10" in shown and "mgtopo resume" in shown
    result = resume(run, reporter=Notes(), population=lambda config: silent_population)
    assert not result.interrupted and status(run) is Status.FINISHED
    same_run(silent_run, run)
    with pytest.raises(RunError, match="nothing to resume .episodes=N extends it to N"):
        resume(run, reporter=Notes(), population=lambda config: silent_population)
    assert cli.main(["resume", str(run)]) == 1
    assert "nothing to resume (--episodes N extends it to N)" in capsys.readouterr().err


def test_a_last_checkpoint_that_nobody_knows_to_be_durable_is_made_so(
    silent_population: Population, silent_run: Path, run: Path
) -> None:
    """A disk refused to sync it: the run said so, and that `mgtopo resume` mends it."""
    files_note(wave(run) / "12").unlink()
    result = resume(run, reporter=Notes(), population=lambda config: silent_population)
    assert not result.interrupted and status(run) is Status.FINISHED
    assert files_note(wave(run) / "12").read_bytes() == (
        files_note(wave(silent_run) / "12").read_bytes()
    )
    with pytest.raises(RunError, match="nothing to resume"):
        resume(run, reporter=Notes(), population=lambda config: silent_population)


def test_a_finished_run_that_keeps_no_checkpoints_is_finished(
    silent_population: Population, run: Path
) -> None:
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(RunError, match="nothing to resume"):
        resume(run, reporter=Notes(), population=lambda config: silent_population)


def test_a_run_that_has_lost_its_checkpoints_is_begun_anew_only_if_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(running, "check_tasks", lambda configs: None)
    kept = FakeStore({})
    run = tmp_path / "run"
    train(
        small(),
        run,
        reporter=Notes(),
        population=lambda config: Stopping(FakePopulation(config), 3),
        store=kept,
    )
    before = {name: (run / name).read_bytes() for name in ("events.jsonl", "metrics.parquet")}
    with stand_ins(population=FakePopulation, store=FakeStore({})):
        assert cli.main(["resume", "--no-cache", str(run)]) == 1
        shown = capsys.readouterr().err
        (line,) = [line for line in shown.splitlines() if line.startswith("mgtopo: error")]
        assert "put them back" in line and "--anew" in line
        assert (run / "metrics.parquet").read_bytes() == before["metrics.parquet"]
        assert (run / "events.jsonl").read_bytes().startswith(before["events.jsonl"])
        assert cli.main(["resume", "--no-cache", "--anew", str(run)]) == 0
    assert status(run) is Status.FINISHED


def test_what_was_set_aside_is_not_looked_at(
    run: Path, silent_population: Population, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(wave(run), wave(run).with_name("wave_0.bad"))
    (run / "checkpoints" / "wave_old").mkdir()
    (run / "checkpoints" / "wave_1").write_text("a file")
    spoil(wave(run).with_name("wave_0.bad") / "12")
    assert load_trained(run).episode == 12
    assert cli.main(["verify", str(run)]) == 0
    assert "wave_0.bad" not in capsys.readouterr().out
    assert cli.main(["export", str(run), "--seed", "0"]) == 0
