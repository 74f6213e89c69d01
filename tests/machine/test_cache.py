"""Compiled programs that were damaged on disk: nobody runs them, and nobody hears of them for ever."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from purejax_mgtopo.machine.cache import DIGESTS

PROGRAM = """
from purejax_mgtopo.machine.startup import use_cache
use_cache(True)
import jax, jax.numpy as jnp
print(float(jax.jit(lambda x: jnp.sin(x) @ jnp.cos(x))(jnp.ones(7))))
"""


def run(cache: Path, **more: str) -> tuple[str, str]:
    kept = {x: y for x, y in os.environ.items() if not x.startswith(("JAX_", "MGTOPO_"))}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        capture_output=True,
        text=True,
        timeout=200,
        env=kept
        | {
            "PYTHONPATH": os.pathsep.join(sys.path),
            "MGTOPO_CACHE_DIR": str(cache),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        }
        | more,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def entries(cache: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in cache.glob("*-cache")}


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize("damage", ["cut", "flip", "empty"])
@pytest.mark.parametrize("noted", [True, False])
def test_a_damaged_entry_is_made_anew_and_heard_of_at_most_once(
    damage: str, noted: bool, tmp_path: Path
) -> None:
    """Where its digest was not noted, as after a kill, JAX meets it, once."""
    expected, err = run(tmp_path)
    sound = entries(tmp_path)
    assert sound and err == "" and (tmp_path / DIGESTS).exists()
    for name, content in sound.items():
        middle = len(content) // 2
        (tmp_path / name).write_bytes(
            {
                "cut": content[:middle],
                "empty": b"",
                "flip": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
            }[damage]
        )
    if not noted:
        (tmp_path / DIGESTS).unlink()
        if damage == "flip":
            pytest.skip("what was never noted cannot be judged")
    out, err = run(tmp_path)
    assert out == expected
    assert err == "" if noted else "is damaged: it is compiled anew" in err
    again = run(tmp_path)
    assert again == (expected, "")
    assert entries(tmp_path).keys() == sound.keys()


def test_a_cache_that_cannot_be_written_is_lived_with(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    out, _ = run(tmp_path / "file" / "cache")
    assert out == run(tmp_path / "sound")[0]


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("content", ["", "[1]", '{"x-cache": 3}'])
def test_a_damaged_list_of_digests_costs_nothing(content: str, tmp_path: Path) -> None:
    run(tmp_path)
    (tmp_path / DIGESTS).write_text(content)
    assert run(tmp_path)[1] == ""
