"""A leading ``~`` is a home folder wherever a path is taken, and nobody's home is refused in one line."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import pytest
from jax_mpe.prey import PreySizes, prey_policy, read

from purejax_mgtopo.algorithm.algorithm import Algorithm
from purejax_mgtopo.algorithm.topology.edgewise.weights import begun, read_rule
from purejax_mgtopo.analysis.verdicts import read_verdicts, write_verdicts
from purejax_mgtopo.cli import main as cli
from purejax_mgtopo.config import Config, override
from purejax_mgtopo.errors import ConfigError, RunError
from purejax_mgtopo.machine import startup
from purejax_mgtopo.machine.paths import expanded
from purejax_mgtopo.prey.command import prey_command
from purejax_mgtopo.prey.settings import PreySettings
from purejax_mgtopo.records.record import find_runs
from purejax_mgtopo.trained.table import read_table
from purejax_mgtopo.universal import training

SIZES = PreySizes(3, 1, 3, 1.0)


def frozen(file: str) -> Any:
    settings = {"topology": "universal", "member.universal.file": file, "task": "toy_public"}
    return Algorithm(override(Config(), settings).experiment).team.rule.eta


READERS: dict[str, Callable[[str], Any]] = {
    "rule": lambda path: read_rule(path),
    "first eta": lambda path: begun(path, None),
    "frozen rule": frozen,
    "rule to go on from": lambda path: training._start(path),
    "prey": lambda path: prey_policy(f"{path}.npz", SIZES),
    "prey file": lambda path: read(Path(path), SIZES),
    "table": lambda path: read_table(Path(path)),
    "runs": lambda path: find_runs([Path(path)]),
    "new prey": lambda path: prey_command(PreySettings(), Path(path)),
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    found = tmp_path / "home"
    found.mkdir()
    monkeypatch.setenv("HOME", str(found))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return found


@pytest.mark.parametrize("reader", READERS)
def test_every_reader_looks_at_home(reader: str, home: Path) -> None:
    with pytest.raises((ValueError, RunError), match=str(home / "x")):
        READERS[reader]("~/x")


@pytest.mark.parametrize("reader", READERS)
def test_the_home_of_nobody_is_one_line(reader: str, home: Path) -> None:
    with pytest.raises(ValueError, match="there is no home folder ~no-such-user here") as error:
        READERS[reader]("~no-such-user/x")
    assert "\n" not in str(error.value)


def test_the_command_says_so(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["verify", "~no-such-user/x"]) == 2
    assert capsys.readouterr().err == (
        "mgtopo: error: ~no-such-user/x: there is no home folder ~no-such-user here; write the path out\n"
    )
    with pytest.raises(ConfigError, match="~no-such-user"):
        expanded("~no-such-user")


def test_verdicts_are_written_and_read_at_home(home: Path) -> None:
    assert write_verdicts([], Path("~/new/v.json")) == home / "new" / "v.json"
    (home / "sweep.json").write_text("no sweep")
    said: list[str] = []
    assert read_verdicts([Path("~")], said.append) == [] and str(home) in said[0]
    assert not os.listdir()


def test_compiled_programs_are_kept_at_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "~/cache")
    monkeypatch.setattr(startup, "tend", lambda folder: None)
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", "~/cache")
    try:
        startup.use_cache(True)
        assert jax.config.jax_compilation_cache_dir == str(home / "cache")
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
    assert os.environ["JAX_COMPILATION_CACHE_DIR"] == str(home / "cache")
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "gs://bucket/cache")
    startup.use_cache(True)
    assert os.environ["JAX_COMPILATION_CACHE_DIR"] == "gs://bucket/cache"
