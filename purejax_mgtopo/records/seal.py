"""Digests of a run's records, written beside them when the run ends or is interrupted."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from purejax_mgtopo.records.files import write_atomically

SEAL = ".records.json"


def seal(folder: Path, names: Sequence[str]) -> None:
    """Write down what these files are; without room for it, the run is whole all the same."""
    with contextlib.suppress(OSError):
        found = {name: _digest(folder / name) for name in names}
        document = {"files": found, "sha256": _of_text(json.dumps(found, sort_keys=True))}
        write_atomically(folder / SEAL, json.dumps(document).encode())


def break_seal(folder: Path) -> None:
    """The records are about to change."""
    (folder / SEAL).unlink(missing_ok=True)


def broken(folder: Path) -> Iterator[tuple[Path, str]]:
    """Files that are not what they were when the run ended; none where it was killed, for then nothing is sealed."""
    path = folder / SEAL
    try:
        document = json.loads(path.read_bytes())
        files = document["files"]
        if document["sha256"] != _of_text(json.dumps(files, sort_keys=True)):
            raise ValueError("it differs from what was written")
        for name, digest in files.items():
            with contextlib.suppress(FileNotFoundError):
                if _digest(folder / name) != digest:
                    yield folder / name, "it differs from what was written"
    except FileNotFoundError:
        return
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        yield path, f"it cannot be read: {error}"


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _of_text(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
