"""A recipe whose lifetimes are numbers."""

from __future__ import annotations

from pathlib import Path

import pytest
from lessons import TEXT, groups

from purejax_mgtopo.universal import training


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe that takes no teams."""
    monkeypatch.setattr(training, "_groups", groups)
    path = tmp_path / "meta_train.toml"
    path.write_text(TEXT)
    return path
