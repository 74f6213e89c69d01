"""Files are whole, told apart from somebody else's, and what they were."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest

from purejax_mgtopo.errors import RunError
from purejax_mgtopo.records import files
from purejax_mgtopo.records.seal import SEAL, break_seal, broken, seal


def test_a_file_is_made_once(tmp_path: Path) -> None:
    path = tmp_path / "a"
    assert files.make_anew(path, b"first") and not files.make_anew(path, b"second")
    assert path.read_bytes() == b"first" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOTSUP])
def test_a_file_is_made_once_where_there_are_no_links(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", link)
    test_a_file_is_made_once(tmp_path)


def test_only_a_process_that_is_gone_has_left_something(tmp_path: Path) -> None:
    path = tmp_path / "a.b.c"
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    living = tmp_path / f".a.b.c.{process.pid}.partial"
    words, gone = tmp_path / ".a.b.c.later.partial", tmp_path / ".a.b.c.4000000.partial"
    huge, other = tmp_path / f".a.b.c.{10**30}.partial", tmp_path / ".a.b.4000000.partial"
    for left in (living, words, gone, huge, other):
        left.write_bytes(b"x")
    try:
        files.write_atomically(path, b"y")
        assert process.poll() is None
    finally:
        process.communicate(b"\n")
    assert sorted(tmp_path.iterdir()) == sorted([path, living, words, other])


def test_leftovers_are_of_the_patterns_asked_for_alone(tmp_path: Path) -> None:
    deep = tmp_path / "figures"
    deep.mkdir()
    names = [
        ".a.1.partial",
        "figures/.b.22.partial",
        ".a.x.partial",
        "a.1.partial",
        ".a.1.partial2",
    ]
    for name in names:
        (tmp_path / name).write_bytes(b"")
    (tmp_path / ".folder.1.partial").mkdir()  # cannot be unlinked, and keeps nothing else from it
    files.remove_leftovers(tmp_path, "*")
    left = {path.name for path in tmp_path.iterdir()} | {path.name for path in deep.iterdir()}
    assert left == {"figures", ".b.22.partial", ".folder.1.partial", *names[2:]}
    files.remove_leftovers(tmp_path, "none/*", "figures/*")
    assert not list(deep.iterdir())


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EIO])
def test_a_disk_that_fails_is_told_from_one_that_does_not_sync(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fsync(_: int) -> None:
        raise OSError(number, os.strerror(number))

    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").is_dir() else 0
    monkeypatch.setattr(os, "fsync", fsync)
    if number == errno.EIO:
        with pytest.raises(OSError) as error:
            files.sync(tmp_path)
        assert error.value.errno == number
    else:
        files.sync(tmp_path)
    assert not before or len(os.listdir("/proc/self/fd")) == before


def test_a_tree_that_cannot_be_listed_is_not_taken_for_synced(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        files.sync_tree(tmp_path / "nothing")


def test_a_tree_is_synced_from_its_leaves_to_its_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    every = [tmp_path, tmp_path / "a", tmp_path / "a" / "b"]
    every += [folder / "x" for folder in every]
    for path in every[3:]:
        path.write_bytes(b"")
    synced: list[Path] = []
    monkeypatch.setattr(files, "sync", synced.append)
    files.sync_tree(tmp_path)
    assert sorted(synced) == sorted(every)
    for path in every[1:]:
        assert synced.index(path) < synced.index(path.parent)


def test_folders_are_synced_from_the_first_that_is_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(files, "sync", synced.append)
    files.make_folder(tmp_path / "a" / "b" / "c")
    assert sorted(synced) == [tmp_path, tmp_path / "a", tmp_path / "a" / "b"]
    files.make_folder(tmp_path / "a" / "b")
    assert len(synced) == 3


def test_a_makers_sign_is_found_at_either_end(tmp_path: Path) -> None:
    path = tmp_path / "a"
    sign = b"Software\0purejax_mgtopo"
    for content, foreign in (
        (b"", True),
        (b"x" * 10_000, True),
        (sign, False),
        (b"x" * 4000 + sign + b"x" * 100_000, False),
        (b"x" * 4090 + sign + b"x" * 100_000, True),  # a thesis that quotes us in its middle
        (b"x" * 100_000 + sign + b"x" * 65_000, False),
        (b"x" * 100_000 + sign + b"x" * 66_000, True),
        (b"/Creator (purejax_mgtopo)", False),
        (b"<dc:title>purejax_mgtopo</dc:title>", False),
        (b'<meta name="generator" content="purejax_mgtopo">', False),
        (b"purejax_mgtopo", True),
    ):
        path.write_bytes(content)
        assert files.is_foreign(path) is foreign, content[:40]
    assert not files.is_foreign(tmp_path / "nothing") and files.is_foreign(tmp_path)


def test_what_the_disk_refuses_is_one_line(tmp_path: Path) -> None:
    full = os.strerror(errno.ENOSPC)
    for error, line in (
        (OSError(errno.ENOSPC, full, "deep/file"), f"cannot write to deep/file: {full}"),
        (OSError(errno.ENOSPC, full), f"cannot write to {tmp_path}: {full}"),
        (OSError("nobody knows"), f"cannot write to {tmp_path}: nobody knows"),
    ):
        with pytest.raises(RunError) as told, files.clear_disk_errors(tmp_path):
            raise error
        assert str(told.value) == line and told.value.__cause__ is error


def test_a_file_that_cannot_be_written_is_refused_before_it_is_made(tmp_path: Path) -> None:
    """What goes into it may take hours."""
    files.make_ready_for(tmp_path / "new" / "deep" / "table.parquet")
    assert [*(tmp_path / "new" / "deep").iterdir()] == []
    (tmp_path / "file").write_text("kept")
    files.make_ready_for(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "kept"
    for path, why in (("file/table", "file"), ("new", "is a folder; say a file")):
        with pytest.raises(RunError, match=why) as error:
            files.make_ready_for(tmp_path / path)
        assert "\n" not in str(error.value)


def test_the_systems_words_are_its_own() -> None:
    for name in ("ENOSPC", "EDQUOT", "EROFS", "EIO", "EACCES", "EMFILE", "ENFILE", "ESTALE"):
        words = os.strerror(getattr(errno, name))
        assert files.disk_says(RuntimeError(f"deep: [{words}]")) == words
    assert files.disk_says(OSError("No words")) is None
    assert files.disk_says(RuntimeError("Is a directory")) is None


def test_json_is_strict_however_deep() -> None:
    pair = namedtuple("pair", "a b")
    document = {
        "scalars": [np.float32(0.5), np.int64(3), np.bool_(True), np.str_("x")],
        "none": (np.nan, float("inf"), -np.inf, np.float32("nan"), None),
        "deep": {"er": pair(1, [{"nan": float("nan")}])},
        "plain": [True, "NaN", 1.5, 0],
    }
    expected = {
        "scalars": [0.5, 3, True, "x"],
        "none": [None] * 5,
        "deep": {"er": [1, [{"nan": None}]]},
        "plain": [True, "NaN", 1.5, 0],
    }
    text = files.strict_json(document)
    assert json.loads(text, parse_constant=pytest.fail) == expected and "\n" not in text
    assert files.strict_json({"a": 1}, indent=2) == '{\n  "a": 1\n}'
    with pytest.raises(TypeError):
        files.strict_json({"a": object()})


NAMES = ("config.json", "events.jsonl", "metrics.parquet")


def sealed(folder: Path) -> Path:
    for number, name in enumerate(NAMES):
        (folder / name).write_bytes(bytes([number]) * 100)
    seal(folder, NAMES[::-1])
    return folder


def test_a_seal_finds_the_file_that_differs(tmp_path: Path) -> None:
    folder = sealed(tmp_path)
    assert not list(broken(folder))
    for name in NAMES:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[:-1] + b"!")
        assert list(broken(folder)) == [(folder / name, "it differs from what was written")]
        (folder / name).unlink()
        assert not list(broken(folder))  # what is lost is told by those who miss it
        (folder / name).write_bytes(content)
    assert not list(broken(folder))
    for name in NAMES:
        (folder / name).write_bytes(b"all")
    assert [path for path, _ in broken(folder)] == [folder / name for name in NAMES[::-1]]


def test_a_seal_that_was_forged_or_cannot_be_read_is_told(tmp_path: Path) -> None:
    folder = sealed(tmp_path)
    path, whole = folder / SEAL, (folder / SEAL).read_text()
    document = json.loads(whole)
    (folder / NAMES[0]).write_bytes(b"forged")
    forged = document | {"files": document["files"] | {NAMES[0]: 64 * "0"}}
    for text, reason in (
        (json.dumps(forged), "it cannot be read: it differs from what was written"),
        (whole[:-9], "it cannot be read: "),
        ("[]", "it cannot be read: "),
        ("{}", "it cannot be read: "),
        ('{"files": [], "sha256": ""}', "it cannot be read: it differs"),
    ):
        path.write_text(text)
        ((where, found),) = broken(folder)
        assert where == path and found.startswith(reason)
    path.write_bytes(b"\xff")
    assert [where for where, _ in broken(folder)] == [path]


def test_a_run_without_a_seal_is_not_broken(tmp_path: Path) -> None:
    folder = sealed(tmp_path)
    (folder / NAMES[1]).write_bytes(b"more")
    break_seal(folder)
    assert not list(broken(folder)) and not (folder / SEAL).exists()
    break_seal(folder)
    (folder / NAMES[0]).unlink()
    seal(folder, NAMES)  # of a folder that lacks one: no seal, and no error
    assert not (folder / SEAL).exists()
