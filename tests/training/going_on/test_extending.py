"""A run that is made longer: as a run of that length, or as it was before where that fails or is killed."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import signal
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_population import FakePopulation, FakeStore, Found, Killed, Notes, State, small
from fake_runs import rows, told
from stand_ins import resume, stand_ins, train

from purejax_mgtopo.cli.main import main
from purejax_mgtopo.config import Config
from purejax_mgtopo.errors import RunError
from purejax_mgtopo.records import record
from purejax_mgtopo.records.folders import CONFIG, METRICS, Status
from purejax_mgtopo.records.record import read_config, read_events, status
from purejax_mgtopo.records.run_data import load_run

Kept = dict[Path, dict[int, State]]
SHORT, LONG = 40, 80


class WithFinals(FakePopulation):
    """Each seed's final return is 7 after the last episode."""

    def advance(self, state: Any, wave: Any) -> Any:
        state, report = super().advance(state, wave)
        if report.evaluation is None:
            return state, report
        last = report.episode == self.config.experiment.episodes
        final = {"return_sampled": np.full(len(report.seeds), 7.0 if last else np.nan)}
        return state, dataclasses.replace(report, final=final)


def of(episodes: int, folder: Path, kept: Kept) -> Path:
    """A finished run, whose last checkpoint is seen to be there."""
    config = small(episodes=episodes)
    train(config, folder, reporter=Notes(), population=WithFinals, store=FakeStore(kept))
    (folder / "checkpoints" / "wave_0" / str(episodes)).mkdir(parents=True)
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Never extended, by length."""
    home = tmp_path_factory.mktemp("whole")
    made = {length: of(length, home / str(length), {}) for length in (SHORT, LONG)}
    for folder in made.values():
        assert (load_run(folder).column("final_return_sampled")[:, -1] == 7).all()
    return made


def extend(folder: Path, store: FakeStore, reporter: Notes | None = None) -> None:
    resume(
        folder,
        reporter=reporter or Notes(),
        population=WithFinals,
        store=store,
        episodes=LONG,
    )


def same_as(whole: Path, folder: Path) -> None:
    assert rows(folder) == rows(whole) and told(folder) == told(whole)
    assert status(folder) is Status.FINISHED
    assert read_config(folder) == read_config(whole)


def test_it_ends_as_a_run_of_that_length(whole: dict[int, Path], tmp_path: Path) -> None:
    store = FakeStore({})
    run = of(SHORT, tmp_path / "run", store.kept)
    extend(run, store)
    same_as(whole[LONG], run)
    assert json.loads((run / CONFIG).read_text())["extended_from"] == [SHORT]


class Damaged(FakeStore):
    """No checkpoint of it can be read."""

    def restore(self) -> Found | None:
        raise RunError("no checkpoint is sound")


class Disproved(FakeStore):
    """Its checkpoint is of another past than the records tell."""

    def restore(self) -> Any:
        found = super().restore()
        assert found is not None
        proof = {"events": "another", "events_bytes": 100}
        return ProvedState(found.state, found.episode, True, proof)


class OfOtherRows(FakeStore):
    """Its checkpoint comes from before the last rows, and those before it are not what they were."""

    def restore(self) -> Any:
        nothing = hashlib.sha256(b"").hexdigest()
        proof = {"events": nothing, "events_bytes": 0, "rows": "another"}
        return ProvedState(State(20, ()), 20, True, proof)


class Misplaced(FakeStore):
    """Its checkpoint is of an episode of which the table knows nothing."""

    def restore(self) -> Found | None:
        found = super().restore()
        assert found is not None
        return found._replace(episode=found.episode + 20)


@dataclasses.dataclass
class ProvedState:
    state: State
    episode: int
    bitwise: bool
    records: Any


@pytest.mark.parametrize("store", [Damaged, Disproved, OfOtherRows, Misplaced])
def test_where_that_fails_it_is_finished_as_before(
    store: type[FakeStore], whole: dict[int, Path], tmp_path: Path
) -> None:
    kept: Kept = {}
    run = of(SHORT, tmp_path / "run", kept)
    before = {name: (run / name).read_bytes() for name in (CONFIG, METRICS)}
    with pytest.raises(RunError):
        extend(run, store(kept))
    assert {name: (run / name).read_bytes() for name in before} == before
    same_as(whole[SHORT], run)
    extend(run, FakeStore(kept))
    same_as(whole[LONG], run)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("at", range(6))
def test_where_it_is_killed_it_is_whole_at_the_one_length_or_the_other(
    at: int,
    after: bool,
    whole: dict[int, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Before or after any file is written: what `mgtopo resume` makes of it is a finished run."""
    kept: Kept = {}
    run = of(SHORT, tmp_path / "run", kept)
    write, written = record.write_atomically, []

    def kill(path: Path, content: bytes) -> None:
        written.append(path.name)
        if len(written) - 1 == at and not after:
            raise Killed
        write(path, content)
        if len(written) - 1 == at:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(record, "write_atomically", kill)
        # What comes after a kill, as a line about it, comes of no process that was killed.
        patch.setattr("purejax_mgtopo.training.loop.Loop._record_failure", lambda *_: None)
        with pytest.raises(Killed):
            extend(run, FakeStore(kept))
    length = read_config(run).experiment.episodes
    if status(run) is Status.FINISHED:
        assert length == SHORT
        same_as(whole[SHORT], run)
    else:
        resume(run, reporter=Notes(), population=WithFinals, store=FakeStore(kept))
        same_as(whole[length], run)


def resumptions(folder: Path) -> list[tuple[int, bool]]:
    events = [event for event in read_events(folder) if event["event"] == "resumed"]
    return [(event["episode"], event["bitwise"]) for event in events]


def stopping(config: Config) -> FakePopulation:
    """Ctrl-C in the sixth chunk."""

    def press(chunk: int) -> None:
        if chunk == 5:
            os.kill(os.getpid(), signal.SIGINT)

    return WithFinals(config, before_chunk=press, scheduled=True)


def scheduled(config: Config) -> FakePopulation:
    return WithFinals(config, scheduled=True)


def test_a_schedule_that_had_ended_is_not_that_of_a_longer_run(tmp_path: Path) -> None:
    """Nor is it when the extended run is interrupted, and goes on from a checkpoint of its own."""
    store, notes = FakeStore({}), Notes()
    run = of(SHORT, tmp_path / "run", store.kept)
    resume(run, reporter=notes, population=stopping, store=store, episodes=LONG)
    resume(run, reporter=notes, population=scheduled, store=store)
    assert resumptions(run) == [(40, False), (60, False)]
    told = [note for note in notes.notes if "from the start" in note]
    assert len(told) == 2 and all("to be 40 episodes" in note for note in told)
    assert all("not that of a run of 80" in note and "\n" not in note for note in told)
    assert not any("to rounding" in note for note in notes.notes)


def test_without_a_schedule_it_is(whole: dict[int, Path], tmp_path: Path) -> None:
    store, notes = FakeStore({}), Notes()
    run = of(SHORT, tmp_path / "run", store.kept)
    extend(run, store, notes)
    assert resumptions(run) == [(40, True)]
    assert len(notes.notes) == 1 and "going on from episode 40" in notes.notes[0]


def test_a_schedule_that_begins_anew_is_that_of_its_length(tmp_path: Path) -> None:
    store = FakeStore({})
    run = of(SHORT, tmp_path / "run", store.kept)
    resume(run, reporter=Notes(), population=stopping, store=store, episodes=LONG)
    for kept in store.kept.values():
        kept.clear()
    again = partial(resume, run, reporter=Notes(), store=store)
    again(population=stopping, anew=True)
    again(population=scheduled)
    assert resumptions(run) == [(40, False), (0, True), (60, True)]
    assert "extended_from" not in json.loads((run / CONFIG).read_text())


@pytest.mark.parametrize("asked", [None, SHORT, LONG])
def test_a_finished_run_that_keeps_no_checkpoints_says_what_it_lacks(
    asked: int | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = of(SHORT, tmp_path / "run", {})
    shutil.rmtree(run / "checkpoints")
    words = [] if asked is None else ["--episodes", str(asked)]
    with stand_ins(population=FakePopulation, store=FakeStore({})):
        assert main(["resume", "--no-cache", str(run), *words]) == 1
    shown = capsys.readouterr().err
    (line,) = [line for line in shown.splitlines() if line.startswith("mgtopo: error")]
    if asked == LONG:
        assert "no checkpoint" in line and "put them back" in line and "extends it" not in line
    else:
        assert "nothing to resume" in line and "no checkpoint of it is left to extend" in line
        assert "extends it" not in line
    same = of(SHORT, tmp_path / "same", {})
    assert rows(run) == rows(same) and status(run) is Status.FINISHED
