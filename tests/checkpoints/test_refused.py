"""A checkpoint that the disk refuses is told at once, and the next one is saved where there is room again."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from purejax_mgtopo.checkpoints.checkpoints import Checkpoints
from purejax_mgtopo.checkpoints.lineage import CheckpointError
from purejax_mgtopo.checkpoints.stored import latest_steps
from purejax_mgtopo.population.population import Population
from purejax_mgtopo.records.files import disk_says


@pytest.fixture(scope="module")
def population(silent_population: Population) -> Population:
    return silent_population


@pytest.mark.timeout(120)
@pytest.mark.parametrize("depth", ["", "state", "meta"])
def test_a_refused_folder_is_told_at_once(
    depth: str, population: Population, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads that wait for it would be joined when the process ends."""
    store = Checkpoints(tmp_path, population, population.waves[0])
    state, before, make = population.init(), set(threading.enumerate()), os.mkdir
    refused: list[str] = []

    def mkdir(path: Any, *rest: Any, **named: Any) -> None:
        if "0.orbax-checkpoint-tmp" in str(path) and depth in Path(path).name:
            refused.append(str(path))
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        make(path, *rest, **named)

    monkeypatch.setattr(os, "mkdir", mkdir)
    with pytest.raises(CheckpointError, match="No space left on device; none was saved") as error:
        store.save(state, 0.0)
        store.settle(wait=True)
    assert refused and "Errno" not in str(error.value) and "\n" not in str(error.value)
    monkeypatch.setattr(os, "mkdir", make)
    store.save(state, 0.0)
    store.close()
    assert [path.name for path in latest_steps(tmp_path)] == ["0"]
    left = [x for x in set(threading.enumerate()) - before if not x.daemon and x.is_alive()]
    for thread in left:
        thread.join(20)
    assert not [thread for thread in left if thread.is_alive()]


def test_the_systems_words_are_found_however_deep() -> None:
    full = os.strerror(errno.ENOSPC)
    assert disk_says(OSError(errno.ENOSPC, full, "x")) == full
    assert disk_says(ValueError(f"UNKNOWN: while writing: [OS error 28: {full}] x")) == full
    assert disk_says(ValueError("something else")) is None
