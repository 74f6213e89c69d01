"""Files of update rules: an eta that was learned once and is kept.

A rule file is an `.npz` without pickled objects. It holds the parameters of eta's network by their paths, and `header`,
JSON as bytes: how they came to be and what was measured, and the SHA-256 digest of the arrays.
"""

from __future__ import annotations

import functools
import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax_mpe.paths import expanded
from jax_mpe.prey import digest
from numpy.typing import NDArray

from purejax_mgtopo.algorithm.topology.edgewise.network import FEATURES, EdgeNetwork, no_memory
from purejax_mgtopo.algorithm.types import PyTree
from purejax_mgtopo.errors import ConfigError

FORMAT = "purejax_mgtopo rule 1"
SHIPPED = Path(__file__).with_name("universal.npz")
_HEADER, _SMALL = 2**20, 2**24  # bytes


def rule_bytes(eta: PyTree, story: Mapping[str, Any]) -> bytes:
    """A rule file's content; `story` is anything that JSON can hold."""
    arrays = _named(jax.tree.map(np.asarray, eta))
    header = {"format": FORMAT, "sha256": digest(arrays), **story}
    contents: dict[str, Any] = {
        **arrays,
        "header": np.frombuffer(json.dumps(header, indent=1).encode(), np.uint8),
    }
    file = io.BytesIO()
    np.savez(file, **contents)
    return file.getvalue()


def begun(file: str, fresh: PyTree) -> PyTree:
    """Parameters to begin with: those of a rule file, of the same shapes as `fresh`; `fresh` where none is named.

    Raises ConfigError as `read_rule` does.
    """
    return read_rule(file, fresh)[1] if file else fresh


def read_rule(path: str | Path, like: PyTree | None = None) -> tuple[dict[str, Any], PyTree]:
    """Header and parameters of a rule file.

    Args:
        path: of the file; may begin with ``~``.
        like: parameters of the network that is wanted, of which shapes alone count; by default an `EdgeNetwork`'s.

    Raises ConfigError, in one line, for a file that is missing, none of ours, or damaged.
    """
    shapes, structure = _edge_layout() if like is None else _layout(like)
    try:
        path = expanded(path)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    try:
        header, arrays = _contents(path, shapes)
    except FileNotFoundError:
        makers = "`mgtopo meta-train` and `mgtopo export --part eta` make them"
        raise ConfigError(f"there is no rule file {path}; {makers}") from None
    except Exception as error:  # the damage decides which
        why = " ".join(str(error).split()) or type(error).__name__
        raise ConfigError(f"{path} is not a rule file, or a damaged one ({why})") from None
    wrong = [
        name
        for name in sorted({*shapes, *arrays})
        if name not in arrays
        or (arrays[name].shape, arrays[name].dtype) != (shapes.get(name), np.float32)
    ]
    if wrong:
        raise ConfigError(f"{path} {_misfit(header, wrong[0])}")
    if digest(arrays) != header.get("sha256"):
        raise ConfigError(f"{path} is damaged: its arrays do not have the SHA-256 of its header")
    if not all(np.isfinite(array).all() for array in arrays.values()):
        raise ConfigError(f"{path} holds numbers that are not finite")
    return header, jax.tree.unflatten(structure, [arrays[name] for name in shapes])


def _misfit(header: Mapping[str, Any], name: str) -> str:
    """Why a file does not do, by what it says of itself and the first parameter that is another."""
    if "agents" not in header:
        return f"does not hold the network that is wanted here: see its {name}"
    found = ", ".join(f"{word} {header.get(word)}" for word in ("architecture", "agents", "hidden"))
    return (
        f"holds another network than is wanted here ({found}): see its {name}; a joint eta goes with one number of "
        "agents and of hidden units alone, and an eta for each edge with all"
    )


def _contents(
    path: Path, shapes: Mapping[str, tuple[int, ...]]
) -> tuple[dict[str, Any], dict[str, NDArray]]:
    """What a file holds, of which nothing is unpacked that is far larger than such a rule."""
    if path.exists() and not (path.is_file() and zipfile.is_zipfile(path)):
        raise ValueError("it is no archive")
    with np.load(path, allow_pickle=False) as file:
        most = max(8 * sum(int(np.prod(shape)) for shape in shapes.values()), _SMALL) + _HEADER
        if sum(entry.file_size for entry in file.zip.infolist()) > most:
            raise ValueError("it is too large")
        header = json.loads(file["header"].tobytes())
        if not isinstance(header, dict) or header.get("format") != FORMAT:
            raise ValueError(f"its header does not say {FORMAT!r}")
        return header, {name: file[name] for name in file.files if name != "header"}


def _named(tree: PyTree) -> dict[str, Any]:
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


@functools.cache
def _edge_layout() -> tuple[dict[str, tuple[int, ...]], Any]:
    x = jnp.zeros((1, 2, 2, FEATURES))
    return _layout(
        jax.eval_shape(EdgeNetwork().init, jax.random.key(0), x, jnp.zeros(1), no_memory())
    )


def _layout(parameters: PyTree) -> tuple[dict[str, tuple[int, ...]], Any]:
    """Shapes of parameters by name, and their tree."""
    named = _named(parameters)
    return {name: leaf.shape for name, leaf in named.items()}, jax.tree.structure(parameters)
