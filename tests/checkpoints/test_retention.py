"""Which checkpoints stay, and what a changed file is called: without any program, so that it takes no time."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import pytest

from purejax_mgtopo.checkpoints.retention import LatestAndBest
from purejax_mgtopo.checkpoints.stored import (
    BadCheckpoint,
    check_files,
    files_note,
    latest_steps,
    note_files,
)


@pytest.mark.parametrize(
    ("scores", "kept"),
    [
        ({10: -3.0, 20: -1.0, 30: -2.0, 40: -5.0}, [20, 40]),
        ({10: 9.0, 20: 1.0, 30: 2.0, 40: 3.0}, [10, 40]),
        ({10: 1.0, 20: 2.0, 30: 3.0, 40: 4.0}, [40]),
        ({10: float("nan"), 20: float("-inf"), 30: float("inf"), 40: 0.0}, [40]),
    ],
)
def test_the_highest_score_stays(tmp_path: Path, scores: dict, kept: list[int]) -> None:
    """The worst one would be kept as the best."""
    policy = LatestAndBest(tmp_path, latest=1)
    policy.scores |= scores
    assert sorted(policy.kept(list(scores))) == kept


@pytest.mark.parametrize("fails", ["after the first file", "at once"])
def test_what_is_half_removed_is_no_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    """A disk refuses in the midst of it, or a kill comes: what is left would be called damaged."""
    for step in (1, 2):
        for name in ("a", "b"):
            (tmp_path / str(step)).mkdir(exist_ok=True)
            (tmp_path / str(step) / name).write_text(name)
        note_files(tmp_path / str(step))

    def half(folder: Path, ignore_errors: bool = False) -> None:
        if fails != "at once":
            (folder / "a").unlink()
        if not ignore_errors:
            raise OSError(errno.EROFS, "no")

    def refused(old: Path, new: Path) -> None:
        raise OSError(errno.EROFS, "no")

    with monkeypatch.context() as broken:
        broken.setattr(shutil, "rmtree", half)
        if fails == "at once":
            broken.setattr(Path, "rename", refused)
        LatestAndBest(tmp_path, latest=1).prune(tmp_path)
    left = latest_steps(tmp_path)
    assert [path.name for path in left] == (["2", "1"] if fails == "at once" else ["2"])
    assert all(check_files(path) for path in left)
    LatestAndBest(tmp_path, latest=1).prune(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "2",
        files_note(tmp_path / "2").name,
    ]


def test_a_file_that_changed_is_named(tmp_path: Path) -> None:
    path = tmp_path / "40"
    path.mkdir()
    (path / "a").write_bytes(b"one")
    (path / "b").write_bytes(b"two")
    assert check_files(path) is False  # nobody has noted them yet
    note_files(path)
    assert check_files(path)
    for name, content, state in (("b", b"twO", "damaged"), ("c", b"new", "foreign")):
        old = (path / name).read_bytes() if (path / name).exists() else None
        (path / name).write_bytes(content)
        with pytest.raises(BadCheckpoint, match=f"its file {name} is {state}"):
            check_files(path)
        if old is None:
            (path / name).unlink()
        else:
            (path / name).write_bytes(old)
    (path / "a").unlink()
    with pytest.raises(BadCheckpoint, match="its file a is missing"):
        check_files(path)
