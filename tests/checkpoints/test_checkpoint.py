"""A checkpoint is what was saved, bit for bit, or it is named and the one before it used."""

from __future__ import annotations

import dataclasses
import errno
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import tensorstore as ts
from resume_cases import Notes, same_state, state_of, tiny
from stand_ins import train

from purejax_mgtopo.algorithm.types import Clock
from purejax_mgtopo.checkpoints import stored
from purejax_mgtopo.checkpoints.checkpoints import CheckpointError, Checkpoints
from purejax_mgtopo.checkpoints.stored import (
    array_names,
    array_shapes,
    files_note,
    latest_steps,
    sealed,
)
from purejax_mgtopo.cli.main import main
from purejax_mgtopo.machine import processes
from purejax_mgtopo.population.population import Population, PopulationState

METHOD = "none+commnet"


@pytest.fixture(scope="module")
def population() -> Population:
    return Population(tiny(METHOD))


@pytest.fixture(scope="module")
def finished_run(population: Population, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "run"
    train(tiny(METHOD), folder, reporter=Notes(), population=lambda config: population)
    return folder


@pytest.fixture
def run(finished_run: Path, tmp_path: Path) -> Path:
    """A copy to be damaged."""
    shutil.copytree(finished_run, tmp_path / "run")
    return tmp_path / "run"


def wave(run: Path) -> Path:
    return run / "checkpoints" / "wave_0"


def opened(
    run: Path, population: Population, said: list[str] | None = None, keep: int = 2
) -> Checkpoints:
    say = (lambda line: None) if said is None else said.append
    return Checkpoints(wave(run), population, population.waves[0], keep=keep, say=say)


def at(population: Population, state: PopulationState, episode: int) -> PopulationState:
    """The same state, said to be that after `episode`."""
    clock = Clock(episode=np.int32(episode), stored=np.int32(episode))
    return dataclasses.replace(state, clock=population._everywhere(clock))


def words(state: PopulationState) -> list[tuple[str, bytes]]:
    def plain(x: Any) -> Any:
        return jax.random.key_data(x) if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key) else x

    leaves = jax.tree_util.tree_leaves_with_path(state)
    return [(f"{p} {x.dtype} {x.shape}", np.asarray(plain(x)).tobytes()) for p, x in leaves]


def files(run: Path, episode: int = 12) -> list[Path]:
    """All of one checkpoint, the note beside it included."""
    inside = [path for path in (wave(run) / str(episode)).rglob("*") if path.is_file()]
    return [*sorted(inside), files_note(wave(run) / str(episode))]


def flip(path: Path, rng: np.random.Generator) -> None:
    content = bytearray(path.read_bytes())
    content[rng.integers(len(content))] ^= 1 << rng.integers(8)
    path.write_bytes(content)


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


@pytest.mark.parametrize("case", range(24))
def test_a_flipped_bit_anywhere_is_found(
    population: Population, run: Path, case: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Twenty random files and places, and for certain the note of the files, the meta and Orbax's own."""
    rng = np.random.default_rng(case)
    paths = files(run)
    path = {
        20: paths[-1],
        21: wave(run) / "12" / "meta" / "metadata",
        22: wave(run) / "12" / "_CHECKPOINT_METADATA",
        23: wave(run) / "12" / "state" / "_METADATA",
    }.get(case, paths[rng.integers(len(paths))])
    while not path.stat().st_size:
        path = paths[rng.integers(len(paths))]
    flip(path, rng)
    name = "the list of its files" if path == paths[-1] else path.name

    assert main(["verify", str(run)]) == 1
    shown = capsys.readouterr()
    (line,) = [line for line in shown.out.splitlines() if line.startswith("BAD")]
    assert str(wave(run) / "12") in line and name in line
    assert shown.err.count("\n") == 1 and "1 of 3 checkpoints are damaged" in shown.err

    said: list[str] = []
    store = opened(run, population, said)
    assert not store.complete(12)
    restored = store.restore()
    store.close()
    assert restored is not None and restored.episode == 10
    (line,) = said
    assert str(wave(run) / "12") in line and name in line
    assert (wave(run) / "12.damaged").is_dir() and not (wave(run) / "12").exists()


@pytest.mark.parametrize("case", range(6))
def test_a_torn_or_missing_file_is_found(population: Population, run: Path, case: int) -> None:
    rng = np.random.default_rng(100 + case)
    path = files(run)[rng.integers(len(files(run)) - 1)]
    if case % 2:
        path.unlink()
    else:
        content = path.read_bytes() or b"more"
        path.write_bytes(content[: rng.integers(len(content))] if path.stat().st_size else content)
    said: list[str] = []
    store = opened(run, population, said)
    restored = store.restore()
    store.close()
    assert restored is not None and restored.episode == 10
    assert len(said) == 1 and path.name in said[0]


@pytest.mark.parametrize("case", range(6))
def test_without_the_note_damage_is_found_or_touches_no_array(
    population: Population, run: Path, case: int
) -> None:
    expected, rng = state_of(run), np.random.default_rng(200 + case)
    inside = [path for path in files(run)[:-1] if path.stat().st_size and "state" in path.parts]
    flip(inside[rng.integers(len(inside))], rng)
    files_note(wave(run) / "12").unlink()
    said: list[str] = []
    store = opened(run, population, said)
    restored = store.restore()
    store.close()
    assert restored is not None
    if restored.episode == 12:
        assert said == []
        same_state(expected, state_of(run))
    else:
        assert restored.episode == 10 and len(said) == 1


def test_a_sound_checkpoint_without_its_note_gets_one(population: Population, run: Path) -> None:
    files_note(wave(run) / "12").unlink()
    store = opened(run, population)
    assert store.complete(12)
    restored = store.restore()
    store.close()
    assert restored is not None and restored.episode == 12
    assert files_note(wave(run) / "12").exists()
    assert [finding.problem for finding in stored.verify(run / "checkpoints")] == [None] * 3


def _array(run: Path, name: str, **spec: Any) -> Any:
    """Write access to one array of the checkpoint of episode 12, whose note is dropped."""
    files_note(wave(run) / "12").unlink(missing_ok=True)
    kvstore = stored._kvstore(wave(run) / "12") | {"path": f"{name}/"}
    return ts.open({"driver": "zarr", "kvstore": kvstore}, **spec).result()


def change_a_value(run: Path, name: str) -> None:
    array = _array(run, name, open=True)
    first = (0,) * array.rank
    array[first].write(array[first].read().result() + 1).result()


def change_its_digest(run: Path, name: str) -> None:
    change_a_value(run, stored.DIGEST + name)


def change_its_type(run: Path, name: str) -> None:
    old = _array(run, name, open=True).read().result()
    spec = {"create": True, "delete_existing": True, "dtype": "float64", "shape": old.shape}
    _array(run, name, **spec).write(old.astype(np.float64)).result()


def change_its_shape(run: Path, name: str) -> None:
    old = _array(run, name, open=True).read().result()
    spec = {"create": True, "delete_existing": True, "dtype": old.dtype.name}
    _array(run, name, **spec, shape=(2 * len(old), *old.shape[1:])).write(
        np.concatenate([old, old])
    ).result()


def drop_it(run: Path, name: str) -> None:
    files_note(wave(run) / "12").unlink(missing_ok=True)
    store = ts.KvStore.open(stored._kvstore(wave(run) / "12")).result()
    store.delete_range(ts.KvStore.KeyRange(f"{name}/", f"{name}0")).result()


def add_another(run: Path, name: str) -> None:
    _array(run, "lanes.intruder", create=True, dtype="float32", shape=(3,)).write(0.0).result()


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (change_a_value, "{name} differs from what was saved"),
        (change_its_digest, "{name} differs from what was saved"),
        (change_its_type, "{name} is .*float64.*, not .*float32"),
        (change_its_shape, "{name} is .*, not "),
        (drop_it, "{name} is missing"),
        (add_another, "lanes.intruder is not of this program"),
    ],
)
def test_another_array_is_found_whatever_wrote_it(
    population: Population, run: Path, damage: Callable[[Path, str], None], says: str
) -> None:
    """Well-formed files with other contents: what Orbax would restore, or cast, without a word."""
    shapes = array_shapes(wave(run) / "12")
    floats = [n for n in array_names(wave(run) / "12") if shapes[n][1] == "float32"]
    for name in (floats[0], floats[-1]):
        shutil.rmtree(wave(run) / "12.damaged", ignore_errors=True)
        before = wave(run).with_name("before")
        shutil.copytree(wave(run), before)
        damage(run, name)
        said: list[str] = []
        store = opened(run, population, said)
        restored = store.restore()
        store.close()
        assert restored is not None and restored.episode == 10
        assert len(said) == 1
        assert re.search(says.format(name=re.escape(name)), said[0]), said
        shutil.rmtree(wave(run))
        before.rename(wave(run))


def test_a_flipped_scalar_and_key_are_found(population: Population, run: Path) -> None:
    for name in ("clock.episode", "lanes.seed.streams.reset", "lanes.alive"):
        assert name in array_names(wave(run) / "12")
    change_a_value(run, "lanes.seed.streams.reset")
    said: list[str] = []
    store = opened(run, population, said)
    assert store.restore().episode == 10  # type: ignore[union-attr]
    store.close()
    assert "lanes.seed.streams.reset differs" in said[0]


def _rewrite_meta(run: Path, episode: int, **changes: Any) -> None:
    path = wave(run) / str(episode) / "meta" / "metadata"
    document = json.loads(path.read_text())
    document.pop("sha256")
    path.write_text(json.dumps(sealed(document | changes)))
    files_note(wave(run) / str(episode)).unlink(missing_ok=True)


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


def test_another_format_is_refused(population: Population, run: Path) -> None:
    _rewrite_meta(run, 12, format=99)
    store = opened(run, population)
    with pytest.raises(CheckpointError, match=r"format 99, and this version reads \d"):
        store.restore()
    store.close()
    assert (wave(run) / "12").exists()  # nothing is set aside


def test_other_settings_are_told(run: Path) -> None:
    other = Population(tiny(METHOD, **{"learner.hidden": 8, "first_seed": 3}))
    store = opened(run, other)
    with pytest.raises(CheckpointError, match=r"first_seed 0 -> 3; learner.hidden 4 -> 8") as told:
        store.restore()
    store.close()
    assert "\n" not in str(told.value)


def test_another_precision_is_not_bit_for_bit(run: Path) -> None:
    store = opened(run, Population(tiny(METHOD, precision="float32")))
    restored = store.restore()
    store.close()
    assert restored is not None and not restored.bitwise


def test_other_means_are_welcome(run: Path) -> None:
    """How many lanes, how often to save: nothing that changes what is computed."""
    other = Population(tiny(METHOD, **{"checkpoint.keep": 7, "devices": 1}))
    store = opened(run, other)
    restored = store.restore()
    store.close()
    assert restored is not None and restored.episode == 12
    assert not restored.bitwise  # two devices hold four lanes, one device three
    found = dict(words(restored.state))
    saved = stored.read_arrays(wave(run) / "12", array_names(wave(run) / "12"))
    lanes = [
        np.frombuffer(content, np.uint8).reshape(3, -1) for content in list(found.values())[2:]
    ]
    expected = [array[:3].tobytes() for name, array in saved.items() if name[:5] == "lanes"]
    assert sorted(lane.tobytes() for lane in lanes if lane.size) == sorted(expected)


def test_none_sound_is_an_error_and_nothing_is_moved(population: Population, run: Path) -> None:
    rng = np.random.default_rng(0)
    for path in latest_steps(wave(run)):
        flip(path / "state" / "manifest.ocdbt", rng)
    said: list[str] = []
    store = opened(run, population, said)
    with pytest.raises(CheckpointError, match="no checkpoint in .* is sound; move"):
        store.restore()
    store.close()
    assert len(said) == 3 and all("manifest.ocdbt is damaged" in line for line in said)
    assert [path.name for path in latest_steps(wave(run))] == ["12", "10", "8"]


def test_one_moved_to_another_episode_is_found(population: Population, run: Path) -> None:
    (wave(run) / "12").rename(wave(run) / "16")
    files_note(wave(run) / "12").rename(files_note(wave(run) / "16"))
    said: list[str] = []
    store = opened(run, population, said)
    assert store.restore().episode == 10  # type: ignore[union-attr]
    store.close()
    assert "that of episode 12" in said[0]


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


def test_meta_without_seal_or_torn_is_bad(run: Path) -> None:
    path = wave(run) / "12" / "meta" / "metadata"
    for content in ("", "[]", "{}", '{"format": 1}', path.read_text()[:-3]):
        path.write_text(content)
        with pytest.raises(stored.BadCheckpoint, match="its meta"):
            stored.read_meta(wave(run) / "12")


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


def _without(run: Path, episode: int, name: str) -> None:
    path = wave(run) / str(episode) / "meta" / "metadata"
    document = json.loads(path.read_text())
    del document["sha256"], document[name]
    path.write_text(json.dumps(sealed(document)))
    files_note(wave(run) / str(episode)).unlink(missing_ok=True)


def _restored(run: Path, population: Population, said: list[str]) -> Any:
    store = opened(run, population, said)
    try:
        return store.restore()
    finally:
        store.close()


def test_other_flags_are_told_and_not_bit_for_bit(
    population: Population, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    assert _restored(run, population, said).bitwise and said == []
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_max_isa=AVX")
    restored = _restored(run, population, said)
    assert restored.episode == 12 and not restored.bitwise
    assert len(said) == 1 and "XLA_FLAGS" in said[0] and "--xla_cpu_max_isa=AVX" in said[0]


@pytest.mark.parametrize("processes_then", [1, 2])
def test_a_layout_of_processes_is_part_of_it(
    population: Population, run: Path, monkeypatch: pytest.MonkeyPatch, processes_then: int
) -> None:
    path = wave(run) / "12" / "meta" / "metadata"
    document = json.loads(path.read_text())
    document["fingerprint"]["processes"] = processes_then
    _rewrite_meta(run, 12, fingerprint=document["fingerprint"])
    said: list[str] = []
    assert _restored(run, population, said).bitwise == (processes_then == 1)
    assert any("processes 2 -> 1" in line for line in said) == (processes_then == 2)


@pytest.mark.parametrize(
    ("name", "value"), [("jax_enable_x64", True), ("jax_default_prng_impl", "rbg")]
)
@pytest.mark.parametrize("told", [True, False])
def test_other_types_never_condemn_good_checkpoints(
    run: Path, name: str, value: object, told: bool
) -> None:
    """Nor where an older version has not written down under what they were made."""
    if not told:
        for path in latest_steps(wave(run)):
            _without(run, int(path.name), "fingerprint")
    old = getattr(jax.config, name)
    jax.config.update(name, value)
    try:
        with pytest.raises(CheckpointError) as error:
            _restored(run, Population(tiny(METHOD)), [])
    finally:
        jax.config.update(name, old)
    assert ("set it as it was" if told else "is whole") in str(error.value)
    assert "move" not in str(error.value) and "\n" not in str(error.value)
    assert [path.name for path in latest_steps(wave(run))] == ["12", "10", "8"]


def test_one_that_tells_nothing_of_it_is_used_but_promises_nothing(
    population: Population, run: Path
) -> None:
    _without(run, 12, "fingerprint")
    said: list[str] = []
    restored = _restored(run, population, said)
    assert restored.episode == 12 and not restored.bitwise and len(said) == 1
