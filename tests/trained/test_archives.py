"""Archives made to fill the memory are refused before anything in them is unpacked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
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
