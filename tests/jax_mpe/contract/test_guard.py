"""Every public method of every task, whoever wrote it, refuses a state, an action or an observation that does not fit
in one line that names both shapes."""

import functools
import inspect
import pickle
from dataclasses import dataclass

import flax.struct
import jax
import jax.numpy as jnp
import jax_mpe
import jaxtyping
import numpy as np
import pytest
from jax_mpe.contract import guard
from jax_mpe.experts import expert, knowing_optimum, silent_optimum
from jax_mpe.prey import prey_policy
from refusals import refused, saying
from task_names import KNOWING

TASKS = (
    *jax_mpe.registered_tasks(),
    "navigation_N2_l1",
    "push_N10",
    "predator_prey_N6_l1@scripted",
    "predator_prey_N3_l1@random",
)


@pytest.fixture
def unannotated(monkeypatch):
    """As for users, whose calls nobody holds to the annotations."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


def started(name):
    env = jax_mpe.make(name)
    return env, env.reset(jax.random.key(0))[0], jnp.zeros((env.num_agents, 2))


def stacked(state, many):
    return jax.tree.map(lambda leaf: jnp.stack([leaf] * many), state)


def uses(env, good, action):
    """All that is asked about a state from outside."""
    asked = [env.observe, env.measures, env.right_edges, env.compress, expert(env)]
    asked += [getattr(env, "observe_prey", env.observe)]
    return [
        *asked,
        lambda state: env.observe(state=state),
        lambda state: env.advance(state, action),
        lambda state: env.reward(state, action, good),
        lambda state: env.reward(good, action, state),
        lambda state: env.reward(good, next_state=state, action=action),
    ]


@pytest.mark.quick_cases(6)
@pytest.mark.parametrize("name", TASKS)
def test_a_state_has_every_array_of_the_task_in_its_shape(name):
    env, state, action = started(name)
    asked = uses(env, state, action)
    for field, shape in env.state_shapes.items():
        for wrong in {(4, *shape), (*shape[1:], 2), (1, *shape[1:])} - {shape}:
            spoilt = state.replace(**{field: jnp.zeros(wrong, getattr(state, field).dtype)})
            for use in asked:
                with refused(wrong, shape, f"{name}: {field} of the "):
                    use(spoilt)
                with refused(wrong, shape, f"{name}: {field} of the "):
                    jax.eval_shape(use, spoilt)


@pytest.mark.quick_cases(6)
@pytest.mark.parametrize("name", TASKS)
def test_a_batch_is_no_state_but_may_be_mapped_over(name):
    env, state, action = started(name)
    for many in (1, 2, env.num_agents):
        batch = stacked(state, many)
        for use in uses(env, state, action):
            with refused((many,), (), f"{name}: step_count of the "):
                use(batch)
        with refused((many,), (), f"{name}: step_count of the state"):
            env.reward(batch, jnp.zeros((many, env.num_agents, 2)), batch)
    for use in uses(env, state, action):
        jax.eval_shape(jax.vmap(use), batch)


@pytest.mark.quick_cases(6)
@pytest.mark.parametrize("name", TASKS)
def test_a_joint_action_has_a_row_for_each_agent(name):
    env, state, _ = started(name)
    n = env.num_agents
    for shape in {(1, 2), (), (2,), (n, 1), (n, 3), (n + 1, 2), (2, n, 2)} - {(n, 2)}:
        for use in (
            lambda action: env.reward(state, action, state),
            lambda action: env.advance(state, action),
            lambda action: env.advance(state, action=action),
        ):
            with refused(shape, (n, 2), f"{name}: the joint action"):
                use(jnp.ones(shape))


def test_a_state_of_another_size_is_refused_both_ways():
    for one, other in (
        ("navigation_N3_l3", "navigation_N6_l6"),
        ("predator_prey_N3_l3", "predator_prey_N6_l6"),
    ):
        for name, given in ((one, other), (other, one)):
            env, state, action = started(name)
            wrong = started(given)[1]
            for use in uses(env, state, action):
                with refused(wrong.agent_position.shape, state.agent_position.shape, name):
                    use(wrong)
    env, state, action = started("push_N3")
    for use in uses(env, state, action):
        with saying("push_N3: this NavigationState is no state of the task"):
            use(started("navigation_N3_l3")[1])


def test_the_key_and_the_precision_of_a_state_are_its_own_affair():
    env, state, action = started("navigation_N3_l3")
    recorded = jax.tree.map(np.asarray, state.replace(key=np.zeros(2)))
    for use in (env.observe, env.measures, lambda state: env.reward(state, action, state)):
        for a, b in zip(*map(jax.tree.leaves, (jax.jit(use)(recorded), use(state))), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6)
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda leaf: leaf.astype(np.float64), recorded)
        for use in uses(env, state, action):
            assert all(leaf.dtype == float for leaf in jax.tree.leaves(jax.eval_shape(use, wide)))


@pytest.mark.parametrize("name", TASKS)
def test_what_is_observed_ends_in_agents_and_width(name):
    env, state, _ = started(name)
    n, width = env.num_agents, env.observation_size
    for shape in ((n, width + 1), (n + 1, width), (width,), (), (2, 1, width)):
        with refused(shape, (n, width), f"{name}: what all agents observe"):
            env.right_edges_seen(jnp.zeros(shape))
    view = env.observe(state)
    seen = env.right_edges_seen(jnp.stack([view] * 2)[None])
    right = env.right_edges(state)
    assert (seen is None) == (right is None) == (name not in KNOWING)
    if right is not None:
        np.testing.assert_array_equal(seen, np.stack([right] * 2)[None])


@pytest.mark.parametrize("name", ["navigation_N3_l3", "toy_follow_holder"])
def test_what_is_drawn_are_many_states_in_one(name):
    env, state, action = started(name)
    several = jax.tree.map(np.asarray, stacked(state.replace(key=jnp.zeros(2)), 4))
    for moments in (3, 4):  # the last state needs no action
        assert env.scene(several, np.zeros((moments, 3, 2))).discs
    assert env.scene(several, None).discs
    with saying(f"{name}: this is a single state; pass many in one"):
        env.scene(state)
    with refused((4, 4, 2), (4, 3, 2), f"{name}: the moments' joint actions"):
        env.scene(several, np.zeros((4, 4, 2)))
    with refused((3, 2), (3, 3, 2), f"{name}: the moments' joint actions"):
        env.scene(several, np.zeros((3, 2)))
    field = next(field for field, shape in env.state_shapes.items() if shape)
    shape = getattr(several, field).shape
    with refused((5, *shape[1:]), shape, f"{name}: {field}"):
        env.scene(several.replace(**{field: np.zeros((5, *shape[1:]), int)}))


def test_both_ends_of_the_reference_task_want_first_states_of_many_episodes():
    env, state, _ = started("reference_N2")
    for optimum in (silent_optimum, knowing_optimum):
        with saying("reference_N2: this is a single state; pass many in one"):
            optimum(env, state)
        with refused((4, 3, 2), (4, 2, 2), "reference_N2: agent_position"):
            optimum(env, stacked(started("reference_N3")[1], 4))


@flax.struct.dataclass
class Nested:
    key: jax.Array
    step_count: jax.Array
    turn: jax.Array
    within: jax_mpe.GoalsState


class Public:
    """A mixin, which is no task by itself."""

    def measures(self, state):
        return {"goals": jnp.sum(state.goal)}


@dataclass(frozen=True)
class Newcomer(Public, jax_mpe.CrossedGoals):
    """Asks itself while it makes its first state, and names what it is given as it likes."""

    def initial_state(self, key):
        state = super().initial_state(key)
        self.observe(state)
        return state

    def reward(self, s, a, s2):
        """Its own."""
        return super().reward(s, a, s2)

    @staticmethod
    def right_edges(state):
        return jnp.eye(2) * jnp.sum(state.goal)

    @functools.partial(jax.jit, static_argnums=0)
    def observe(self, state):
        return super().observe(state)


@dataclass(frozen=True)
class Around(jax_mpe.CrossedGoals):
    """Has another task's state within its own."""

    moving_fields = ()

    def initial_state(self, key):
        within = super().initial_state(key)
        return Nested(within.key, within.step_count, jnp.zeros(3), within)

    def observe(self, state):
        return super().observe(state.within)

    def reward(self, state, action, next_state):
        return super().reward(state.within, action, next_state.within)


def test_a_newcomer_is_guarded_without_doing_anything():
    env = Newcomer()
    state, action = env.reset(jax.random.key(0))[0], jnp.zeros((2, 2))
    batch = stacked(state, 2)
    for use in (
        env.observe,
        env.measures,
        env.right_edges,
        lambda wrong: env.reward(wrong, action, state),
        lambda wrong: env.reward(state, s2=wrong, a=action),
    ):
        with refused((2,), (), "toy_crossed_goals: step_count of the "):
            use(batch)
        use(state)
    with refused((1, 2), (2, 2), "the joint action"):
        env.reward(s=state, a=action[:1], s2=state)
    with pytest.raises(TypeError, match="s2"):  # as the method says
        env.reward(state, a=action)
    assert env.reward(state, action, state) == jax_mpe.CrossedGoals().reward(state, action, state)
    assert env.measures(state) == {"goals": jnp.sum(state.goal)}


def test_what_is_handed_on_to_a_parent_is_the_childs_affair():
    env, parent = Around(), jax_mpe.CrossedGoals()
    state, timestep = env.reset(jax.random.key(0))
    np.testing.assert_array_equal(timestep.observation.agents_view, parent.observe(state.within))
    action = jnp.ones((2, 2))
    assert env.reward(state, action, state) == parent.reward(state.within, action, state.within)
    with refused((2,), ()):
        env.observe(stacked(state, 2))
    with refused((1,), (3,), "turn"):
        env.observe(state.replace(turn=state.turn[:1]))


def test_a_first_state_that_cannot_be_made_leaves_the_guard_in_place():
    class Failing(jax_mpe.CrossedGoals):
        def initial_state(self, key):
            raise RuntimeError("no state today")

    state = started("toy_crossed_goals")[1]
    with pytest.raises(RuntimeError, match="no state today"):
        Failing().observe(state)
    with refused((2,), ()):
        jax_mpe.CrossedGoals().observe(stacked(state, 2))


@pytest.mark.quick_cases(4)
@pytest.mark.parametrize("name", TASKS)
def test_nothing_of_it_is_left_in_a_program(name, monkeypatch):
    env, state, action = started(name)
    programs = []
    for _ in range(2):
        programs.append(
            [
                str(jax.make_jaxpr(lambda *args, use=use: use(*args))(*args))
                for use, args in (
                    (env.observe, (state,)),
                    (env.measures, (state,)),
                    (env.right_edges, (state,)),
                    (env.advance, (state, action)),
                    (
                        jax.vmap(env.reward),
                        (stacked(state, 2), jnp.stack([action] * 2), stacked(state, 2)),
                    ),
                )
            ]
        )
        for what in ("expect_state", "expect_shape", "expect_ending"):
            monkeypatch.setattr(guard, what, lambda *args, **kwargs: None)
    assert programs[0] == programs[1]
    assert any("sub" in program or "add" in program for program in programs[0])


def test_a_guarded_method_looks_as_it_was_written():
    method = jax_mpe.Navigation.measures
    assert "landmarks_covered" in method.__doc__
    assert (method.__name__, method.__qualname__) == ("measures", "Navigation.measures")
    assert list(inspect.signature(method).parameters) == ["self", "state"]
    assert "state" in inspect.signature(jax_mpe.Push().reward).parameters
    env = pickle.loads(pickle.dumps(jax_mpe.make("push_N3")))
    assert env == jax_mpe.make("push_N3")
    state = started("push_N3")[1]
    np.testing.assert_array_equal(
        pickle.loads(pickle.dumps(env.observe))(state), env.observe(state)
    )
    assert jax_mpe.Scenario.__abstractmethods__ >= {"observe", "advance", "reward"}
    assert not jax_mpe.Navigation.__abstractmethods__


@pytest.mark.parametrize("prey", ["shipped", "scripted", "random"])
def test_all_prey_observe_one_row_each(prey, unannotated):
    sizes = jax_mpe.make("predator_prey_N6_l1").sizes
    policy, wanted = prey_policy(prey, sizes), (sizes.prey, sizes.observation)
    assert wanted == (2, 26)
    for wrong in ((1, 26), (3, 26), (26,), (), (2, 25), (2, 27), (5, 2, 26)):
        for act in (policy.act, jax.jit(policy.act)):
            with refused(wrong, wanted, "what all prey observe"):
                act(jnp.ones(wrong), jax.random.key(0))
    assert policy.act(jnp.ones(wanted), jax.random.key(0)).shape == (2, 2)


def test_lengths_are_of_vectors_in_the_plane(unannotated):
    for wrong in ((3,), (1,), (), (2, 3), (2, 1)):
        for length in (jax_mpe.norm, jax.jit(jax_mpe.norm)):
            with refused(wrong, (2,), "the vector"):
                length(jnp.ones(wrong))
    np.testing.assert_allclose(jax_mpe.norm(jnp.array([[[3.0, 4.0]]])), [[5.0]])


def test_a_corner_that_there_is_not_is_named(unannotated):
    for wrong, named in ((7, 7), (-1, -1), ([0, 4], 4), ([[3], [-2]], -2)):
        for index in (jnp.array(wrong), np.array(wrong)):
            with saying(f"there are corners 0 to 3, not {named}"):
                jax_mpe.corner(index)
    np.testing.assert_array_equal(
        jax_mpe.corner(jnp.arange(4)), np.array(jax_mpe.CORNERS, np.float32)
    )
    np.testing.assert_array_equal(
        jax.jit(jax_mpe.corner)(jnp.arange(4)), jax_mpe.corner(jnp.arange(4))
    )
