"""Modes of JAX that a user may have set: they work, or one line refuses them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import pytest
from synthetic_runs import write_run

from purejax_mgtopo.cli import main as cli
from purejax_mgtopo.errors import ConfigError
from purejax_mgtopo.machine import startup
from purejax_mgtopo.report import analyses
from purejax_mgtopo.trained.assess import assess
from purejax_mgtopo.trained.policy import load_policy

MODES = [("jax_numpy_rank_promotion", "raise"), ("jax_numpy_dtype_promotion", "strict")]


@pytest.fixture(params=MODES, ids=[name for name, _ in MODES])
def refusal(request: pytest.FixtureRequest) -> Iterator[str]:
    """How the refusal begins of a mode that holds meanwhile."""
    name, value = request.param
    before = getattr(jax.config, name)
    jax.config.update(name, value)
    try:
        yield f"{name.upper()}={value} forbids"
    finally:
        jax.config.update(name, before)


def test_a_single_episode_has_no_spread_and_no_nan_on_the_device(run: Path) -> None:
    with jax.debug_nans(True):
        found = assess(run, [4], episodes=1, channels=())
    assert np.isnan(found.outcome.standard_error).all()
    assert np.isfinite(found.outcome.episodic_return).all()


@pytest.mark.parametrize(
    "words", ["watch --expert push_N3", "bench --parts environments --seconds 0.1"]
)
def test_commands_that_start_jax_refuse_what_they_cannot_do(
    words: str, refusal: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(words.split()) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith(f"mgtopo: error: {refusal}") and shown.err.count("\n") == 1
    assert shown.out == "" and not list(tmp_path.iterdir())


@pytest.fixture
def drawing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Words that ask for advantages of a run; nothing looks for a compiled program."""
    monkeypatch.setattr(startup, "use_cache", lambda on: None)
    write_run(tmp_path / "run", "toy_follow_holder", "meta", seeds=2)
    return ["figures", str(tmp_path / "run"), "--advantages", "1", "--out", str(tmp_path / "out")]


def test_advantages_are_refused_before_anything_is_drawn(
    refusal: str, drawing: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(drawing) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith(f"mgtopo: error: {refusal}") and shown.err.count("\n") == 1
    assert shown.out == "" and not (tmp_path / "out").exists()


def test_advantages_end_with_what_was_in_the_way(
    drawing: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run whose rule judges every edge, and that cannot be drawn, is not told that its rule does not."""

    def fails(*_: object) -> None:
        raise ConfigError("the task has agents 0 to 2, no 9")

    monkeypatch.setattr(analyses, "judge_run", fails)
    assert cli.main(drawing) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == "mgtopo: error: no advantages are drawn: the task has agents 0 to 2, no 9"
    monkeypatch.setattr(analyses, "judge_run", lambda *_: None)
    assert cli.main(drawing) == 1
    assert "of a rule that judges every edge" in capsys.readouterr().err


def test_an_exported_policy_is_refused_before_it_is_read(refusal: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=refusal):
        load_policy(tmp_path / "nothing.npz")
