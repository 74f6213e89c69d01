"""Pictures are written at home where their path begins with ``~``."""

from __future__ import annotations

import os
from pathlib import Path

import jax_mpe.__main__ as command
import numpy as np
import pytest
from jax_mpe.prey import LAYERS, PreySizes, write
from jax_mpe.viewer import save_picture
from matplotlib.figure import Figure
from viewer_cases import make, record


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "home"


def test_a_state_is_rendered_and_animated_at_home(home):
    task = make("push_N3")
    recording = record(task, moments=2)
    task.render(recording.states[0], "~/x.png")
    task.animate(recording.states, 50, "~/x.gif")
    assert sorted(os.listdir(home)) == ["x.gif", "x.png"] and not os.listdir()


def test_the_command_writes_at_home_and_refuses_the_home_of_nobody(home, monkeypatch, capsys):
    monkeypatch.setattr(command, "draw", lambda task, recording: Figure())
    monkeypatch.setattr(command, "animate", lambda task, recording: None)
    monkeypatch.setattr(command, "save_animation", lambda animation, path: path)
    assert command.main(["push_N3", "--out=~/x"]) == 0
    assert os.listdir(home / "x") == ["push_N3.png"] and not os.listdir()
    capsys.readouterr()
    assert command.main(["push_N3", "--out=~no-such-user/x"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "there is no home folder ~no-such-user here" in line
    with pytest.raises(ValueError, match="~no-such-user"):
        save_picture(Figure(), "~no-such-user/x.png")


def test_a_prey_file_is_written_at_home(home):
    arrays = {f"kernel_{i}": np.zeros((1, 1), np.float32) for i in range(LAYERS)}
    write(Path("~/new/prey.npz"), PreySizes(3, 1, 3, 1.0), arrays, {})
    assert os.listdir(home / "new") == ["prey.npz"] and not os.listdir()
