"""Animations, files, the command, and what they refuse."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax_mpe.__main__ as command
import numpy as np
import pytest
from jax_mpe import Scenario
from jax_mpe.viewer import Recording, animate, draw, save_animation, save_picture
from jumanji.environments import Cleaner
from matplotlib.figure import Figure
from PIL import Image
from viewer_cases import circles, make, record


def test_moments_leave_nothing_behind():
    """An animation's figure holds the same artists after any number of frames."""
    task = make("push_N3")
    recording = record(task)
    animation = animate(task, recording)
    axes = animation._fig.axes[0]
    animation._func(2)
    before = len(axes.get_children())
    for moment in (0, 1, 3, 2):
        animation._func(moment)
    assert len(axes.get_children()) == before
    animation._draw_was_started = True  # else it warns that nobody looked at it


@pytest.mark.parametrize(("name", "frames"), [("push_N3", 6), ("toy_public", 5)])
def test_a_gif_has_a_frame_for_each_moment_and_rests_at_the_end(tmp_path, name, frames):
    task = make(name)
    recording = record(task, moments=6)
    path = save_animation(animate(task, recording, 100), tmp_path / "new" / "a.gif", 100)
    with Image.open(path) as image:
        assert image.n_frames == frames
        durations = []
        for k in range(frames):
            image.seek(k)
            durations.append(image.info["duration"])
    assert durations[:-1] == [100] * (frames - 1) and durations[-1] > 300
    assert os.listdir(path.parent) == ["a.gif"]


def test_jumanji_users_find_what_they_expect(tmp_path):
    task = make("navigation_N3_l3")
    recording = record(task)
    image = task.render(recording.states[0], str(tmp_path / "a.png"), edges=np.ones((3, 3)))
    assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[-1] == 4
    assert Image.open(tmp_path / "a.png").size[0] > image.shape[1]
    animation = task.animate(recording.states, 50, str(tmp_path / "a.gif"), edges=recording.edges)
    assert type(animation).__name__ == "FuncAnimation"
    assert Image.open(tmp_path / "a.gif").n_frames == 4
    task.close()
    # A stacked state, as from `jax.lax.scan`, makes the same animation.
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *[
        state.replace(key=np.zeros(2)) for state in recording.states
    ])  # fmt: skip
    one, other = (draw(task, Recording(states), 1) for states in (recording.states, stacked))
    np.testing.assert_array_equal(
        [c.center for c in circles(one)], [c.center for c in circles(other)]
    )


@pytest.mark.parametrize("method", ["render", "animate"])
def test_what_jumanjis_own_tasks_take_ours_take_alike(method):
    """By the same names, in the same order, by place or by name, and left out where it may be."""
    ours, theirs = (
        list(inspect.signature(getattr(task, method)).parameters.values())
        for task in (Scenario, Cleaner)
    )
    for mine, its in zip(ours, theirs, strict=False):
        assert (mine.name, mine.kind, mine.default) == (its.name, its.kind, its.default)
    assert len(ours) > len(theirs)
    save_path = inspect.signature(getattr(Scenario, method)).parameters["save_path"]
    assert save_path.kind is save_path.POSITIONAL_OR_KEYWORD


def test_what_does_not_fit_is_refused_in_one_line(tmp_path, monkeypatch):
    task = make("navigation_N3_l3")
    recording = record(task)
    states = recording.states
    for wrong in (
        Recording([]),
        Recording(states, edges=np.zeros((3, 2, 2))),
        Recording(states, edges=np.zeros((7, 3, 3))),
        Recording(states, edges=np.zeros((3, 3))),
        Recording(states, rewards=np.zeros(2)),
        Recording(states, rewards=1.0),
        Recording(states[0].replace(step_count=np.zeros((2, 3)))),
        Recording([states[0].replace(agent_position=np.full((3, 2), np.nan))]),
    ):
        with pytest.raises(ValueError, match="^[^\n]+$"):
            draw(task, wrong)
    with pytest.raises(IndexError):
        draw(task, recording, 4)
    animation = animate(task, recording)
    with pytest.raises(ValueError, match="gif or .mp4"):
        save_animation(animation, tmp_path / "a.avi")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match="ffmpeg"):
        save_animation(animation, tmp_path / "a.mp4")
    assert os.listdir(tmp_path) == []
    animation._draw_was_started = True


def test_an_interrupted_write_leaves_the_older_file(tmp_path):
    target = tmp_path / "a.png"
    target.write_bytes(b"older")

    class FullDisk(Figure):
        def savefig(self, path, **_):
            path.write_bytes(b"torn")
            raise OSError("disk full")

    with pytest.raises(OSError, match="full"):
        save_picture(FullDisk(), target)
    assert target.read_bytes() == b"older" and os.listdir(tmp_path) == ["a.png"]


def test_importing_the_environments_does_not_import_the_viewer():
    """jumanji itself imports matplotlib; nothing is added to that, and no figure is made."""
    script = """
        import sys, jumanji, jumanji.wrappers
        before = {name for name in sys.modules if name.startswith(("matplotlib", "PIL"))}
        import jax_mpe
        after = {name for name in sys.modules if name.startswith(("matplotlib", "PIL"))}
        assert after == before, after - before
        assert "jax_mpe.viewer" not in sys.modules
        import matplotlib.pyplot as plt
        import jax_mpe.viewer
        task = jax_mpe.make("push_N3")
        import jax
        task.render(task.reset(jax.random.key(0))[0])
        assert not plt.get_fignums()
    """
    path = os.pathsep.join(sys.path)
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(line.strip() for line in script.splitlines())],
        capture_output=True, text=True, timeout=120, env=os.environ | {"PYTHONPATH": path},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_command_writes_both_files_and_names_them(tmp_path, capsys):
    assert command.main(["push_N3", "--out", str(tmp_path / "new"), "--seed", "3"]) == 0
    paths = [Path(line) for line in capsys.readouterr().out.split()]
    assert [path.name for path in paths] == ["push_N3.png", "push_N3.gif"]
    assert Image.open(paths[0]).format == "PNG"
    assert Image.open(paths[1]).n_frames == 26


def test_the_command_refuses_bad_input_in_one_line(tmp_path, capsys):
    assert command.main(["push_N", "--out", str(tmp_path)]) == 2
    assert "did you mean 'push_N" in only_line(capsys)
    assert command.main(["push_N3", "--seed", "-1", "--out", str(tmp_path)]) == 2
    assert "--seed" in only_line(capsys)
    (tmp_path / "file").touch()
    assert command.main(["push_N3", "--out", str(tmp_path / "file" / "x")]) == 1
    assert "cannot write" in only_line(capsys)
    assert os.listdir(tmp_path) == ["file"]


def only_line(capsys):
    shown = capsys.readouterr()
    assert shown.out == ""
    (line,) = shown.err.splitlines()
    return line
