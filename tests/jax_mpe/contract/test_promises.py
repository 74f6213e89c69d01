"""What the words around a task promise: sizes by default, states that stay, edges told from observations."""

import dataclasses

import jax
import jax.numpy as jnp
import jax_mpe
import numpy as np
import pytest
from task_names import NAMED


@pytest.mark.parametrize(
    ("scenario", "name"),
    [
        (jax_mpe.Navigation, "navigation_N3_l3"),
        (jax_mpe.PredatorPrey, "predator_prey_N3_l3"),
        (jax_mpe.Push, "push_N3"),
        (jax_mpe.Reference, "reference_N3"),
        (jax_mpe.FollowHolder, "toy_follow_holder"),
        (jax_mpe.FollowTwo, "toy_follow_two"),
        (jax_mpe.CrossedGoals, "toy_crossed_goals"),
        (jax_mpe.LateGoals, "toy_late_goals"),
        (jax_mpe.Public, "toy_public"),
        (jax_mpe.SwitchRiddle, "toy_switch_riddle"),
    ],
)
def test_a_task_without_a_size_is_the_smallest_that_is_named(scenario, name):
    assert scenario() == jax_mpe.make(name) and scenario().name == name


@pytest.mark.parametrize("name", NAMED)
def test_nobody_changes_a_state_or_a_task_in_place(name):
    env = jax_mpe.make(name)
    state, _ = env.reset(jax.random.key(0))
    for thing in (env, state):
        for field in dataclasses.fields(thing):
            with pytest.raises(dataclasses.FrozenInstanceError):
                setattr(thing, field.name, None)


@pytest.mark.parametrize(
    "name", ["reference_N3", "toy_follow_holder", "toy_follow_two", "toy_switch_riddle"]
)
def test_right_edges_are_told_from_batches_of_observations_as_from_states(name):
    """Two leading axes, as a replay and its seeds have them: [2, 3, N, O] becomes [2, 3, N, N]."""
    env = jax_mpe.make(name)
    keys = jax.random.split(jax.random.key(1), (2, 3))
    state, step = jax.vmap(jax.vmap(env.reset))(keys)
    told = env.right_edges_seen(step.observation.agents_view)
    known = jax.vmap(jax.vmap(env.right_edges))(state)
    assert told.shape == (2, 3, env.num_agents, env.num_agents) == known.shape
    np.testing.assert_array_equal(told, known)
    assert len(np.unique(jnp.reshape(known, (6, -1)), axis=0)) > 1 or name == "toy_switch_riddle"


def test_arenas_grow_with_the_team_but_for_the_papers_own():
    """As much room for each agent as three have in a square of side 2; the paper's six have a side of 3."""
    found = {n: jax_mpe.arena_half_width(n) for n in (2, 3, 4, 5, 6, 7, 12)}
    expected = {n: np.sqrt(n / 3) for n in found} | {6: 1.5}
    assert found == pytest.approx(expected)
