"""A run whose last state could not be saved says so and fails, also where it was told to train on."""

from __future__ import annotations

import dataclasses
import errno
from pathlib import Path

import pytest
from fake_population import FakePopulation, FakeStore, small
from resume_cases import Notes
from stand_ins import resume, stand_ins, train

from purejax_mgtopo.cli import main as cli
from purejax_mgtopo.cli import running
from purejax_mgtopo.config import CheckpointConfig
from purejax_mgtopo.errors import RunError
from purejax_mgtopo.records.folders import METRICS
from purejax_mgtopo.records.record import RunRecord

ON = CheckpointConfig(minutes=0.0, on_error="continue")


@dataclasses.dataclass
class FullAt(FakeStore):
    """No room from episode `first` to `last`; `late`: found out when all is awaited."""

    first: int = 0
    last: int = 40
    late: bool = False
    error: type[Exception] = RunError
    failed: list[int] = dataclasses.field(default_factory=list)

    def save(self, state, score) -> None:
        if self.first <= state.episode <= self.last:
            if not self.late:
                raise RunError("cannot save: No space left on device")
            self.failed.append(state.episode)
            return
        super().save(state, score)

    def close(self, alone: bool = False) -> None:
        if self.failed:
            self.failed.clear()
            if self.error is OSError:
                raise OSError(errno.ENOSPC, "No space left on device")
            raise RunError("cannot save: No space left on device")


@pytest.mark.parametrize(
    ("options", "unsaved"),
    [
        ({"first": 40}, True),
        ({"first": 40, "late": True}, True),
        ({"first": 40, "late": True, "error": OSError}, True),
        ({"first": 10, "last": 30}, False),
        ({"first": 50}, False),
    ],
)
def test_only_the_last_state_matters(options: dict, unsaved: bool, tmp_path: Path) -> None:
    store = FullAt({}, **options)
    config = small(checkpoint=ON)
    result = train(config, tmp_path, reporter=Notes(), population=FakePopulation, store=store)
    assert (result.unsaved is not None) == unsaved and not result.interrupted


@pytest.mark.parametrize(("first", "late"), [(0, False), (40, False), (40, True)])
def test_it_is_resumed_as_it_was_told_and_then_it_is_finished(
    first: int, late: bool, tmp_path: Path
) -> None:
    """Where nothing at all could be saved as well: there was never a checkpoint that could be lost."""
    config = small(checkpoint=ON)
    full = FullAt({}, first=first, late=late)
    whole, run = tmp_path / "whole", tmp_path / "run"
    train(config, whole, reporter=Notes(), population=FakePopulation, store=FakeStore({}))
    train(config, run, reporter=Notes(), population=FakePopulation, store=full)
    roomy = FakeStore({} if first == 0 else full.kept)
    found = resume(run, reporter=Notes(), population=FakePopulation, store=roomy)
    assert found.unsaved is None and not found.interrupted
    assert (run / METRICS).read_bytes() == (whole / METRICS).read_bytes()
    with pytest.raises(RunError, match="nothing to resume"):
        resume(run, reporter=Notes(), population=FakePopulation, store=roomy)


@pytest.mark.parametrize("command", ["train", "sweep"])
def test_the_command_fails(
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(running, "check_tasks", lambda configs: None)
    (tmp_path / "recipe.toml").write_text(
        'tasks = ["toy_public"]\nmethods = ["none"]\nseeds = 1\n[config]\nepisodes = 500\n'
        'checkpoint.on_error = "continue"\nwandb = "off"'
    )
    words = {
        "train": "train --seeds 1 --episodes 500 --wandb off --checkpoint.on-error continue --out",
        "sweep": "sweep",
    }[command].split()
    place = tmp_path / "run" if command == "train" else tmp_path
    with stand_ins(population=FakePopulation, store=FullAt({}, first=500, last=500)):
        assert cli.main([*words, str(place), "--no-cache"]) == 1
    (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("mgtopo: error")]
    assert "saved" in line and "mgtopo resume" in line


@pytest.mark.parametrize("failing", [True, False])
def test_records_that_cannot_be_closed_are_one_line(failing: bool, tmp_path: Path) -> None:
    def refuse() -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "events.jsonl")

    record = RunRecord(tmp_path / "run", small(), None)
    with pytest.raises(
        ValueError if failing else RunError, match="first" if failing else "No space"
    ):
        with record:
            record._open.callback(refuse)
            if failing:
                raise ValueError("the first error")
