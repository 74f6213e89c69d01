"""The package as a wheel installs it: recipes, prey and plug-ins, without a clone in sight."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from outside import FLAGS, MODULE

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which the wheel was installed, without the packages that it needs."""
    home = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "-w", home, ROOT], check=True, timeout=300)
    (wheel,) = home.glob("*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", home / "site", wheel], check=True)
    return home


def mgtopo(home: Path, folder: Path, *words: object) -> str:
    environment = os.environ | {
        "PYTHONPATH": str(home / "site"),
        "XLA_FLAGS": "--xla_backend_optimization_level=0",
    }
    done = subprocess.run(
        [sys.executable, "-m", "purejax_mgtopo", *map(str, words)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_sources_hold_what_their_tests_read_of_the_one_rule() -> None:
    """Recipes of meta-training and of the protocol, and the trials that were published."""
    document = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    included = document["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    home = ROOT / "runs" / "universal"
    needed = [*home.glob("*.toml"), *home.glob("*.json")]
    assert {"meta_train.toml", "protocol.toml", "trial_N6.json"} <= {path.name for path in needed}
    for path in needed:
        assert any(path.relative_to(ROOT).match(pattern) for pattern in included), path


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_recipes_prey_and_plugins_are_there(home: Path, tmp_path: Path) -> None:
    (tmp_path / "my_module.py").write_text(MODULE)
    look = "import purejax_mgtopo, jax_mpe; print(purejax_mgtopo.__file__); jax_mpe.make('predator_prey_N3_l3')"
    done = subprocess.run(
        [sys.executable, "-c", look],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(home / "site")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert str(home) in done.stdout
    tiny = [
        "--set",
        "learner.hidden=4",
        "--set",
        "learner.batch_size=4",
        "--set",
        "chunk_episodes=10",
    ]
    tiny += [
        "--set",
        "evaluation.every=10",
        "--set",
        "evaluation.episodes=2",
        "--set",
        "evaluation.final_episodes=4",
        "--wandb",
        "off",
    ]
    shown = mgtopo(
        home,
        tmp_path,
        "sweep",
        "quickstart",
        "--methods",
        "none",
        "--seeds",
        2,
        "--episodes",
        10,
        *tiny,
    )
    assert "toy_crossed_goals" in shown
    assert (tmp_path / "results/quickstart/toy_crossed_goals/none/metrics.parquet").is_file()
    run = tmp_path / "run"
    mgtopo(home, tmp_path, "train", "--import", "my_module", *FLAGS, "--out", run)
    # From here on the run's folder tells where the plug-ins are.
    mgtopo(home, tmp_path, "resume", run, "--episodes", 6)
    assert "meet" in mgtopo(home, tmp_path, "evaluate", run, "--episodes", 2)
    mgtopo(home, tmp_path, "export", run, "--seed", 1)
    mgtopo(home, tmp_path, "report", run)
    mgtopo(home, tmp_path, "watch", run)
    told = json.loads((run / "config.json").read_text())
    assert told["plugins"]["messages"] == {"whisper": "my_module:Whisper"}
    assert told["settings"]["episodes"] == 6
