"""Files of trained prey.

A prey file is an `.npz` without pickled objects. It holds a network of three dense layers for each
prey (`kernel_0 [M, P, H]`, `bias_0 [M, H]`, and likewise 1 and 2; ReLU between them, tanh at the
end) and `header`, JSON as bytes: the sizes it is for, how it came to be, how well it flees, and the
shapes and the SHA-256 digest of its arrays.
"""

from __future__ import annotations

import hashlib
import json
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..paths import expanded

FORMAT = "jax_mpe prey 1"
LAYERS = 3
_HEADER = 2**20  # bytes
_FOLDER = Path(__file__).parent


class PreySizes(NamedTuple):
    """What a prey policy must fit.

    Attributes:
        predators: N.
        prey: M.
        landmarks: L.
        half_width: of the arena.
    """

    predators: int
    prey: int
    landmarks: int
    half_width: float

    @property
    def observation(self) -> int:
        """P, the width of a prey's observation."""
        others = self.predators + self.prey - 1
        return 4 + 2 * self.landmarks + 2 * others + 2 * (self.prey - 1)


def shipped_file(sizes: PreySizes) -> Path:
    """Where the pretrained prey of this size lies, if there is one."""
    return _FOLDER / f"N{sizes.predators}_M{sizes.prey}.npz"


def write(
    path: Path, sizes: PreySizes, arrays: Mapping[str, NDArray[np.float32]], story: Mapping
) -> None:
    """Write a prey file.

    Args:
        path: where to; an existing file is replaced.
        sizes: what the policy is for.
        arrays: `kernel_0`, `bias_0`, ...
        story: how it came to be and how well it flees; anything that JSON can hold.
    """
    path = expanded(path)
    header = {
        "format": FORMAT,
        "sizes": sizes._asdict(),
        "shapes": {name: list(array.shape) for name, array in arrays.items()},
        "sha256": digest(arrays),
        **story,
    }
    text = np.frombuffer(json.dumps(header, indent=1).encode(), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    contents: dict[str, Any] = {**arrays, "header": text}
    np.savez(path, **contents)


def read(path: Path, sizes: PreySizes) -> tuple[dict[str, Any], dict[str, NDArray[np.float32]]]:
    """Header and arrays of a prey file.

    Raises:
        ValueError: in one line, if the file is missing, is none of ours, was damaged, or holds prey
            of other sizes.
    """
    path = expanded(path)
    try:
        with _open(path) as file:
            header = json.loads(file["header"].tobytes())
            shapes, sha256 = header["shapes"], header["sha256"]
            _check_header(path, header, sizes)
            _check_entries(file, shapes)
            arrays = {name: file[name] for name in file.files if name != "header"}
    except FileNotFoundError:
        raise ValueError(f"there is no prey file {path}") from None
    except _NotOurs as error:
        raise ValueError(str(error)) from None
    except Exception as error:  # the damage decides which
        why = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{path} is not a prey file, or a damaged one ({why})") from None
    if {name: list(array.shape) for name, array in arrays.items()} != shapes:
        raise ValueError(f"{path} is damaged: its arrays have other shapes than its header states")
    if digest(arrays) != sha256:
        raise ValueError(f"{path} is damaged: its arrays do not have the SHA-256 of its header")
    return header, arrays


class _NotOurs(Exception):
    """What a file says of itself that makes it another's."""


def _open(path: Path) -> Any:
    """The archive, of which nothing but the list of its entries has been read: one may unpack to fill the memory."""
    if path.exists() and not (path.is_file() and zipfile.is_zipfile(path)):
        raise ValueError("it is no archive")
    file = np.load(path, allow_pickle=False)
    entries = file.zip.infolist()
    if sum(entry.file_size for entry in entries) > 4 * path.stat().st_size:
        raise ValueError("it unpacks to many times its size")
    if file.zip.getinfo("header.npy").file_size > _HEADER:
        raise ValueError("its header is too long")
    return file


def _check_header(path: Path, header: Mapping[str, Any], sizes: PreySizes) -> None:
    """Raise _NotOurs unless a file, by its header, holds prey of these sizes."""
    if header.get("format") != FORMAT:
        raise _NotOurs(f"{path} has format {header.get('format')!r}, not {FORMAT!r}")
    stated, shapes = header["sizes"], header["shapes"]
    wanted = sizes._asdict()
    if any(stated.get(name) != value for name, value in wanted.items() if name != "half_width"):
        raise _NotOurs(f"{path} holds prey for {_told(stated)}, but the task has {_told(wanted)}")
    hidden = shapes["bias_0"][-1] if "bias_0" in shapes else 0
    wanted_shapes = _shapes(sizes, hidden)
    if wanted_shapes != shapes:
        fault = next(
            f"{name} has shape {shapes.get(name)}, but should have {wanted_shapes.get(name)}"
            for name in sorted({*shapes, *wanted_shapes})
            if shapes.get(name) != wanted_shapes.get(name)
        )
        raise _NotOurs(f"{path} does not hold the {LAYERS} dense layers of a prey: {fault}")


def _check_entries(file: Any, shapes: Mapping[str, Any]) -> None:
    """Raise ValueError for arrays that are larger than the header says, before they are read."""
    for entry in file.zip.infolist():
        name = entry.filename.removesuffix(".npy")
        if name != "header" and entry.file_size > 8 * math.prod(shapes[name]) + 4096:
            raise ValueError(f"{name} is larger than its header states")


def digest(arrays: Mapping[str, NDArray]) -> str:
    """SHA-256 over names, types, shapes and little-endian contents, by ascending name."""
    sha = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        array = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        sha.update(f"{name} {array.dtype.str} {array.shape} ".encode())
        sha.update(array.tobytes())
    return sha.hexdigest()


def _shapes(sizes: PreySizes, hidden: int) -> dict[str, list[int]]:
    widths = (sizes.observation, hidden, hidden, 2)
    kernels = {f"kernel_{i}": [sizes.prey, *widths[i : i + 2]] for i in range(LAYERS)}
    return kernels | {f"bias_{i}": [sizes.prey, widths[i + 1]] for i in range(LAYERS)}


def _told(sizes: Mapping[str, Any]) -> str:
    return ", ".join(f"{sizes.get(name)} {name}" for name in ("predators", "prey", "landmarks"))
