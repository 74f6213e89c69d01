"""A run that stopped goes on as if it had not, or says why it cannot."""

from __future__ import annotations

import math
import os
import signal
from functools import partial
from pathlib import Path

import pytest
from fake_population import FakePopulation, FakeStore, Killed, Notes, State, small
from fake_runs import resume, rows, told, train

from purejax_mgtopo.config import CheckpointConfig, Config, EvaluationConfig
from purejax_mgtopo.errors import RunError
from purejax_mgtopo.records import record
from purejax_mgtopo.records.record import Status


@pytest.mark.parametrize("lanes", [0, 2])
@pytest.mark.parametrize("at", range(1, 8))
def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path: Path, lanes: int, at: int) -> None:
    """Wherever it is killed, with one wave or two; a checkpoint after every chunk."""
    config = small(checkpoint=CheckpointConfig(minutes=0))

    def whole(config: Config) -> FakePopulation:
        return FakePopulation(config, lanes=lanes)

    def killed(config: Config) -> FakePopulation:
        def kill(chunk: int) -> None:
            if chunk == at:
                raise Killed

        return FakePopulation(config, before_chunk=kill, lanes=lanes)

    expected = train(config, tmp_path / "a", reporter=Notes(), population=whole)
    if at < 4 * (1 if lanes == 0 else 2):
        with pytest.raises(Killed):
            train(config, tmp_path / "b", reporter=Notes(), population=killed)
        assert record.status(tmp_path / "b") is Status.UNFINISHED
        with open(tmp_path / "b" / "events.jsonl", "a") as events:
            events.write('{"event": "chunk", "epis')  # the kill came within a line
        again = resume(tmp_path / "b", reporter=Notes(), population=whole)
        assert (again.episode, again.interrupted) == (expected.episode, False)
        assert rows(tmp_path / "a") == rows(tmp_path / "b")
        assert told(tmp_path / "a") == told(tmp_path / "b")


def test_a_wave_evaluated_once_is_resumed_though_its_checkpoint_never_came(tmp_path: Path) -> None:
    """Killed after wave 2 of 3 was evaluated, when the table held neighbouring seeds at one episode."""
    config = small(lanes=1, evaluation=EvaluationConfig(every=40, episodes=2))
    whole = partial(FakePopulation, lanes=1)
    store = FakeStore({})

    class Deadly(FakeStore):
        def save(self, state: State, score: float) -> None:
            if self.folder.name == "wave_1":
                raise Killed
            super().save(state, score)

    train(config, tmp_path / "a", reporter=Notes(), population=whole, store=store)
    with pytest.raises(Killed):
        train(config, tmp_path / "b", reporter=Notes(), population=whole, store=Deadly(store.kept))
    assert resume(tmp_path / "b", reporter=Notes(), population=whole, store=store).episode == 120
    assert (tmp_path / "a/metrics.parquet").read_bytes() == (
        tmp_path / "b/metrics.parquet"
    ).read_bytes()
    assert told(tmp_path / "a") == told(tmp_path / "b")
    events = record.read_events(tmp_path / "b")
    assert [event["wave"] for event in events if event["event"] == "resumed"] == [1]


def test_a_checkpoint_that_is_due_waits_for_no_evaluation(tmp_path: Path) -> None:
    """It counts as good as the evaluation before it."""
    config = small(
        evaluation=EvaluationConfig(every=20, episodes=2), checkpoint=CheckpointConfig(minutes=0)
    )
    store = FakeStore({})
    train(config, tmp_path / "a", reporter=Notes(), population=FakePopulation, store=store)
    assert list(store.kept[tmp_path / "a/checkpoints/wave_0"]) == [10, 20, 30, 40]
    first, *rest = store.scores
    assert math.isnan(first) and rest[0] == rest[1] < rest[2]


def test_without_a_checkpoint_a_run_is_resumed_from_the_start(tmp_path: Path) -> None:
    def kill(chunk: int) -> None:
        if chunk == 3:
            raise Killed

    train(small(), tmp_path / "a", reporter=Notes(), population=FakePopulation)
    with pytest.raises(Killed):
        train(
            small(),
            tmp_path / "b",
            reporter=Notes(),
            population=lambda config: FakePopulation(config, before_chunk=kill),
        )
    reporter = Notes()
    resume(tmp_path / "b", reporter=reporter, population=FakePopulation)
    assert reporter.notes == ["toy_follow_holder/meta: going on from the start"]
    assert rows(tmp_path / "a") == rows(tmp_path / "b")
    assert told(tmp_path / "a") == told(tmp_path / "b")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_what_a_scheduler_sends_ends_a_run_to_be_resumed(tmp_path: Path, number: int) -> None:
    def send(chunk: int) -> None:
        if chunk == 2:
            os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    stopped = train(
        small(),
        tmp_path / "b",
        reporter=Notes(),
        population=lambda config: FakePopulation(config, before_chunk=send),
    )
    assert stopped.stopped_by == number
    assert stopped.episode == 30
    assert signal.getsignal(number) is before
    resume(tmp_path / "b", reporter=Notes(), population=FakePopulation)
    train(small(), tmp_path / "a", reporter=Notes(), population=FakePopulation)
    assert rows(tmp_path / "a") == rows(tmp_path / "b")


def test_resuming_refuses_what_it_cannot_resume(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="not a run"):
        resume(tmp_path / "nothing", reporter=Notes(), population=FakePopulation)
    train(small(), tmp_path / "a", reporter=Notes(), population=FakePopulation)
    with pytest.raises(RunError, match="nothing to resume"):
        resume(tmp_path / "a", reporter=Notes(), population=FakePopulation)


def test_a_checkpoint_that_cannot_be_written_ends_the_run_or_not_as_wished(tmp_path: Path) -> None:
    full = FakeStore({}, full=True)
    config = small(checkpoint=CheckpointConfig(minutes=0))
    with pytest.raises(RunError, match=r"No space left.*mgtopo resume"):
        train(
            config,
            tmp_path / "a",
            reporter=Notes(),
            population=FakePopulation,
            store=full,
        )
    chunks = [e["episode"] for e in record.read_events(tmp_path / "a") if e["event"] == "chunk"]
    assert chunks == [10]
    reporter = Notes()
    brave = small(checkpoint=CheckpointConfig(minutes=0, on_error="continue"))
    done = train(
        brave,
        tmp_path / "b",
        reporter=reporter,
        population=FakePopulation,
        store=full,
    )
    assert not done.interrupted
    assert sum("No space left" in note for note in reporter.notes) == 4


class DyingStore(FakeStore):
    """Killed as the second wave is saved."""

    def save(self, state: State, score: float) -> None:
        if self.folder.name == "wave_1":
            raise Killed
        super().save(state, score)


def test_killed_between_the_last_evaluation_of_a_later_wave_and_its_checkpoint(
    tmp_path: Path,
) -> None:
    """Evaluations of neighbouring waves at the same episode are two, not one of all their seeds."""
    config = small(lanes=1, evaluation=EvaluationConfig(every=40, episodes=2))

    def in_waves(config: Config) -> FakePopulation:
        return FakePopulation(config, lanes=1)

    train(config, tmp_path / "whole", population=in_waves, store=FakeStore({}), reporter=Notes())
    cut, kept = tmp_path / "cut", {}
    with pytest.raises(Killed):
        train(config, cut, population=in_waves, store=DyingStore(kept), reporter=Notes())
    resume(cut, population=in_waves, store=FakeStore(kept), reporter=Notes())
    assert rows(cut) == rows(tmp_path / "whole")
    assert told(cut) == told(tmp_path / "whole")
