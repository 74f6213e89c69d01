"""The command with a fake program behind it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_population import FakePopulation, FakeStore
from stand_ins import stand_ins

from purejax_mgtopo.cli import running

RECIPE = """
question = "Which?"
tasks = ["toy_public"]
methods = ["none", "meta"]
seeds = 3
[config]
episodes = 40
chunk_episodes = 10
evaluation.every = 20
"""


@pytest.fixture
def no_jax(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The program is a fake, and no task is looked up: these tests are about the command."""
    monkeypatch.setattr(running, "check_tasks", lambda configs: None)
    for name in ("JAX_COMPILATION_CACHE_DIR", "JAX_ENABLE_COMPILATION_CACHE"):
        monkeypatch.setenv(name, "")  # registered, so that what a command sets is undone
        monkeypatch.delenv(name)
    with stand_ins(population=FakePopulation, store=FakeStore({})):
        yield


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    folder = tmp_path / "runs" / "study"
    folder.mkdir(parents=True)
    (folder / "recipe.toml").write_text(RECIPE)
    return folder
