"""Pictures and animations, judged by what stands on the axes and in the files, not by pixels."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax_mpe
import jax_mpe.__main__ as command
import numpy as np
import pytest
from jax_mpe import navigation, predator_prey, push
from jax_mpe.viewer import Recording, animate, draw, save_animation, save_picture
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch
from PIL import Image

TASKS = [
    "navigation_N2_l1",
    "navigation_N3_l3",
    "navigation_N30_l1",
    "predator_prey_N3_l3@scripted",
    "predator_prey_N6_l6@scripted",
    "push_N3",
    "push_N6",
    "push_N30",
    "reference_N3",
    "toy_crossed_goals",
    "toy_follow_holder",
    "toy_public",
]


def make(name):
    """Scripted prey are there for every size."""
    scenario, _, prey = name.partition("@")
    task = jax_mpe.make(scenario)
    if not prey:
        return task
    return type(task)(task.num_agents, task.num_visible, prey=prey)


def record(task, moments=4, seed=0, edges=None) -> Recording:
    """A short random episode: `moments` states and one step less."""
    rng = np.random.default_rng(seed)
    n = task.num_agents
    state, _ = task.reset(jax.random.key(seed))
    states, rewards = [state], []
    actions = rng.uniform(-1, 1, (moments - 1, n, 2))
    for action in actions:
        state, timestep = task.step(state, action)
        states.append(state)
        rewards.append(timestep.reward)
    if edges is None:
        edges = rng.integers(0, 2, (moments - 1, n, n)) * (1 - np.eye(n))
    return Recording(states, edges, actions, np.array(rewards))


def circles(figure):
    return [patch for patch in figure.axes[0].patches if isinstance(patch, Circle)]


def arrows(figure):
    """By (sender, receiver) as they are named: the points of their paths."""
    patches = [patch for patch in figure.axes[0].patches if isinstance(patch, FancyArrowPatch)]
    named = {tuple(map(int, re.findall(r"\d+", patch.get_gid()))): patch for patch in patches}
    assert len(named) == len(patches)
    return {pair: patch._path_original.vertices for pair, patch in named.items()}


def texts(figure):
    return [text.get_text() for text in figure.texts]


@pytest.mark.parametrize("name", TASKS)
def test_an_arrow_for_each_open_edge_from_sender_to_receiver(name):
    task = make(name)
    recording = record(task)
    for moment in range(3):
        figure = draw(task, recording, moment)
        drawn = arrows(figure)
        mask = recording.edges[moment]
        assert set(drawn) == {(j, i) for i, j in np.argwhere(mask)}
        place = np.array([circle.center for circle in circles(figure)[: task.num_agents]])
        radius = circles(figure)[0].radius
        for (sender, receiver), way in drawn.items():
            for agent, end in ((sender, way[0]), (receiver, way[-1])):
                away = np.linalg.norm(end - place[agent])
                assert radius < away < radius + 0.05 * task_width(task)


def task_width(task):
    return getattr(task, "half_width", 1.0)


def test_two_arrows_between_a_pair_stay_apart_and_a_lone_one_is_straight():
    task = make("navigation_N2_l1")
    state, _ = task.reset(jax.random.key(0))
    state = state.replace(agent_position=np.array([[-0.5, 0.0], [0.5, 0.0]]))
    both = arrows(draw(task, Recording(state, np.array([[0, 1], [1, 0]]))))
    assert both[0, 1][1, 1] > 0.05 and both[1, 0][1, 1] < -0.05
    lone = arrows(draw(task, Recording(state, np.array([[0, 1], [0, 0]]))))
    np.testing.assert_allclose(lone[1, 0][:, 1], 0, atol=1e-12)
    assert lone[1, 0][0, 0] > 0 > lone[1, 0][-1, 0]


def test_an_arrow_passes_round_an_agent_that_stands_in_its_way():
    task = make("navigation_N3_l3")
    state, _ = task.reset(jax.random.key(0))
    state = state.replace(agent_position=np.array([[-0.8, 0.0], [0.0, 0.05], [0.8, 0.0]]))
    mask = np.zeros((3, 3))
    mask[2, 0] = 1
    start, control, end = arrows(draw(task, Recording(state, mask)))[0, 2]
    share = np.linspace(0, 1, 201)[:, None]
    way = (1 - share) ** 2 * start + 2 * share * (1 - share) * control + share**2 * end
    assert np.linalg.norm(way - [0.0, 0.05], axis=1).min() > navigation.AGENT_RADIUS


def test_agents_at_one_place_are_drawn_all_the_same():
    task = make("navigation_N2_l1")
    state, _ = task.reset(jax.random.key(0))
    state = state.replace(agent_position=np.zeros((2, 2)))
    drawn = arrows(draw(task, Recording(state, np.ones((2, 2)))))  # the diagonal is not drawn
    assert set(drawn) == {(0, 1), (1, 0)}
    assert all(np.isfinite(way).all() for way in drawn.values())


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("navigation_N3_l3", {"agent": [0.15] * 3, "landmark": [navigation.LANDMARK_RADIUS] * 3}),
        ("push_N6", {"agent": [0.04] * 6, "ball": [0.1], "target": [push.TARGET_RADIUS]}),
        ("predator_prey_N6_l6@scripted", {"agent": [0.075] * 6, "prey": [0.05] * 2,
                                          "landmark": [predator_prey.LANDMARK_RADIUS] * 3}),
    ],
)  # fmt: skip
def test_bodies_have_their_true_radii_and_places(name, expected):
    """Radii of the environments' specification; places of the state that is drawn."""
    task = make(name)
    recording = record(task)
    figure = draw(task, recording, 2)
    wanted = [
        (*np.round(centre, 5), radius)
        for field, radii in expected.items()
        for centre, radius in zip(
            np.asarray(getattr(recording.states[2], f"{field}_position"), float).reshape(-1, 2),
            radii,
            strict=True,
        )
    ]
    drawn = [(*np.round(circle.center, 5), circle.radius) for circle in circles(figure)]
    np.testing.assert_allclose(sorted(drawn), sorted(wanted), atol=1e-4)
    assert figure.axes[0].get_position().width * figure.get_figwidth() == pytest.approx(
        figure.axes[0].get_position().height * figure.get_figheight()
    )  # with equal limits: true circles


@pytest.mark.parametrize("name", TASKS)
def test_all_moments_of_all_bodies_and_the_arena_lie_inside_the_same_axes(name):
    task = make(name)
    recording = record(task, moments=12)
    views = set()
    for moment in (0, 5, 11 if "toy" not in name else 10):
        figure = draw(task, recording, moment)
        axes = figure.axes[0]
        (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
        assert right - left == pytest.approx(top - bottom)
        views.add((left, right, bottom, top))
        assert max(left, bottom) < -task_width(task) and min(right, top) > task_width(task)
        for circle in circles(figure):
            (x, y), r = circle.center, circle.radius
            assert left < x - r and x + r < right and bottom < y - r and y + r < top
    assert len(views) == 1


def test_a_body_that_strays_widens_the_view():
    task = make("push_N3")
    state, _ = task.reset(jax.random.key(0))
    far = state.replace(ball_position=np.array([3.0, -1.0]))
    assert draw(task, Recording([state, far]), 0).axes[0].get_xlim()[1] > 3 + push.BALL_RADIUS


@pytest.mark.parametrize("name", ["navigation_N3_l3", "navigation_N30_l1", "push_N30"])
def test_agents_are_labelled_and_no_text_covers_the_world(name):
    task = make(name)
    figure = draw(task, record(task), 1)
    axes = figure.axes[0]
    figure.canvas.draw()
    assert [text.get_text() for text in axes.texts] == [str(k) for k in range(task.num_agents)]
    assert min(text.get_fontsize() for text in axes.texts) >= 6
    world = axes.get_window_extent()
    boxes = [text.get_window_extent() for text in figure.texts] + [
        legend.get_window_extent() for legend in figure.legends
    ]
    for k, box in enumerate(boxes):
        assert not box.overlaps(world)
        assert box.x0 >= 0 and box.x1 <= figure.bbox.x1
        assert not any(box.overlaps(other) for other in boxes[:k])


def test_the_corner_tells_step_reward_and_edge_rate():
    task = make("navigation_N3_l3")
    mask = np.zeros((25, 3, 3))
    mask[6, 0, 1] = mask[6, 2, 1] = 1
    recording = record(task, moments=26, edges=mask)
    expected = f"reward {recording.rewards[6]:.2f}".replace("-", "\u2212")
    assert texts(draw(task, recording, 6)) == [
        "navigation_N3_l3", "step 7 of 25", expected, "edges 2 of 6 (33%)",
    ]  # fmt: skip
    end = f"return {recording.rewards.sum():.2f}".replace("-", "\u2212")
    assert texts(draw(task, recording)) == ["navigation_N3_l3", "end", end, ""]
    assert arrows(draw(task, recording)) == {}


def test_trails_reach_back_to_the_start_and_only_what_moves_has_one():
    task = make("push_N3")
    recording = record(task, moments=10)
    for moment in (0, 4, 9):
        trails = draw(task, recording, moment).axes[0].collections
        assert len(trails) == (4 if moment else 0)  # three agents and the ball
        for k, trail in enumerate(trails):
            pieces = np.array(trail.get_segments())
            assert len(pieces) == moment
            track = np.stack(
                [
                    np.vstack([np.asarray(s.agent_position), np.asarray(s.ball_position)[None]])[k]
                    for s in recording.states[: moment + 1]
                ]
            )
            np.testing.assert_allclose(pieces[:, 0], track[:-1])
            np.testing.assert_allclose(pieces[:, 1], track[1:])


def test_toys_show_goals_and_claims_of_the_round():
    task = make("toy_follow_holder")
    recording = record(task)
    corners = np.asarray(jax_mpe.CORNERS)
    for moment in range(3):
        figure, state = draw(task, recording, moment), recording.states[moment]
        places = [tuple(circle.center) for circle in circles(figure)]
        assert places[3:5] == [tuple(corners[c]) for c in np.asarray(state.corner)]
        assert places[5] == places[int(state.holder)]
        crosses = [line for line in figure.axes[0].get_lines() if line.get_marker() == "x"]
        drawn = np.array([line.get_xydata()[0] for line in crosses])
        np.testing.assert_allclose(drawn, recording.actions[moment])


class Newcomer(navigation.Navigation):
    """A task that says nothing about its looks."""

    name = "newcomer"
    scene = jax_mpe.Scenario.scene


def test_a_newcomers_agents_are_drawn():
    task = Newcomer(4, 1)
    recording = record(task)
    figure = draw(task, recording, 2)
    places = recording.states[2].agent_position
    np.testing.assert_allclose([circle.center for circle in circles(figure)], places)
    assert set(arrows(figure)) == {(j, i) for i, j in np.argwhere(recording.edges[2])}
    assert texts(figure)[0] == "newcomer"
    toy = make("toy_public")
    with pytest.raises(ValueError, match="^no picture of toy_public: .* no agent_position$"):
        jax_mpe.Scenario.scene(toy, toy.reset(jax.random.key(0))[0])


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
