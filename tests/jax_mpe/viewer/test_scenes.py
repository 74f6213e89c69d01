"""What is to be seen of each task's states, in numbers of its own: sizes, colours, trails, places, claims."""

import jax
import jax_mpe
import numpy as np
import pytest
from jax_mpe.drawables import Fill, scene

BLUE, GREEN, ORANGE, RED, PURPLE, GREY = (
    "#0072B2", "#009E73", "#E69F00", "#D55E00", "#CC79A7", "#7f7f7f",
)  # fmt: skip
TEAM = (BLUE, RED, PURPLE)


def alike(count, role, radius, colour, fill, *, numbered=False, trail=False):
    labels = map(str, range(count)) if numbered else [""] * count
    return [(role, radius, colour, fill, label, trail) for label in labels]


def team(radius, *, trail, count=3):
    """Agents, of whom three have a colour of their own and the next begin anew."""
    return [("agent", radius, TEAM[i % 3], Fill.PALE, str(i), trail) for i in range(count)]


AGENTS = {"numbered": True, "trail": True}
SEEN = {
    "navigation_N3_l3": [
        *alike(3, "agent", 0.15, BLUE, Fill.PALE, **AGENTS),
        *alike(3, "landmark", 0.05, GREEN, Fill.SOLID),
    ],
    "push_N6": [
        *alike(6, "agent", 0.04, BLUE, Fill.PALE, **AGENTS),
        *alike(1, "ball", 0.1, ORANGE, Fill.SOLID, trail=True),
        *alike(1, "target", 0.05, GREEN, Fill.CROSSED),
    ],
    "predator_prey_N6_l6": [
        *alike(6, "predator", 0.075, BLUE, Fill.PALE, **AGENTS),
        *alike(2, "prey", 0.05, RED, Fill.SOLID, trail=True),
        *alike(3, "obstacle", 0.2, GREY, Fill.HATCHED),
    ],
    "reference_N3": [
        *team(0.15, trail=True),
        *alike(3, "landmark", 0.05, GREY, Fill.SOLID),
        *(("target", 0.07 + 0.02 * i, TEAM[i], Fill.RING, "", False) for i in range(3)),
    ],
    "toy_crossed_goals": [
        *team(0.12, trail=False)[:2],
        *(("goal", 0.1 + 0.03 * i, TEAM[i], Fill.RING, "", False) for i in range(2)),
    ],
    "toy_follow_holder": [
        *team(0.12, trail=False),
        *(("goal", 0.1 + 0.03 * i, TEAM[i], Fill.RING, "", False) for i in (1, 2)),
        ("holder", 0.17, GREY, Fill.RING, "", False),
    ],
    "toy_follow_two": [
        *team(0.12, trail=False, count=4),
        *(("goal", 0.1 + 0.03 * i, TEAM[i % 3], Fill.RING, "", False) for i in (1, 2, 3)),
        *alike(2, "holder", 0.17, GREY, Fill.RING),
    ],
    "toy_switch_riddle": [
        *team(0.12, trail=False),
        ("room", 0.17, GREY, Fill.RING, "", False),
    ],
}  # fmt: skip


def two_moments(name):
    """A task's scene of its first two states, those states, and the action between them, [N, 2]."""
    env = jax_mpe.make(name)
    first, _ = env.reset(jax.random.key(1))
    action = np.random.default_rng(0).uniform(-1, 1, (env.num_agents, 2))
    states = (first, env.step(first, action)[0])
    fields = {field: [np.asarray(getattr(s, field)) for s in states] for field in env.state_shapes}
    stacked = first.replace(**{field: np.stack(values) for field, values in fields.items()})
    return scene(env, stacked, action[None]), fields, action


@pytest.mark.parametrize("name", SEEN)
def test_what_is_drawn_of_a_task(name):
    seen = two_moments(name)[0]
    assert seen.half_width == (1.5 if name == "predator_prey_N6_l6" else 1.0)
    found = [(d.role, d.radius, d.colour, d.fill, d.label, d.trail) for d in seen.discs]
    for one, wanted in zip(found, SEEN[name], strict=True):
        assert one[1] == pytest.approx(wanted[1])
        assert (one[0], *one[2:]) == (wanted[0], *wanted[2:])


def corner(number):
    """The goals' places, by their numbers."""
    return np.array([(-0.8, -0.8), (-0.8, 0.8), (0.8, -0.8), (0.8, 0.8)])[number]


def home(agents):
    """Where agents of toys stand, [N, 2]: side by side, or on a circle from the top on, against the clock."""
    angle = (
        np.pi * np.arange(agents) + np.pi
        if agents == 2
        else np.pi * (0.5 + 2 / agents * np.arange(agents))
    )
    return 0.3 * np.stack([np.cos(angle), np.sin(angle)], -1)


def test_goals_rings_and_claims_of_toys_are_where_states_and_actions_say():
    for name, agents in (
        ("toy_crossed_goals", 2),
        ("toy_follow_holder", 3),
        ("toy_follow_two", 4),
        ("toy_switch_riddle", 3),
    ):
        seen, fields, action = two_moments(name)
        tracks = [np.asarray(d.track) for d in seen.discs]
        stands = home(agents)
        for i in range(agents):
            np.testing.assert_allclose(tracks[i], [stands[i]] * 2, atol=1e-6)
            np.testing.assert_allclose(seen.claims[i].origin, stands[i], atol=1e-6)
            np.testing.assert_allclose(seen.claims[i].track, action[None, i])
            assert seen.claims[i].colour == TEAM[i % 3]
        assert len(seen.claims) == agents
        goals = fields.get("goal", fields.get("corner"))
        for moment in range(2):
            if goals is not None:
                for k, number in enumerate(goals[moment]):
                    np.testing.assert_allclose(
                        tracks[agents + k][moment], corner(number), atol=1e-6
                    )
            ring = fields.get("holder", fields.get("room"))
            if ring is not None:
                ringed = np.ravel(ring[moment])
                rings = [track[moment] for track in tracks[-len(ringed) :]]
                np.testing.assert_allclose(rings, stands[ringed], atol=1e-6)
