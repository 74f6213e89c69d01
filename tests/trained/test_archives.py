"""Archives made to fill the memory are refused before anything in them is unpacked."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from jax_mpe.prey.files import PreySizes, shipped_file
from jax_mpe.prey.files import read as read_prey
from numpy.lib.npyio import NpzFile

from purejax_mgtopo.errors import RunError
from purejax_mgtopo.trained.policy import load_policy


def test_an_archive_that_unpacks_to_many_times_its_size_is_not_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "policy.npz"
    np.savez_compressed(path, header=np.zeros(20, np.uint8), a=np.zeros(4_000_000, np.float32))
    unpacked: list[str] = []
    monkeypatch.setattr(NpzFile, "__getitem__", lambda self, name: unpacked.append(name))
    with pytest.raises(RunError, match="is damaged or not an exported policy"):
        load_policy(path)
    assert unpacked == []


@pytest.fixture
def unread(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Entries of archives that were read."""
    read: list[str] = []
    real = NpzFile.__getitem__

    def note(self: NpzFile, name: str) -> np.ndarray:
        read.append(name)
        return real(self, name)

    monkeypatch.setattr(NpzFile, "__getitem__", note)
    return read


BOMBS = {
    "compressed": lambda path: np.savez_compressed(path, a=np.zeros(4_000_000, np.float32)),
    "header": lambda path: np.savez(path, header=np.zeros(3 * 2**20, np.uint8)),
    "array": lambda path: np.save(path, np.zeros(1_000_000, np.float32)),
    "text": lambda path: path.write_text("x" * 100),
    "empty": lambda path: path.write_bytes(b""),
    "folder": lambda path: path.mkdir(),
    "pipe": lambda path: os.mkfifo(path),
}


@pytest.mark.parametrize("kind", BOMBS)
@pytest.mark.parametrize("what", ["policy", "prey"])
def test_nothing_of_a_hostile_file_is_unpacked(
    what: str, kind: str, tmp_path: Path, unread: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a pipe would say is waited for by nobody."""
    path = tmp_path / "file.npz"
    BOMBS[kind](path)
    if kind == "array":
        np.save(tmp_path / "file", np.zeros(1_000_000, np.float32))
        (tmp_path / "file.npy").rename(path)
        monkeypatch.setattr(
            np.lib.format, "read_array", lambda *_, **__: pytest.fail("the array was read")
        )
    error = RunError if what == "policy" else ValueError
    with pytest.raises(error, match="(?i)not (an exported policy|a prey file)") as raised:
        if what == "policy":
            load_policy(path)
        else:
            read_prey(path, PreySizes(3, 1, 2, 1.0))
    assert unread == [] and "\n" not in str(raised.value)


def test_prey_whose_arrays_are_larger_than_told_are_not_unpacked(
    tmp_path: Path, unread: list[str]
) -> None:
    sizes = PreySizes(3, 1, 2, 1.0)
    shipped = shipped_file(sizes)
    with np.load(shipped) as file:
        arrays = {name: file[name] for name in file.files}
    arrays["kernel_0"] = np.zeros((100, 500, 20), np.float32)
    np.savez(tmp_path / "prey.npz", **arrays)
    unread.clear()
    with pytest.raises(ValueError, match="kernel_0 is larger than its header states"):
        read_prey(tmp_path / "prey.npz", sizes)
    assert unread == ["header"]


def test_prey_of_other_sizes_are_refused_by_their_header(tmp_path: Path, unread: list[str]) -> None:
    shipped = shipped_file(PreySizes(3, 1, 2, 1.0))
    with pytest.raises(ValueError, match="holds prey for"):
        read_prey(shipped, PreySizes(6, 2, 3, 1.5))
    assert unread == ["header"]
