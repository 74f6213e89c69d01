"""Records are kept in the order of waves: what is made again of a wave is made again of all after it."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from fake_population import FakePopulation, FakeStore, Killed, Notes, State, small
from fake_runs import rows, told
from stand_ins import resume, train

from purejax_mgtopo.config import CheckpointConfig
from purejax_mgtopo.errors import RunError
from purejax_mgtopo.records import record
from purejax_mgtopo.records.folders import Status
from purejax_mgtopo.records.record import RunRecord

CONFIG = small(lanes=1, checkpoint=CheckpointConfig(minutes=0))
WHOLE = partial(FakePopulation, lanes=1)
Kept = dict[Path, dict[int, State]]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three waves of four chunks, never stopped."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    train(CONFIG, folder, reporter=Notes(), population=WHOLE, store=FakeStore({}))
    return folder


def killed_at(chunk: int, folder: Path, kept: Kept) -> None:
    """A run that was killed before that chunk, of twelve; the last one's end was not written at 12."""

    def kill(number: int) -> None:
        if number == chunk:
            raise Killed

    population = partial(FakePopulation, lanes=1, before_chunk=kill)
    try:
        train(CONFIG, folder, reporter=Notes(), population=population, store=FakeStore(kept))
    except Killed:
        return
    events = folder / "events.jsonl"
    events.write_text("".join(x for x in events.read_text().splitlines(True) if '"end"' not in x))


def wave(folder: Path, number: int) -> Path:
    return folder / "checkpoints" / f"wave_{number}"


def same_as(whole: Path, folder: Path, kept: Kept) -> None:
    assert rows(folder) == rows(whole)
    assert told(folder) == told(whole)
    assert {path: sorted(kept[path]) for path in kept} == {
        wave(folder, number): [10, 20, 30, 40] for number in range(3)
    }


@pytest.mark.parametrize("anew", [False, True])
@pytest.mark.parametrize(("lacking", "at"), [(0, 5), (0, 8), (0, 10), (0, 12), (1, 10), (1, 12)])
def test_a_wave_that_is_made_again_is_followed_by_all_after_it(
    lacking: int, at: int, anew: bool, whole: Path, tmp_path: Path
) -> None:
    """Its last checkpoint is gone, or all of them are, and it is begun anew."""
    kept: Kept = {}
    killed_at(at, tmp_path, kept)
    if anew:
        kept[wave(tmp_path, lacking)].clear()
    else:
        del kept[wave(tmp_path, lacking)][40]
    reporter = Notes()
    result = resume(tmp_path, reporter=reporter, population=WHOLE, store=FakeStore(kept), anew=anew)
    assert not result.interrupted
    same_as(whole, tmp_path, kept)
    begun = min(at // 4, 2) - lacking
    (line,) = [note for note in reporter.notes if "order of waves" in note]
    assert line.startswith(f"{begun} seed{'s' * (begun > 1)} of later waves")


def test_nothing_is_said_where_no_later_wave_was_begun(whole: Path, tmp_path: Path) -> None:
    kept: Kept = {}
    killed_at(6, tmp_path, kept)
    reporter = Notes()
    resume(tmp_path, reporter=reporter, population=WHOLE, store=FakeStore(kept))
    same_as(whole, tmp_path, kept)
    assert len(reporter.notes) == 1 and "going on from episode 20 of wave 2" in reporter.notes[0]


def before_it(forget: Callable[[], Any]) -> None:
    raise Killed


def after_it(forget: Callable[[], Any]) -> None:
    forget()
    raise Killed


@pytest.mark.parametrize("dying", [before_it, after_it])
def test_a_kill_as_later_waves_are_forgotten_is_mended(
    dying: Callable[[Any], None], whole: Path, tmp_path: Path
) -> None:
    kept: Kept = {}
    killed_at(12, tmp_path, kept)
    del kept[wave(tmp_path, 0)][40]

    class Deadly(FakeStore):
        def forget_later(self) -> list[int]:
            dying(super().forget_later)
            return []

    with pytest.raises(Killed):
        resume(tmp_path, reporter=Notes(), population=WHOLE, store=Deadly(kept))
    assert record.status(tmp_path) is Status.UNFINISHED
    resume(tmp_path, reporter=Notes(), population=WHOLE, store=FakeStore(kept))
    same_as(whole, tmp_path, kept)


def test_what_cannot_be_gone_on_with_leaves_later_waves_alone(whole: Path, tmp_path: Path) -> None:
    kept: Kept = {}
    killed_at(12, tmp_path, kept)
    del kept[wave(tmp_path, 1)][40]
    table = tmp_path / "metrics.parquet"
    sound = table.read_bytes()
    with RunRecord(tmp_path, CONFIG, None, resume=True) as run:
        run.rewind(WHOLE(CONFIG).waves[0], 20)
    with pytest.raises(RunError, match="holds 1 of the 3 rows"):
        resume(tmp_path, reporter=Notes(), population=WHOLE, store=FakeStore(kept))
    assert len(kept) == 3
    table.write_bytes(sound)
    resume(tmp_path, reporter=Notes(), population=WHOLE, store=FakeStore(kept))
    assert rows(tmp_path) == rows(whole)


def test_a_lost_wave_says_what_else_beginning_it_anew_discards(tmp_path: Path) -> None:
    kept: Kept = {}
    killed_at(10, tmp_path, kept)
    kept[wave(tmp_path, 0)].clear()
    before = rows(tmp_path)
    with pytest.raises(RunError, match=r"--anew`, which discards .* of it and of all waves after"):
        resume(tmp_path, reporter=Notes(), population=WHOLE, store=FakeStore(kept))
    assert rows(tmp_path) == before and sorted(kept[wave(tmp_path, 2)]) == [10, 20]


def test_a_run_whose_table_lacks_seeds_is_not_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever lost them."""
    tell = RunRecord.evaluation

    def forgetful(self: RunRecord, evaluation: Any) -> None:
        if evaluation.seeds[0] != 1:
            tell(self, evaluation)

    monkeypatch.setattr(RunRecord, "evaluation", forgetful)
    with pytest.raises(RunError) as caught:
        train(CONFIG, tmp_path, reporter=Notes(), population=WHOLE, store=FakeStore({}))
    line = str(caught.value)
    assert re.search(r"metrics.parquet holds 4 of the 6 rows", line) and "\n" not in line
    assert "move" in line and f"mgtopo resume {tmp_path}" in line
    assert record.status(tmp_path) is Status.UNFINISHED
