"""Pictures and animations, judged by what stands on the axes and in the files, not by pixels."""

from __future__ import annotations

import jax
import jax_mpe
import numpy as np
import pytest
from jax_mpe import navigation, predator_prey, push
from jax_mpe.viewer import Recording, draw
from matplotlib.patches import Polygon
from viewer_cases import arrows, circles, make, record, texts

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
    "toy_follow_two",
    "toy_public",
]


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] if "N30" in name else []) for name in TASKS],
)
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


@pytest.mark.parametrize("name", ["navigation_N3_l3", "predator_prey_N3_l3@scripted"])
def test_no_body_hides_where_an_arrow_points_and_none_hides_a_label(name):
    task = make(name)
    recording = record(task, edges=np.ones((3, 3, 3)) - np.eye(3))
    figure = draw(task, recording, 1)
    heads = [patch for patch in figure.axes[0].patches if type(patch) is Polygon]
    ends = np.array([way[-1] for way in arrows(figure).values()])
    assert len(heads) == len(ends) == 6
    for patch in heads:
        tip, left, right = patch.get_xy()[:3]
        assert np.linalg.norm(ends - tip, axis=1).min() < 1e-9
        assert 0 < np.linalg.norm(left - right) < 0.2 * task_width(task)
    bodies = [circle.get_zorder() for circle in circles(figure)]
    labels = [text.get_zorder() for text in figure.axes[0].texts]
    above = [patch.get_zorder() for patch in heads]
    assert max(bodies) < min(above) and max(above) < min(labels)


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


@pytest.mark.quick_cases(1)
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
    toy = make("toy_public")  # its states have no positions: agents stand in a circle
    discs = jax_mpe.Scenario.scene(toy, record(toy).checked(toy).states).discs
    ends = np.array([disc.track[-1] for disc in discs])
    np.testing.assert_allclose(ends, [[0, 0.7], [0, -0.7]], atol=1e-6)  # the first one at the top


class Wide(jax_mpe.FollowHolder):
    """Four agents without places, in an arena of half-width 3."""

    half_width = 3.0


def test_agents_without_a_place_stand_in_a_circle_that_the_arena_holds():
    """Clockwise from the top, at 0.7 of the half-width; discs are 0.05 of it, numbered, and leave a trail."""
    discs = jax_mpe.Scenario.scene(Wide(4), record(Wide(4)).checked(Wide(4)).states).discs
    places = [disc.track[0] for disc in discs]
    np.testing.assert_allclose(places, [[0, 2.1], [2.1, 0], [0, -2.1], [-2.1, 0]], atol=1e-6)
    assert [disc.radius for disc in discs] == pytest.approx([0.15] * 4)
    assert [disc.label for disc in discs] == ["0", "1", "2", "3"]
    assert all(disc.trail for disc in discs)


@pytest.mark.parametrize(("agents", "far"), [(3, 0.3), (6, 0.3), (9, 0.45), (12, 0.6)])
def test_the_more_agents_of_a_toy_there_are_the_wider_they_stand(agents, far):
    toy = jax_mpe.FollowHolder(agents)
    discs = toy.scene(record(toy).checked(toy).states).discs[:agents]
    np.testing.assert_allclose([np.hypot(*disc.track[0]) for disc in discs], far)


def test_a_claim_has_the_colour_of_its_agent_however_many_there_are():
    toy = jax_mpe.FollowHolder(5)
    states = record(toy).checked(toy).states
    actions = np.zeros((len(states.step_count) - 1, 5, 2))
    scene = toy.scene(states, actions)
    assert [claim.colour for claim in scene.claims] == [disc.colour for disc in scene.discs[:5]]
    assert len({disc.colour for disc in scene.discs[:5]}) == 3
