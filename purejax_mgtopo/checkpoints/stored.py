"""What lies in a checkpoint, read in NumPy and checked: no JAX program, no Orbax, and only the parts asked for."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from purejax_mgtopo.checkpoints.digests import digest_array, digest_files
from purejax_mgtopo.machine.paths import can_be_said, straight
from purejax_mgtopo.records.files import sync_tree, write_atomically

FORMAT = 3
"""Another one whenever the arrays of a state, or what lies beside them, have other names or meanings.

2: the message LSTM has one kernel. 3: `settings` are those of the experiment alone, `precision` stands by itself.
"""

DIGEST = "digest."
"""Beside every array lies the digest of each of its lanes, under its name with this before it."""


class BadCheckpoint(Exception):
    """Why one checkpoint is not to be trusted."""


@dataclass(frozen=True)
class Finding:
    """What `verify` has to say about one checkpoint."""

    path: Path
    problem: str | None


def wave_folders(folder: Path) -> list[Path]:
    """The waves' folders in that of a run's checkpoints, in order; what was set aside has other names."""
    found = [path for path in folder.glob("wave_*") if path.name[5:].isdecimal() and path.is_dir()]
    return sorted(found, key=wave_number)


def wave_number(folder: Path) -> int:
    """The index of the wave whose checkpoints lie in a folder."""
    return int(folder.name.removeprefix("wave_"))


def latest_steps(folder: Path) -> list[Path]:
    """The complete checkpoints in a wave's folder, latest first."""
    found = [path for path in folder.glob("*") if path.name.isdigit() and path.is_dir()]
    return sorted(found, key=lambda path: int(path.name), reverse=True)


def read_meta(path: Path) -> dict[str, Any]:
    """What a checkpoint says about itself. Raises BadCheckpoint if that is damaged."""
    try:
        document = json.loads((path / "meta" / "metadata").read_text(encoding="utf-8"))
        seal = document.pop("sha256")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadCheckpoint(f"its meta cannot be read: {one_line(error)}") from error
    if sealed(document)["sha256"] != seal:
        raise BadCheckpoint("its meta differs from what was saved")
    return document


def of_another_format(folder: Path, meta: Mapping[str, Any]) -> str | None:
    """What to say of a wave's `folder` whose checkpoints another version of this program wrote."""
    if meta["format"] == FORMAT:
        return None
    writer = meta["versions"]["purejax_mgtopo"]
    return (
        f"{folder} holds checkpoints of format {meta['format']}, and this version reads {FORMAT}: use the version "
        f"that wrote them ({writer})"
    )


def read_arrays(
    path: Path, names: Sequence[str], lanes: Sequence[int] | None = None
) -> dict[str, NDArray]:
    """Arrays of a checkpoint in NumPy, of all lanes or some, each proved by its digest.

    Only what is asked for is read from disk. Raises BadCheckpoint.
    """
    _check_seal_of_files(path)
    arrays = {name: _read(path, name, lanes) for name in names}
    for name, array in arrays.items():
        expected = _read(path, DIGEST + name, lanes if array.ndim else None)
        if not np.array_equal(digest_array(array), expected):
            raise BadCheckpoint(f"{name} differs from what was saved")
    return arrays


def array_shapes(path: Path) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and dtype of everything in a checkpoint by name, the digests included. Raises BadCheckpoint."""
    import tensorstore as ts

    shapes = {}
    with _kvstore(path) as kvstore:
        try:
            store = ts.KvStore.open(kvstore).result()
            for key in store.list().result():
                name, _, file = key.decode().rpartition("/")
                if file == ".zarray":
                    layout = json.loads(store.read(key).result().value)
                    shapes[name] = tuple(layout["shape"]), str(np.dtype(layout["dtype"]))
        except Exception as error:  # the damage decides which
            raise BadCheckpoint(f"its list of arrays cannot be read: {one_line(error)}") from error
    if not shapes:
        raise BadCheckpoint("it holds no arrays")
    return shapes


def array_names(path: Path) -> list[str]:
    """Every array in a checkpoint. Raises BadCheckpoint."""
    return [name for name in array_shapes(path) if not name.startswith(DIGEST)]


def is_whole(path: Path) -> bool:
    """Whether a checkpoint holds what was saved, whatever that is: read in NumPy, under no settings of JAX."""
    try:
        check_files(path)
        read_meta(path)
        read_arrays(path, array_names(path))
    except BadCheckpoint:
        return False
    return True


def lacks_its_end(folder: Path, episodes: int) -> bool:
    """Whether a wave in the checkpoints' `folder` has some, but not that of its last episode, whole and durable."""

    def has_it(wave: Path) -> bool:
        last = wave / str(episodes)
        return files_note(last).exists() and is_whole(last)

    return any(latest_steps(wave) and not has_it(wave) for wave in wave_folders(folder))


def verify(folder: Path) -> Iterator[Finding]:
    """Check every checkpoint beneath a run's `folder`: each file, and each array by its digest."""
    for wave in wave_folders(folder):
        for path in latest_steps(wave):
            problem = None
            try:
                check_files(path)
                read_meta(path)
                read_arrays(path, array_names(path))
            except BadCheckpoint as error:
                problem = str(error)
            yield Finding(path, problem)


def note_files(path: Path) -> None:
    """Make a complete checkpoint survive a loss of power, then write down the digests of its files.

    Orbax syncs the arrays' data alone. Notes of checkpoints that are gone are dropped.
    """
    for old in path.parent.glob("*.files.json"):
        if not (path.parent / old.name.removesuffix(".files.json")).exists():
            old.unlink(missing_ok=True)
    try:
        sync_tree(path)
        document = json.dumps(sealed({"files": digest_files(path)}))
    except FileNotFoundError:  # newer ones have pushed it out already
        return
    if path.exists():
        try:
            write_atomically(files_note(path), document.encode())
        except OSError:  # it may stand there, and nobody knows for how long
            with contextlib.suppress(OSError):
                files_note(path).unlink(missing_ok=True)
            raise


def check_files(path: Path) -> bool:
    """Raise BadCheckpoint unless every file is what it was; False where a kill prevented the note of them."""
    note = _check_seal_of_files(path)
    if note is None:
        return False
    found = digest_files(path)
    for name in sorted({*note, *found}):
        if note.get(name) != found.get(name):
            state = "missing" if name not in found else "damaged" if name in note else "foreign"
            raise BadCheckpoint(f"its file {name} is {state}")
    return True


def set_aside(path: Path) -> None:
    """Rename a checkpoint that failed to ``<episode>.damaged``, the note of its files with it."""
    aside = path.with_name(f"{path.name}.damaged")
    if aside.exists():
        shutil.rmtree(aside)
    path.rename(aside)
    with contextlib.suppress(FileNotFoundError):
        files_note(path).replace(files_note(aside))


def _check_seal_of_files(path: Path) -> dict[str, str] | None:
    try:
        document = json.loads(files_note(path).read_text(encoding="utf-8"))
        seal = document.pop("sha256")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadCheckpoint(f"the list of its files cannot be read: {one_line(error)}") from error
    if sealed(document)["sha256"] != seal:
        raise BadCheckpoint("the list of its files is damaged")
    return document["files"]


def files_note(path: Path) -> Path:
    """Where the digests of a checkpoint's files are written down."""
    return path.with_name(f"{path.name}.files.json")


def _read(path: Path, name: str, lanes: Sequence[int] | None) -> NDArray:
    import tensorstore as ts

    with _kvstore(path) as kvstore:
        try:
            spec = {"driver": "zarr", "kvstore": kvstore | {"path": f"{name}/"}}
            array = ts.open(spec, read=True, open=True).result()
            part = array if lanes is None else array[np.asarray(lanes)]
            return np.asarray(part.read().result())
        except Exception as error:
            raise BadCheckpoint(f"{name} cannot be read: {one_line(error)}") from error


@contextlib.contextmanager
def _kvstore(path: Path) -> Iterator[dict[str, Any]]:
    """Orbax's documented format: Zarr arrays in an OCDBT database.

    Its place is said as a path: in a URL a ``%`` or a ``?`` of a folder's name would lead elsewhere. What TensorStore
    cannot be told at all, it reaches by a link of another name.
    """
    place = straight(path / "state")
    with contextlib.ExitStack() as stack:
        if "\\" in str(place) or not can_be_said(place):  # it takes a backslash for a slash
            home = stack.enter_context(tempfile.TemporaryDirectory(prefix="mgtopo-"))
            link = Path(home) / "state"
            link.symlink_to(place, target_is_directory=True)
            place = link
        yield {"driver": "ocdbt", "base": {"driver": "file", "path": f"{place}/"}}


def sealed(document: Mapping[str, Any]) -> dict[str, Any]:
    """`document` with a SHA-256 of itself."""
    text = json.dumps(document, sort_keys=True)
    return {**document, "sha256": hashlib.sha256(text.encode()).hexdigest()}


def one_line(error: BaseException) -> str:
    """An error in one line, however long its message."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__
