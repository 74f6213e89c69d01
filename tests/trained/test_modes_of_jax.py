"""Modes of JAX that a user may have set: they work, or one line refuses them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import pytest

from purejax_mgtopo.cli import main as cli
from purejax_mgtopo.errors import ConfigError
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


def test_an_exported_policy_is_refused_before_it_is_read(refusal: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=refusal):
        load_policy(tmp_path / "nothing.npz")
