"""A tiny run that was trained."""

import shutil
from pathlib import Path

import pytest
from stand_ins import train
from trained_cases import TINY

from purejax_mgtopo.config import Config, override
from purejax_mgtopo.trained.assess import Assessment, assess


@pytest.fixture(scope="session")
def trained_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    train(override(Config(), TINY), folder)
    return folder


@pytest.fixture(scope="module")
def run(trained_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two seeds, 4 and 5, which a file of tests may write into."""
    return shutil.copytree(trained_once, tmp_path_factory.mktemp("runs") / "tiny")


@pytest.fixture(scope="module")
def assessed(run: Path) -> Assessment:
    return assess(run, episodes=40, episode_seed=7)
