"""Digests: the same on a device and in NumPy, and blind to no change of a word."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray

from purejax_mgtopo.checkpoints import digests
from purejax_mgtopo.checkpoints.digests import digest_array, digest_arrays, digest_files

RNG = np.random.default_rng(0)
KINDS = ("bool", "uint8", "int8", "uint16", "float16", "bfloat16", "int32", "uint32", "float32")


def some(kind: str, shape: tuple[int, ...]) -> NDArray:
    dtype = np.dtype(getattr(ml_dtypes, kind, kind))
    if kind == "bool":
        return RNG.random(shape) < 0.5
    return np.frombuffer(RNG.bytes(int(np.prod(shape)) * dtype.itemsize), dtype).reshape(shape)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(), (1,), (3,), (3, 5), (2, 3, 4)])
def test_device_and_numpy_agree(kind: str, shape: tuple[int, ...]) -> None:
    """On any bits, NaN with a payload among them."""
    array = some(kind, shape)
    on_device = np.asarray(digest_arrays({"x": jnp.asarray(array)})["x"])
    np.testing.assert_array_equal(on_device, digest_array(array))
    assert on_device.shape == (shape[0] if shape else 1, 2)


def test_equals_the_sums_by_hand() -> None:
    """In Python's integers: the finaliser of MurmurHash3, over each word mixed with its place."""

    def mix(x: int) -> int:
        x = (x ^ x >> 16) * 0x85EBCA6B % 2**32
        x = (x ^ x >> 13) * 0xC2B2AE35 % 2**32
        return x ^ x >> 16

    words = [0, 1, 0xFFFFFFFF, 0x3F800000]
    expected = [
        sum(mix(word ^ mix((place + salt) % 2**32)) for place, word in enumerate(words)) % 2**32
        for salt in (0x9E3779B9, 0x7F4A7C15)
    ]
    assert digest_array(np.array([words], np.uint32)).tolist() == [expected]


def test_every_single_bit_counts() -> None:
    array = some("float32", (1, 40))
    digest = digest_array(array)
    for bit in range(40 * 32):
        raw = bytearray(array.tobytes())
        raw[bit // 8] ^= 1 << bit % 8
        changed = np.frombuffer(bytes(raw), np.float32).reshape(array.shape)
        assert (digest_array(changed) != digest).all(), bit


def test_order_and_sign_of_zero_count() -> None:
    array = np.array([[0.0, 1.0, 2.0]], np.float32)
    digest = digest_array(array).tolist()
    assert digest_array(array[:, ::-1]).tolist() != digest
    assert digest_array(np.array([[-0.0, 1.0, 2.0]], np.float32)).tolist() != digest


def test_each_lane_has_its_own() -> None:
    array = some("float32", (4, 6))
    digests = digest_array(array)
    np.testing.assert_array_equal(digest_array(array[2:3]), digests[2:3])
    changed = array.copy()
    changed[1] += 1
    assert [(a != b).any() for a, b in zip(digest_array(changed), digests, strict=True)] == [
        False,
        True,
        False,
        False,
    ]


@pytest.mark.parametrize("little", [0, 2**20])
@pytest.mark.parametrize("spec", [("seed",), ()])
def test_sharding_does_not_change_it_nor_whether_it_is_little(spec, little, monkeypatch) -> None:
    """NumPy digests what is little, a program the rest; either lies beside the lanes."""
    monkeypatch.setattr(digests, "LITTLE", little)
    array = some("float32", (4, 6))
    mesh = jax.make_mesh((2,), ("seed",), axis_types=(jax.sharding.AxisType.Auto,))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*spec))
    placed = {"x": jax.device_put(array, sharding)}
    if not spec:  # a scalar lies everywhere
        placed["y"] = jax.device_put(np.int32(7), sharding)
    found = digest_arrays(placed)
    np.testing.assert_array_equal(found["x"], digest_array(array))
    for name, each in placed.items():
        np.testing.assert_array_equal(found[name], digest_array(np.asarray(each)))
        assert found[name].dtype == np.uint32
        assert found[name].sharding.is_equivalent_to(sharding, 2)


def test_files_by_relative_path(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "x").write_bytes(b"abc")
    (tmp_path / "a").write_bytes(b"")
    assert digest_files(tmp_path) == {
        "a": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "b/x": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    }
