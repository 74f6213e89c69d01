"""2n chunks equal n, stop, resume, n: bit for bit, state and records, for every method of the grid."""

from __future__ import annotations

import dataclasses
import functools
import shutil
import signal
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pyarrow.parquet as parquet
import pytest
from resume_cases import Notes, Stopping, same_run, same_state, state_of, table, tiny
from stand_ins import resume, train

from purejax_mgtopo.errors import RunError
from purejax_mgtopo.methods import MESSAGES, TOPOLOGIES
from purejax_mgtopo.population.population import Population
from purejax_mgtopo.records.record import METRICS, read_events
from purejax_mgtopo.records.run_data import load_run
from purejax_mgtopo.training.run import RunResult

GRID = [
    *(f"{topology}+{messages}" for topology in TOPOLOGIES for messages in ("lstm", "commnet")),
    *(f"full+{messages}" for messages in MESSAGES if messages not in ("lstm", "commnet")),
    "magic+gat",
    "full+lstm+pic",
]
QUICK = ("meta+lstm", "none+commnet")
SLOW = (pytest.mark.slow, pytest.mark.timeout(900))  # each compiles two programs


@functools.cache
def program(method: str, **changes: Any) -> Population:
    """Compiled once; what a new process compiles anew is the same, and told apart by tests of the command."""
    return Population(tiny(method, **changes))


def whole(population: Population, folder: Path) -> RunResult:
    return train(population.config, folder, reporter=Notes(), population=lambda _: population)


def stopped(population: Population, folder: Path, at: int, **options: Any) -> RunResult:
    return train(
        population.config,
        folder,
        reporter=Notes(),
        population=lambda _: Stopping(population, at, **options),
    )


def resumed(population: Population, folder: Path, at: int = 0) -> RunResult:
    return resume(
        folder,
        reporter=Notes(),
        population=lambda _: Stopping(population, at) if at else population,
    )


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(
    "method",
    [name if name in QUICK else pytest.param(name, marks=SLOW) for name in GRID],
)
def test_stopped_and_resumed_equals_uninterrupted(tmp_path: Path, method: str) -> None:
    """Stopped between two evaluations, where the running sums for the next one are part of the state."""
    population = program(method)
    whole(population, tmp_path / "a")
    result = stopped(population, tmp_path / "b", at=3)
    assert (result.episode, result.stopped_by) == (6, signal.SIGTERM)
    assert table(tmp_path / "a") != table(tmp_path / "b")
    assert resumed(population, tmp_path / "b").episode == 12
    same_run(tmp_path / "a", tmp_path / "b")
    state = state_of(tmp_path / "a")
    learned = [
        name for name in state if name.startswith(("lanes.seed.learner", "lanes.seed.parts"))
    ]
    assert any("optimiser" in name or ".0.mu" in name for name in learned), learned
    parts = ("streams", "replay", "target", "trajectory")
    assert all(any(name.startswith(f"lanes.seed.{part}.") for name in state) for part in parts)
    assert {"clock.episode", "clock.stored", "lanes.alive"} <= set(state)


@pytest.mark.slow
def test_stopped_again_and_again(tmp_path: Path) -> None:
    """After every single chunk."""
    population = program(QUICK[1])
    whole(population, tmp_path / "a")
    assert stopped(population, tmp_path / "b", at=1).episode == 2
    for episode in (4, 6, 8, 10):
        assert resumed(population, tmp_path / "b", at=1).episode == episode
    assert resumed(population, tmp_path / "b").stopped_by is None
    same_run(tmp_path / "a", tmp_path / "b")
    (end,) = [event for event in read_events(tmp_path / "b") if event["event"] == "end"]
    assert end["episode"] == 12


@pytest.mark.slow
def test_a_state_that_is_not_restored_whole_would_be_seen(tmp_path: Path) -> None:
    """The comparison above is no formality: another replay, or another stream, ends elsewhere."""
    population = program(QUICK[1])
    whole(population, tmp_path / "a")

    class Forgetful(Stopping):
        def advance(self, state: Any, wave: Any) -> Any:
            streams = state.seeds.streams
            key = jax.random.wrap_key_data(jax.random.key_data(streams.replay) + 1)
            other = dataclasses.replace(streams, replay=key)
            seed = dataclasses.replace(state.seeds, streams=other)
            lanes = dataclasses.replace(state.lanes, seed=seed)
            return super().advance(dataclasses.replace(state, lanes=lanes), wave)

    stopped(population, tmp_path / "b", at=3)
    resume(
        tmp_path / "b",
        reporter=Notes(),
        population=lambda _: Forgetful(population, at=0),
    )
    with pytest.raises(AssertionError):
        same_run(tmp_path / "a", tmp_path / "b")


def test_a_table_that_lost_rows_is_not_gone_on_with(tmp_path: Path) -> None:
    population = program(QUICK[1])
    stopped(population, tmp_path / "b", at=5)
    content = table(tmp_path / "b")
    for damaged in (None, content[:-20], b"PAR1"):
        (tmp_path / "b" / METRICS).unlink()
        if damaged is not None:
            (tmp_path / "b" / METRICS).write_bytes(damaged)
        with pytest.raises(RunError, match="metrics.parquet .*put the original back") as told:
            resumed(population, tmp_path / "b")
        assert "\n" not in str(told.value)
        (tmp_path / "b" / METRICS).write_bytes(content)
    assert resumed(population, tmp_path / "b").episode == 12


def poisoned(state: Any, lane: int) -> Any:
    critic = jax.tree.map(lambda x: x.at[lane].set(np.nan), state.seeds.learner.critic)
    learner = dataclasses.replace(state.seeds.learner, critic=critic)
    seed = dataclasses.replace(state.seeds, learner=learner)
    return dataclasses.replace(state, lanes=dataclasses.replace(state.lanes, seed=seed))


class Poisoning(Stopping):
    """Before chunk `poison` (from 1), NaN gets into the critic of one lane."""

    def __init__(self, population: Any, at: int, poison: int, lane: int) -> None:
        super().__init__(population, at)
        self._poison, self._lane = poison, lane

    def advance(self, state: Any, wave: Any) -> Any:
        if self._done + 1 == self._poison:
            state = poisoned(state, self._lane)
        return super().advance(state, wave)


@pytest.mark.slow
def test_a_seed_that_leaves_the_finite_numbers_is_frozen_for_good(tmp_path: Path) -> None:
    """Its networks stay as they are, also after a resumption; its neighbours never notice."""
    population = program(QUICK[1])
    whole(population, tmp_path / "clean")
    for folder, at in (("a", 0), ("b", 4)):
        result = train(
            population.config,
            tmp_path / folder,
            reporter=Notes(),
            population=lambda _, at=at: Poisoning(population, at, poison=2, lane=1),
        )
        assert result.non_finite == 1
    then = state_of(tmp_path / "b")
    assert then["lanes.alive"][:3].tolist() == [True, False, True]
    assert resumed(population, tmp_path / "b").non_finite == 1
    same_run(tmp_path / "a", tmp_path / "b")

    now, clean = state_of(tmp_path / "b"), state_of(tmp_path / "clean")
    assert now["lanes.alive"][:3].tolist() == [True, False, True]
    for name, array in now.items():
        if name.startswith(("lanes.seed.learner", "lanes.seed.parts", "lanes.seed.target")):
            assert array[1].tobytes() == then[name][1].tobytes(), name
            if name.startswith("lanes.seed.learner.policy"):
                assert np.isfinite(array).all()
        if name.startswith("lanes."):
            for lane in (0, 2):
                assert array[lane].tobytes() == clean[name][lane].tobytes(), name
    run = load_run(tmp_path / "b")
    assert run.finite.tolist() == [[True] * 4, [True, False, False, False], [True] * 4]


def rows_by_seed(run: Path) -> dict[tuple[int, int], str]:
    """NaN equals NaN."""
    rows = parquet.read_table(run / METRICS).to_pylist()
    return {(row["seed"], row["episode"]): repr(row) for row in rows}


def killed(population: Population, folder: Path, at: int) -> None:
    class Killed(BaseException):
        pass

    class Killing(Stopping):
        def advance(self, state: Any, wave: Any) -> Any:
            self._done += 1
            if self._done == self._at:
                raise Killed
            return self._population.advance(state, wave)

    with pytest.raises(Killed):
        train(
            population.config,
            folder,
            reporter=Notes(),
            population=lambda _: Killing(population, at),
        )


@pytest.mark.slow
def test_killed_after_a_checkpoint_between_evaluations(tmp_path: Path) -> None:
    """The records go back to that checkpoint, and the running sums go on from it."""
    population = program(QUICK[1])
    whole(population, tmp_path / "a")
    killed(population, tmp_path / "b", at=5)
    for path in (tmp_path / "b/checkpoints/wave_0").glob("8*"):  # the one of the evaluation
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert state_of(tmp_path / "b")["clock.episode"] == 6
    assert resumed(population, tmp_path / "b").episode == 12
    same_run(tmp_path / "a", tmp_path / "b")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_waves_equal_one_wave_also_when_killed(tmp_path: Path) -> None:
    """Five seeds, two at a time, as five at once: each seed's state and rows."""
    together = program(QUICK[0], seeds=5)
    in_turn = Population(tiny(QUICK[0], seeds=5, lanes=2), lanes=2)
    assert [wave.seeds for wave in in_turn.waves] == [2, 2, 1]
    whole(together, tmp_path / "together")
    assert whole(in_turn, tmp_path / "in_turn").episode == 36
    assert len(rows_by_seed(tmp_path / "together")) == 20
    assert rows_by_seed(tmp_path / "in_turn") == rows_by_seed(tmp_path / "together")
    at_once = state_of(tmp_path / "together")
    for seed in range(5):
        alone = state_of(tmp_path / "in_turn", wave=seed // 2)
        for name, array in at_once.items():
            if name.startswith("lanes."):
                assert array[seed].tobytes() == alone[name][seed % 2].tobytes(), (name, seed)

    for at in (
        8,
        9,
        13,
    ):  # in the second wave before and after its first checkpoint, and in the third
        folder = tmp_path / f"killed_{at}"
        killed(in_turn, folder, at)
        assert resumed(in_turn, folder).episode == 36
        same_run(tmp_path / "in_turn", folder, waves=3)


@pytest.mark.slow
def test_a_wave_done_whose_checkpoint_is_bad_is_trained_again_from_the_one_before(
    tmp_path: Path,
) -> None:
    """Killed between the last checkpoint and the end of the records; then the disk flips a bit."""
    population = program(QUICK[1])
    whole(population, tmp_path / "a")
    whole(population, tmp_path / "b")
    events = tmp_path / "b" / "events.jsonl"
    events.write_text("".join(x for x in events.read_text().splitlines(True) if '"end"' not in x))
    manifest = tmp_path / "b/checkpoints/wave_0/12/state/manifest.ocdbt"
    manifest.write_bytes(manifest.read_bytes()[:-1])
    reporter = Notes()
    resume(tmp_path / "b", reporter=reporter, population=lambda _: population)
    assert any("manifest.ocdbt is damaged" in note for note in reporter.notes)
    same_run(tmp_path / "a", tmp_path / "b")
    same_state(state_of(tmp_path / "a"), state_of(tmp_path / "b"))
