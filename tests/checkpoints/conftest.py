"""A finished run of a small team, and copies of it to be damaged; each program is compiled once for all files."""

import shutil
from pathlib import Path

import pytest
from checkpoint_cases import METHOD
from resume_cases import Notes, tiny
from stand_ins import train

from purejax_mgtopo.population.population import Population


@pytest.fixture(scope="session")
def population() -> Population:
    return Population(tiny(METHOD))


@pytest.fixture(scope="session")
def silent_population() -> Population:
    """Without gates: the smallest that has everything."""
    return Population(tiny("none"))


@pytest.fixture(scope="session")
def finished_run(population: Population, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "run"
    train(population.config, folder, reporter=Notes(), population=lambda config: population)
    return folder


@pytest.fixture
def run(finished_run: Path, tmp_path: Path) -> Path:
    """A copy to be damaged."""
    shutil.copytree(finished_run, tmp_path / "run")
    return tmp_path / "run"
