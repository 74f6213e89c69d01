"""No mirror's settings from outside."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from purejax_mgtopo.mirror.wandb_run import ENVIRONMENT, PLACES


@pytest.fixture
def no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    names = ("WANDB_MODE", "WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE")
    for name in (*names, *ENVIRONMENT, *PLACES):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "no netrc"))
    if (
        "wandb" in sys.modules
    ):  # it reads its environment once, and another test may have made it do so
        sys.modules["wandb"].teardown()
