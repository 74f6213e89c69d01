"""Which checkpoints stay, and what a changed file is called: without any program, so that it takes no time."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from purejax_mgtopo.checkpoints.retention import LatestAndBest
from purejax_mgtopo.checkpoints.stored import BadCheckpoint, check_files, note_files


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
    steps = [SimpleNamespace(step=step) for step in scores]
    preserved = policy.should_preserve(steps)
    assert [step for step, stays in zip(scores, preserved, strict=True) if stays] == kept


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
