"""Modes of JAX that look for faults: training works in them, or says in one line that it does not."""

from __future__ import annotations

from pathlib import Path

import pytest
from resume_cases import environment, finished, flags, mgtopo, tiny


@pytest.mark.parametrize("method", ["none", pytest.param("meta", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("mode", "code"),
    [
        ("JAX_DEBUG_NANS=1", 0),
        ("JAX_NUMPY_RANK_PROMOTION=raise", 2),
        ("JAX_NUMPY_DTYPE_PROMOTION=strict", 2),
        ("JAX_ENABLE_X64=1", 2),
        ("JAX_DISABLE_JIT=1", 2),
    ],
)
def test_strict_modes_of_jax_work_or_are_refused(
    tmp_path: Path, method: str, mode: str, code: int
) -> None:
    name, _, value = mode.partition("=")
    words = flags(tiny(method, episodes=4))
    process = mgtopo("train", "--out", tmp_path / "a", *words, env=environment(**{name: value}))
    found, _, err = finished(process)
    assert found == code, err
    if code:
        (line,) = err.splitlines()
        assert line.startswith(f"mgtopo: error: {mode} ") and line.endswith(
            ("; unset it", "; unset it (JAX_DEBUG_NANS=1 works)")
        )
        assert not (tmp_path / "a").exists()
