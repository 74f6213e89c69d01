"""Late answers to saves that were given up are not printed; all other errors are."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from purejax_mgtopo.checkpoints import quiet


def test_only_late_answers_are_kept_back(monkeypatch: pytest.MonkeyPatch) -> None:
    printed = []
    monkeypatch.setattr(sys, "unraisablehook", lambda told: printed.append(str(told.exc_value)))
    monkeypatch.setattr(quiet, "_print", None)
    quiet.silence_orbax()
    quiet.silence_orbax()  # does not call itself for ever
    for error in (
        RuntimeError("Event loop is closed"),
        RuntimeError("Event loop is running"),
        ValueError("Event loop is closed"),
    ):
        sys.unraisablehook(SimpleNamespace(exc_value=error))
    assert printed == ["Event loop is running", "Event loop is closed"]
