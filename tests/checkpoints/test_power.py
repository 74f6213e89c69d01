"""A checkpoint counts as saved when a loss of power cannot take it: every file and folder of it is synced first."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from purejax_mgtopo.checkpoints.checkpoints import Checkpoints
from purejax_mgtopo.checkpoints.retention import LatestAndBest
from purejax_mgtopo.checkpoints.stored import files_note, latest_steps, note_files, sealed
from purejax_mgtopo.errors import RunError
from purejax_mgtopo.population.population import Population
from purejax_mgtopo.records import files


class Disk:
    """What was synced, in order, by path."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.synced: list[Path] = []
        self.refuse: str | None = None
        real = os.fsync

        def fsync(descriptor: int) -> None:
            path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
            if self.refuse is not None and path.match(self.refuse):
                raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
            self.synced.append(path)
            real(descriptor)

        monkeypatch.setattr(os, "fsync", fsync)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("open files are not listed here")
    return Disk(monkeypatch)


@pytest.fixture(scope="module")
def population(silent_population: Population) -> Population:
    return silent_population


@pytest.mark.slow
def test_every_file_and_folder_of_a_checkpoint_is_synced_before_its_note(
    population: Population, disk: Disk, tmp_path: Path
) -> None:
    folder = tmp_path / "run" / "checkpoints" / "wave_0"
    store = Checkpoints(folder, population, population.waves[0])
    store.save(population.init(), 0.0)
    store.close()
    (path,) = latest_steps(folder)
    noted = next(at for at, p in enumerate(disk.synced) if ".files.json." in p.name)
    wanted = {path, *path.rglob("*")}
    assert len(wanted) > 15 and wanted <= set(disk.synced[:noted])
    assert disk.synced.index(path) > max(disk.synced.index(p) for p in wanted - {path})
    # And what leads there: each folder is listed by the one above it.
    assert {tmp_path, tmp_path / "run", folder.parent, folder} <= set(disk.synced)
    assert folder in disk.synced[noted:]


@pytest.mark.slow
@pytest.mark.parametrize("which", ["commit_success.txt", "state", "manifest.ocdbt"])
def test_a_checkpoint_that_cannot_be_synced_is_not_saved(
    which: str, population: Population, disk: Disk, tmp_path: Path
) -> None:
    store = Checkpoints(tmp_path, population, population.waves[0])
    disk.refuse = which
    store.save(population.init(), 0.0)
    with pytest.raises(RunError, match="Input/output error") as error:
        store.close()
    assert "\n" not in str(error.value)
    assert not files_note(tmp_path / "0").exists()


def test_a_note_that_cannot_be_synced_is_not_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would tell the next process that the checkpoint is durable."""
    (tmp_path / "12").mkdir()

    def refused(path: Path) -> None:
        if path == tmp_path and files_note(tmp_path / "12").exists():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files, "sync", refused)
    with pytest.raises(OSError, match="No space left"):
        note_files(tmp_path / "12")
    assert not files_note(tmp_path / "12").exists()


def test_file_systems_that_do_not_sync_folders_are_lived_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fsync(descriptor: int) -> None:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "x").write_bytes(b"x")
    monkeypatch.setattr(files.os, "fsync", fsync)
    files.sync_tree(tmp_path)
    files.make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()


def test_the_latest_durable_one_stays_until_a_later_one_is(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        (tmp_path / str(step)).mkdir()
    keep = LatestAndBest(tmp_path, 1)
    assert keep.kept([1, 2, 3]) == {3}
    keep.durable = 2
    assert keep.kept([1, 2, 3]) == {2, 3}
    keep.durable = 3
    assert keep.kept([1, 2, 3]) == {3}
    files_note(tmp_path / "1").write_text("")
    keep.prune(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["3"]


def test_a_later_process_knows_the_durable_one_by_its_note(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        (tmp_path / str(step)).mkdir()
    (tmp_path / "2" / "meta").mkdir()
    (tmp_path / "2" / "meta" / "metadata").write_text(json.dumps(sealed({"score": None})))
    files_note(tmp_path / "2").write_text("")
    assert LatestAndBest(tmp_path, 1).kept([1, 2, 3]) == {2, 3}
