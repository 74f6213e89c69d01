"""A checkpoint is what was saved, bit for bit, or it is named and the one before it used."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from checkpoint_cases import at, change_a_value, flip, opened, wave, words
from resume_cases import same_state, state_of

from purejax_mgtopo.checkpoints import stored
from purejax_mgtopo.checkpoints.checkpoints import CheckpointError
from purejax_mgtopo.checkpoints.stored import (
    array_names,
    files_note,
    latest_steps,
    sealed,
)
from purejax_mgtopo.cli.main import main
from purejax_mgtopo.machine import processes
from purejax_mgtopo.population.population import Population


def test_what_is_restored_is_what_was_saved(population: Population, tmp_path: Path) -> None:
    """All leaves, types and shardings, and the state may be used up while it is written."""
    state, _ = population.advance(population.init())
    state, _ = population.advance(state)
    expected = words(state)
    store = opened(tmp_path, population)
    store.save(state, 1.0)
    population.advance(state)  # donates its buffers
    store.close()
    again = opened(tmp_path, population)
    restored = again.restore()
    again.close()
    assert restored is not None and restored.bitwise and restored.episode == 4
    assert words(restored.state) == expected
    compiled: list[str] = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, seconds, **_: compiled.append(event) if "backend_compile" in event else None
    )
    try:
        population.advance(restored.state)  # placed and typed as the program's own
    finally:
        jax.monitoring.clear_event_listeners()
    assert compiled == []


def test_nothing_saved_is_nothing_found(population: Population, tmp_path: Path) -> None:
    store = opened(tmp_path, population)
    assert store.restore() is None and not store.complete(12)
    store.close()


@pytest.mark.parametrize("alone", [False, True])
def test_after_an_error_the_other_processes_are_not_asked(
    population: Population, run: Path, monkeypatch: pytest.MonkeyPatch, alone: bool
) -> None:
    """They are at another point of the loop: their answer would be to another question."""
    store = opened(run, population)
    asked = []

    def gather(numbers: list[float]) -> Any:
        asked.append(numbers)
        return np.zeros((2, len(numbers)))

    monkeypatch.setattr(processes, "count", lambda: 2)
    monkeypatch.setattr(processes, "gather", gather)
    store.close(alone=alone)
    assert len(asked) == (0 if alone else 1)


def test_after_a_fall_back_the_same_episode_is_saved_again(
    population: Population, run: Path
) -> None:
    expected = state_of(run)
    flip(wave(run) / "12" / "state" / "manifest.ocdbt", np.random.default_rng(0))
    store = opened(run, population)
    restored = store.restore()
    assert restored is not None and restored.episode == 10
    state = restored.state
    state, _ = population.advance(state)
    store.save(state, 0.0)
    store.close()
    same_state(expected, state_of(run))
    assert all(finding.problem is None for finding in stored.verify(run / "checkpoints"))


def test_a_note_of_an_earlier_one_does_not_condemn_the_new(
    population: Population, tmp_path: Path
) -> None:
    """As a kill leaves it between the removal of an old checkpoint and that of its note."""
    state = at(population, population.init(), 8)
    wave(tmp_path).mkdir(parents=True)
    files_note(wave(tmp_path) / "8").write_text(json.dumps(sealed({"files": {"x": "y"}})))
    store = opened(tmp_path, population)
    store.save(state, 0.0)
    store._manager.wait_until_finished()  # and here comes the kill: the new note is not written
    said: list[str] = []
    again = opened(tmp_path, population, said)
    restored = again.restore()
    again.close()
    assert restored is not None and restored.episode == 8 and said == []
    store.close()


def test_keeps_the_latest_and_the_best(population: Population, tmp_path: Path) -> None:
    """Whatever is not a finite number is never the best, and evicts no best; so also after a restart."""
    state = population.init()
    store = opened(tmp_path, population)
    scores = (1.0, 5.0, np.nan, -np.inf, np.inf, 2.0)
    for step, score in enumerate(scores):
        store.save(at(population, state, step), score)
    store.close()
    assert [path.name for path in latest_steps(wave(tmp_path))] == ["5", "4", "1"]
    store = opened(tmp_path, population)
    for step, score in ((6, np.nan), (7, 4.0), (8, -np.inf), (9, np.nan)):
        store.save(at(population, state, step), score)
    store.close()
    assert [path.name for path in latest_steps(wave(tmp_path))] == ["9", "8", "1"]
    notes = {path.name for path in wave(tmp_path).glob("*.files.json")}
    assert notes == {f"{step}.files.json" for step in (1, 8, 9)}


def test_without_any_finite_score_only_the_latest_stay(
    population: Population, tmp_path: Path
) -> None:
    state = population.init()
    store = opened(tmp_path, population, keep=1)
    for step in range(4):
        store.save(at(population, state, step), np.nan)
    store.close()
    assert [path.name for path in latest_steps(wave(tmp_path))] == ["3"]


@pytest.mark.parametrize("when", ["at once", "in the background"])
def test_a_save_that_fails_is_one_line_and_the_next_one_works(
    population: Population, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    state = population.init()
    store = opened(tmp_path, population)
    store.save(at(population, state, 1), 0.0)
    store.settle(wait=True)
    full = OSError(errno.ENOSPC, "No space left on device")

    def fail(*_: object, **__: object) -> None:
        raise full

    with monkeypatch.context() as patch, pytest.raises(CheckpointError) as told:
        target = "save" if when == "at once" else "wait_until_finished"
        if when == "at once":
            patch.setattr(store._manager, target, fail)
            store.save(at(population, state, 2), 0.0)
        else:
            store.save(at(population, state, 2), 0.0)
            store._manager.wait_until_finished()
            patch.setattr(store._manager, target, fail)
            store.settle(wait=True)
    line = str(told.value)
    assert "cannot save the checkpoint of episode 2" in line and "No space left" in line
    assert "is unharmed" in line and "\n" not in line
    store.save(at(population, state, 3), 0.0)
    store.close()
    assert latest_steps(wave(tmp_path))[0].name == "3"


def test_verify_of_a_sound_run(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(run)]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["good"] * 5


def test_one_lane_is_read_and_proved_alone(run: Path) -> None:
    path, name = wave(run) / "12", "lanes.seed.replay.moving"
    name = name if name in array_names(path) else array_names(path)[-1]
    whole = stored.read_arrays(path, [name])[name]
    np.testing.assert_array_equal(stored.read_arrays(path, [name], [2, 0])[name], whole[[2, 0]])
    change_a_value(run, name)  # of lane 0
    np.testing.assert_array_equal(stored.read_arrays(path, [name], [1])[name], whole[[1]])
    with pytest.raises(stored.BadCheckpoint, match=name):
        stored.read_arrays(path, [name], [0])
