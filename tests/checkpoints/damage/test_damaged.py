"""Damage to a checkpoint, anywhere, is found and named."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from checkpoint_cases import (
    add_another,
    change_a_value,
    change_its_digest,
    change_its_shape,
    change_its_type,
    drop_it,
    files,
    flip,
    opened,
    wave,
)
from resume_cases import same_state, state_of

from purejax_mgtopo.checkpoints import stored
from purejax_mgtopo.checkpoints.checkpoints import CheckpointError
from purejax_mgtopo.checkpoints.stored import (
    array_names,
    array_shapes,
    files_note,
    latest_steps,
)
from purejax_mgtopo.cli.main import main
from purejax_mgtopo.population.population import Population


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize(
    "case",
    [*range(6), *(pytest.param(n, marks=pytest.mark.slow) for n in range(6, 20)), *range(20, 24)],
)
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


@pytest.mark.quick_cases(2)
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


@pytest.mark.quick_cases(2)
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


def test_meta_without_seal_or_torn_is_bad(run: Path) -> None:
    path = wave(run) / "12" / "meta" / "metadata"
    for content in ("", "[]", "{}", '{"format": 1}', path.read_text()[:-3]):
        path.write_text(content)
        with pytest.raises(stored.BadCheckpoint, match="its meta"):
            stored.read_meta(wave(run) / "12")
