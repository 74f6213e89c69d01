"""What tests of checkpoints share: where one lies, what is in it, and ways to damage it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tensorstore as ts

from purejax_mgtopo.algorithm.types import Clock
from purejax_mgtopo.checkpoints import stored
from purejax_mgtopo.checkpoints.checkpoints import Checkpoints
from purejax_mgtopo.checkpoints.stored import (
    files_note,
    sealed,
)
from purejax_mgtopo.population.population import Population, PopulationState

METHOD = "none+commnet"


def wave(run: Path) -> Path:
    return run / "checkpoints" / "wave_0"


def opened(
    run: Path, population: Population, said: list[str] | None = None, keep: int = 2
) -> Checkpoints:
    say = (lambda line: None) if said is None else said.append
    return Checkpoints(wave(run), population, population.waves[0], keep=keep, say=say)


def at(population: Population, state: PopulationState, episode: int) -> PopulationState:
    """The same state, said to be that after `episode`."""
    clock = Clock(episode=np.int32(episode), stored=np.int32(episode))
    return dataclasses.replace(state, clock=population._everywhere(clock))


def words(state: PopulationState) -> list[tuple[str, bytes]]:
    def plain(x: Any) -> Any:
        return jax.random.key_data(x) if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key) else x

    leaves = jax.tree_util.tree_leaves_with_path(state)
    return [(f"{p} {x.dtype} {x.shape}", np.asarray(plain(x)).tobytes()) for p, x in leaves]


def files(run: Path, episode: int = 12) -> list[Path]:
    """All of one checkpoint, the note beside it included."""
    inside = [path for path in (wave(run) / str(episode)).rglob("*") if path.is_file()]
    return [*sorted(inside), files_note(wave(run) / str(episode))]


def flip(path: Path, rng: np.random.Generator) -> None:
    content = bytearray(path.read_bytes())
    content[rng.integers(len(content))] ^= 1 << rng.integers(8)
    path.write_bytes(content)


def _array(run: Path, name: str, **spec: Any) -> Any:
    """Write access to one array of the checkpoint of episode 12, whose note is dropped."""
    files_note(wave(run) / "12").unlink(missing_ok=True)
    with stored._kvstore(wave(run) / "12") as kvstore:
        place = kvstore | {"path": f"{name}/"}
        return ts.open({"driver": "zarr", "kvstore": place}, **spec).result()


def change_a_value(run: Path, name: str) -> None:
    array = _array(run, name, open=True)
    first = (0,) * array.rank
    array[first].write(array[first].read().result() + 1).result()


def change_its_digest(run: Path, name: str) -> None:
    change_a_value(run, stored.DIGEST + name)


def change_its_type(run: Path, name: str) -> None:
    old = _array(run, name, open=True).read().result()
    spec = {"create": True, "delete_existing": True, "dtype": "float64", "shape": old.shape}
    _array(run, name, **spec).write(old.astype(np.float64)).result()


def change_its_shape(run: Path, name: str) -> None:
    old = _array(run, name, open=True).read().result()
    spec = {"create": True, "delete_existing": True, "dtype": old.dtype.name}
    _array(run, name, **spec, shape=(2 * len(old), *old.shape[1:])).write(
        np.concatenate([old, old])
    ).result()


def drop_it(run: Path, name: str) -> None:
    files_note(wave(run) / "12").unlink(missing_ok=True)
    with stored._kvstore(wave(run) / "12") as kvstore:
        store = ts.KvStore.open(kvstore).result()
        store.delete_range(ts.KvStore.KeyRange(f"{name}/", f"{name}0")).result()


def add_another(run: Path, name: str) -> None:
    _array(run, "lanes.intruder", create=True, dtype="float32", shape=(3,)).write(0.0).result()


def rewrite_meta(run: Path, episode: int, **changes: Any) -> None:
    path = wave(run) / str(episode) / "meta" / "metadata"
    document = json.loads(path.read_text())
    document.pop("sha256")
    path.write_text(json.dumps(sealed(document | changes)))
    files_note(wave(run) / str(episode)).unlink(missing_ok=True)


def without(run: Path, episode: int, name: str) -> None:
    path = wave(run) / str(episode) / "meta" / "metadata"
    document = json.loads(path.read_text())
    del document["sha256"], document[name]
    path.write_text(json.dumps(sealed(document)))
    files_note(wave(run) / str(episode)).unlink(missing_ok=True)


def restored_by(run: Path, population: Population, said: list[str]) -> Any:
    store = opened(run, population, said)
    try:
        return store.restore()
    finally:
        store.close()
