"""`mgtopo watch`: from a trained run's folder to pictures, and what it refuses."""

from __future__ import annotations

import os
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from purejax_mgtopo.algorithm.types import Mode
from purejax_mgtopo.cli import main as cli
from purejax_mgtopo.trained import watch
from purejax_mgtopo.trained.load import load_trained
from purejax_mgtopo.trained.play import play_episode


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> list:
    """What is handed to the viewer."""
    seen: list = []
    original = watch.Recording
    monkeypatch.setattr(watch, "Recording", lambda *a: seen.append(original(*a)) or seen[-1])
    return seen


def test_writes_a_picture_and_an_animation_into_the_run(run, capsys) -> None:
    assert cli.main(["watch", str(run)]) == 0
    names = ["seed4_episode0.png", "seed4_episode0.gif"]
    shown = capsys.readouterr().out.split()
    assert [Path(word) for word in shown[1::2]] == [run / "figures" / name for name in names]
    assert Image.open(shown[1]).format == "PNG"
    assert Image.open(shown[3]).n_frames == 26


@pytest.mark.slow
def test_the_files_can_be_named(run, tmp_path) -> None:
    assert cli.main(["watch", str(run), "--out", str(tmp_path), "--name", "navigation"]) == 0
    assert sorted(os.listdir(tmp_path)) == ["navigation.gif", "navigation.png"]


def test_draws_what_the_named_seeds_networks_do(run, tmp_path, recorded) -> None:
    words = ["--seed", "5", "--greedy", "--episode-seed", "7", "--out", str(tmp_path / "new")]
    assert cli.main(["watch", str(run), *words]) == 0
    assert sorted(os.listdir(tmp_path / "new")) == [
        "seed5_episode7_greedy.gif",
        "seed5_episode7_greedy.png",
    ]
    trained = load_trained(run)
    networks = jax.tree.map(lambda leaf: leaf[1], trained.networks)
    expected = play_episode(trained.algorithm, networks, 7, Mode.EVAL_GREEDY)
    (drawn,) = recorded
    np.testing.assert_array_equal(drawn.edges, expected.masks)
    np.testing.assert_allclose(drawn.rewards, expected.rewards, rtol=1e-5)
    np.testing.assert_allclose(drawn.states.agent_position, expected.states.agent_position)
    assert drawn.title == "navigation_N3_l3, reinforce, seed 5"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["RUN", "--seed", "9"], 2, "seed 9"),
        (["RUN", "--episode-seed", "-1"], 2, "episode"),
        (["RUN", "--out", "RUN/config.json/x"], 1, "cannot write"),
        (["TMP"], 1, "not a run"),
        ([], 2, ""),
    ],
)
def test_bad_input_is_one_line(run, tmp_path, capsys, words, code, said) -> None:
    words = [word.replace("RUN", str(run)).replace("TMP", str(tmp_path)) for word in words]
    assert cli.main(["watch", *words]) == code
    shown = capsys.readouterr()
    (line,) = shown.err.splitlines()
    assert said in line and shown.out == ""


def test_a_diverged_seed_is_named(run, tmp_path, capsys, monkeypatch) -> None:
    def poisoned(*args):
        trained = load_trained(*args)
        poison = jax.tree.map(lambda leaf: leaf * np.nan, trained.networks.learner.policy)
        learner = trained.networks.learner.replace(policy=poison)
        object.__setattr__(trained, "networks", trained.networks.replace(learner=learner))
        return trained

    monkeypatch.setattr(watch, "load_trained", poisoned)
    assert cli.main(["watch", str(run), "--out", str(tmp_path)]) == 1
    assert "seed 4" in capsys.readouterr().err and os.listdir(tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".png", pytest.param(".gif", marks=pytest.mark.slow)])
def test_files_of_somebody_else_are_left_alone(run, tmp_path, capsys, suffix: str) -> None:
    target = tmp_path / f"mine{suffix}"
    target.write_bytes(b"mine")
    assert cli.main(["watch", str(run), "--out", str(tmp_path), "--name", "mine"]) == 1
    assert "holds something else already" in capsys.readouterr().err
    assert target.read_bytes() == b"mine" and list(tmp_path.iterdir()) == [target]
    target.unlink()
    for _ in range(2):  # the second time over our own
        assert cli.main(["watch", str(run), "--out", str(tmp_path), "--name", "mine"]) == 0
