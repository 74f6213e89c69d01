"""`mgtopo watch --expert`: a scripted expert's episode, and what is refused."""

from __future__ import annotations

from typing import Any

import jax
import jax_mpe
import numpy as np
import pytest
from jax_mpe import experts
from jax_mpe.viewer import Recording
from PIL import Image

from purejax_mgtopo.algorithm.types import Purpose, Streams
from purejax_mgtopo.cli import main as cli
from purejax_mgtopo.trained import watch


@pytest.mark.slow
def test_the_expert_is_played_and_drawn(tmp_path, capsys, monkeypatch) -> None:
    """Against the environment stepped by hand, from the start that trained teams meet too."""
    recorded: list[Recording] = []
    draw = watch.draw

    def spy(env: Any, recording: Recording, **options: Any) -> Any:
        recorded.append(recording)
        return draw(env, recording, **options)

    monkeypatch.setattr(watch, "draw", spy)
    words = ["--expert", "reference_N2", "--episode-seed", "7", "--out", str(tmp_path)]
    assert cli.main(["watch", *words]) == 0
    paths = [line.split()[-1] for line in capsys.readouterr().out.splitlines()]
    assert [path.rsplit("/", 1)[1] for path in paths] == [
        "reference_N2_expert_episode7.png",
        "reference_N2_expert_episode7.gif",
    ]
    assert Image.open(paths[1]).n_frames > 1  # type: ignore[attr-defined]

    env = jax_mpe.make("reference_N2")
    controller, step = experts.expert(env), jax.jit(env.step)
    state, _ = env.reset(Streams.split(Purpose.WATCHING.key(7)).reset)
    rewards, places = [], [state.agent_position]
    for _ in range(env.horizon):
        state, timestep = step(state, jax.numpy.clip(controller(state), -1, 1))
        rewards.append(timestep.reward)
        places.append(state.agent_position)
    (drawn,) = recorded
    np.testing.assert_allclose(drawn.rewards, rewards, atol=1e-5)
    np.testing.assert_allclose(drawn.states.agent_position, places, atol=1e-5)
    assert drawn.title == "reference_N2, scripted expert" and not np.any(drawn.edges)


def test_a_task_without_expert_is_refused(tmp_path, capsys, monkeypatch) -> None:
    def nobody(task: Any) -> Any:
        raise ValueError(f"there is no expert of {task.name}")

    monkeypatch.setattr(watch, "expert", nobody)
    assert cli.main(["watch", "--expert", "push_N3", "--out", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "no expert of push_N3" in line and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--expert", "push_N"], "unknown task 'push_N'"),
        (["--expert", "push_N3", "--episode-seed", "-1"], "episode"),
        (["--expert", "push_N3", "--greedy"], "--greedy"),
        (["--expert", "push_N3", "--seed", "1"], "--seed"),
        (["results", "--expert", "push_N3"], "not both"),
        ([], "--expert TASK"),
    ],
)
def test_bad_words_are_one_line(capsys, words, said) -> None:
    assert cli.main(["watch", *words]) == 2
    shown = capsys.readouterr()
    (line,) = shown.err.splitlines()
    assert said in line and shown.out == ""


def test_tasks_show_both_ends_of_their_scales(capsys) -> None:
    assert cli.main(["tasks"]) == 0
    shown = capsys.readouterr().out
    lines = shown.splitlines()
    two = [line.split() for line in lines if line.split()[:1] == ["toy_follow_two"]]
    assert two == [["toy_follow_two", "4", "11", "-170.9", "0.0"]]
    assert "Agent 0 must act as the mean of two holders" in " ".join(shown.split())
    row = next(line for line in lines if "navigation_N3_l3" in line)
    assert row.split()[3:5] == ["-52.5", "-7.5"]
    assert {"random", "expert"} <= set(lines[1].split()) | set(lines[0].split())
