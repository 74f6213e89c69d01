"""A folder's name is a name: no URL, no pattern, and no other folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from checkpoint_cases import change_a_value, wave

from purejax_mgtopo.checkpoints.stored import array_names, read_arrays, verify
from purejax_mgtopo.records.folders import CHECKPOINTS

NAMES = [
    *("a b", "w%20b", "a%zz", "a?b", "a#b", "a|b", "a[b]", "a\\b", "a*b", "é", "a:b", "f\udce9l"),
    "over/../up",
]


@pytest.mark.parametrize("within", [False, True], ids=["itself", "above it"])
@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_run_is_sound_whatever_its_folder_is_called(
    name: str, within: bool, finished_run: Path, tmp_path: Path
) -> None:
    (tmp_path / "over").mkdir()
    run = tmp_path / name / "run" if within else tmp_path / name
    shutil.copytree(finished_run, run)
    found = list(verify(run / CHECKPOINTS))
    assert found and all(finding.problem is None for finding in found)
    here, there = wave(run) / "12", wave(finished_run) / "12"
    names = array_names(there)
    assert array_names(here) == names
    expected = read_arrays(there, names)
    for array, values in read_arrays(here, names).items():
        np.testing.assert_array_equal(values, expected[array])


@pytest.mark.parametrize(("name", "neighbour"), [("w%20b", "w b"), ("a\\b", "a/b"), ("a?b", "a")])
def test_what_is_read_is_never_a_neighbours(
    name: str, neighbour: str, finished_run: Path, tmp_path: Path
) -> None:
    own, other = tmp_path / name, tmp_path / neighbour
    for folder in (own, other):
        shutil.copytree(finished_run, folder)

    def sound(folder: Path) -> bool:
        return all(finding.problem is None for finding in verify(folder / CHECKPOINTS))

    change_a_value(other, array_names(wave(finished_run) / "12")[0])
    assert sound(own) and not sound(other)
    shutil.rmtree(other)
    shutil.copytree(finished_run, other)
    for path in wave(own).rglob("manifest.ocdbt"):
        path.unlink()
    for note in wave(own).glob("*.files.json"):
        note.unlink()
    assert sound(other) and not sound(own)
