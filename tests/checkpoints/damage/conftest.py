"""A run without gates: the smallest that has everything."""

from pathlib import Path

import pytest
from resume_cases import Notes
from stand_ins import train

from purejax_mgtopo.population.population import Population


@pytest.fixture(scope="session")
def silent_run(silent_population: Population, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained without a stop."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    config = silent_population.config
    train(config, folder, reporter=Notes(), population=lambda config: silent_population)
    return folder
