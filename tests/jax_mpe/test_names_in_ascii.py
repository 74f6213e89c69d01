"""In the locale C, names of files come as stray bytes, and a terminal shows no other letters than ASCII's."""

from __future__ import annotations

import io
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax_mpe
import pytest
from jax_mpe.__main__ import main as draw_task
from jax_mpe.experts.__main__ import main as measure
from jax_mpe.paths import written_out

from purejax_mgtopo.machine.paths import written_out as path_written_out
from purejax_mgtopo.universal.trial import main as try_rule

STRAY = "pr\udcc3\udca9y"
"""How Python reads the name ``préy`` there."""


@pytest.fixture
def task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    shipped = Path(str(jax_mpe.__file__)).parent / "prey" / "N3_M1.npz"
    shutil.copy(shipped, f"{STRAY}.npz")
    assert os.listdir(b".") == ["préy.npz".encode()]
    return f"predator_prey_N3_l3@{STRAY}.npz"


@pytest.mark.parametrize("errors", ["strict", "surrogateescape"])
@pytest.mark.parametrize("name", ["measured", "refused", "drawn", "tried"])
def test_no_command_fails_for_a_name_that_cannot_be_shown(
    name: str, errors: str, task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: dict[str, io.BytesIO] = {"stdout": io.BytesIO(), "stderr": io.BytesIO()}
    for stream, content in said.items():
        shown = io.TextIOWrapper(content, encoding="ascii", errors=errors, write_through=True)
        monkeypatch.setattr(sys, stream, shown)
    acts: dict[str, tuple[Callable[[Any], int], list[str], str, int]] = {
        "measured": (measure, [task, "--episodes", "2"], "stdout", 0),
        "refused": (measure, ["predator_prey_N3_l3@é.npz"], "stderr", 2),
        "drawn": (draw_task, [task, "--out", "é"], "stdout", 0),
        "tried": (try_rule, ["é", "é"], "stderr", 1),
    }
    act, words, stream, code = acts[name]
    assert act(words) == code
    assert b"\\x" in said[stream].getvalue() or b"\\udcc3" in said[stream].getvalue()


def test_what_was_not_understood_is_written_as_it_is_meant() -> None:
    assert written_out(f"{STRAY} and é") == "préy and é"
    assert written_out("\udcff") == "\\xff" and written_out("é") == "é"
    assert path_written_out(Path(f"a/{STRAY}")) == "a/préy" and path_written_out(Path("é")) == "é"
