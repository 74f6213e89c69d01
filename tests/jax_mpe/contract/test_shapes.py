"""What does not fit a task is refused in one line that names the shape it has and the one it should
have, rather than broadcast."""

from types import SimpleNamespace

import flax.struct
import jax
import jax.numpy as jnp
import jax_mpe
import jaxtyping
import numpy as np
import pytest
from jax_mpe.predator_prey import PredatorPrey
from jax_mpe.prey import PreySizes, digest, prey_policy, write
from jax_mpe.viewer import Recording, draw
from refusals import refused, saying

TASKS = (*jax_mpe.registered_tasks(), "navigation_N2_l1", "predator_prey_N4_l2", "push_N10")


@pytest.fixture
def unannotated(monkeypatch):
    """As for users, whose calls nobody holds to the annotations."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.mark.quick_cases(5)
@pytest.mark.parametrize("name", TASKS)
def test_a_joint_action_has_a_row_for_each_agent(name):
    env = jax_mpe.make(name)
    state, _ = env.reset(jax.random.key(0))
    n = env.num_agents
    for shape in ((2,), (), (n, 1), (n, 3), (n + 1, 2), (1, 2), (1, n, 2), (2, n)):
        if shape == (n, 2):
            continue
        with refused(shape, (n, 2), name):
            env.step(state, jnp.ones(shape))
        with refused(shape, (n, 2), name):
            jax.jit(env.step)(state, np.ones(shape))
    env.step(state, np.ones((n, 2), int))  # whole numbers will do


def test_batches_of_actions_have_one_for_each_environment():
    env = jax_mpe.BatchAutoReset(jax_mpe.make("navigation_N3_l3"))
    state, _ = env.reset(jax.random.split(jax.random.key(0), 4))
    for shape in ((3, 2), (4, 2), (5, 3, 2), (4, 3, 3), (4, 1, 2)):
        with refused(shape, (4, 3, 2), "navigation_N3_l3"):
            env.step(state, jnp.ones(shape))


def test_both_teams_actions_are_checked():
    env = jax_mpe.make("predator_prey_N6_l1")
    state, _ = env.reset(jax.random.key(0))
    with refused((2,), (6, 2), env.name):
        env.step_teams(state, jnp.ones(2), jnp.ones((2, 2)))
    with refused((2,), (2, 2), "prey"):
        env.step_teams(state, jnp.ones((6, 2)), jnp.ones(2))


@pytest.mark.quick_cases(5)
@pytest.mark.parametrize("name", TASKS)
def test_a_state_has_every_array_of_the_task_in_its_shape(name):
    env = jax_mpe.make(name)
    state, _ = env.reset(jax.random.key(0))

    def step(state):
        return env.step(state, jnp.zeros((env.num_agents, 2)))

    for field, shape in env.state_shapes.items():
        for wrong in {(4, *shape), (*shape[1:], 2), (1, *shape[1:])} - {shape}:
            spoilt = state.replace(**{field: jnp.zeros(wrong, getattr(state, field).dtype)})
            for use in (step, jax.jit(step), env.compress):
                with refused(wrong, shape, f"{name}: {field}"):
                    use(spoilt)


def test_a_state_of_another_task_is_refused_by_name():
    env = jax_mpe.make("navigation_N3_l3")
    action = jnp.zeros((3, 2))
    for other, word in (
        (jax_mpe.make("push_N3").reset(jax.random.key(0))[0], "this PushState is no state"),
        (None, "this NoneType is no state"),
        ((), "this tuple is no state"),
    ):
        for use in (lambda s: env.step(s, action), env.compress):
            with saying(f"navigation_N3_l3: {word}"):
                use(other)
    with refused((6, 2), (3, 2), "navigation_N3_l3: agent_position"):
        env.step(jax_mpe.make("navigation_N6_l1").reset(jax.random.key(0))[0], action)


def test_both_teams_move_from_a_state_of_the_task():
    env = jax_mpe.make("predator_prey_N6_l1")
    state, _ = env.reset(jax.random.key(0))
    with refused((2,), (2, 2), "predator_prey_N6_l1: prey_velocity"):
        env.step_teams(
            state.replace(prey_velocity=jnp.zeros(2)), jnp.ones((6, 2)), jnp.ones((2, 2))
        )


def test_a_snapshot_is_as_long_as_the_task_says(unannotated):
    env, larger = jax_mpe.make("navigation_N3_l3"), jax_mpe.make("navigation_N6_l1")
    snapshot = env.compress(env.reset(jax.random.key(0))[0])
    with refused((24,), (12,), "navigation_N3_l3: the snapshot's moving part"):
        env.restore(larger.compress(larger.reset(jax.random.key(0))[0]), 0)
    for wrong in (snapshot.fixed[:-1], snapshot.moving, snapshot.fixed.reshape(3, 2)):
        with refused(wrong.shape, (6,), "navigation_N3_l3: the snapshot's fixed part"):
            env.restore(snapshot._replace(fixed=wrong), 0)
    with refused((4,), (), "navigation_N3_l3: step_count"):
        env.restore(snapshot, np.zeros(4, int))


def test_the_world_has_a_row_for_each_body(unannotated):
    """An index beyond the last place would be clamped to it, and a single row given to all."""
    bodies, good = jax_mpe.Bodies.alike(7, radius=0.1), jnp.zeros((7, 2))
    for wrong in ((2,), (6, 2), (8, 2), (1, 2), (7, 1), (7, 3), (1, 7, 2)):
        with refused(wrong, (7, 2), "position of 7 bodies"):
            jax_mpe.contact_forces(bodies, jnp.zeros(wrong))
        for place, what in enumerate(("position", "velocity", "force")):
            given = [good, good, good]
            given[place] = jnp.zeros(wrong)
            for step in (jax_mpe.world_step, jax.jit(jax_mpe.world_step, static_argnums=0)):
                with refused(wrong, (7, 2), f"{what} of 7 bodies"):
                    step(bodies, *given)


def test_a_batch_of_states_is_one_with_an_axis_of_environments():
    env = jax_mpe.BatchAutoReset(jax_mpe.make("navigation_N3_l3"))
    state, _ = env.reset(jax.random.split(jax.random.key(0), 4))
    single = jax.tree.map(lambda x: x[0], state)
    for action in (jnp.ones((3, 2)), jnp.ones((4, 3, 2))):
        with pytest.raises(
            ValueError, match=r"\Anavigation_N3_l3: this is a single state; [^\n]*\Z"
        ):
            env.step(single, action)
    with refused((3, 2), (4, 3, 2), "navigation_N3_l3: agent_velocity"):
        env.step(state.replace(agent_velocity=single.agent_velocity), jnp.ones((4, 3, 2)))
    with saying("navigation_N3_l3: this NoneType is no state"):
        env.step(None, jnp.ones((4, 3, 2)))
    for key in (jax.random.key(0), jax.random.PRNGKey(0)):
        with saying("navigation_N3_l3: the keys "):
            env.reset(key)
    for keys in (
        jax.random.split(jax.random.key(0), 4),
        jax.random.split(jax.random.PRNGKey(0), 4),
    ):
        assert env.reset(keys)[0].agent_position.shape == (4, 3, 2)


def test_a_field_that_is_no_array_has_no_shape_to_keep():
    """A state from elsewhere may hold a constant."""

    @flax.struct.dataclass
    class Stated(jax_mpe.GoalsState):
        word: str = flax.struct.field(pytree_node=False, default="")

    class Own(jax_mpe.CrossedGoals):
        def initial_state(self, key):
            return Stated(**vars(super().initial_state(key)))

    assert Own().state_shapes == jax_mpe.CrossedGoals().state_shapes
    state, _ = Own().reset(jax.random.key(0))
    assert Own().step(state, jnp.zeros((2, 2)))[0].step_count == 1


def test_a_policy_of_ones_own_moves_every_prey():
    class Own(PredatorPrey):
        @property
        def prey_policy(self):
            return SimpleNamespace(random=False, act=lambda observation, key: jnp.ones(2))

    env = Own(6, 1)
    with refused((2,), (2, 2), "prey"):
        env.step(env.reset(jax.random.key(0))[0], jnp.ones((6, 2)))


def test_a_prey_file_names_the_array_that_does_not_fit(tmp_path):
    sizes = PreySizes(predators=3, prey=1, landmarks=2, half_width=1.0)
    shapes = {"kernel_0": (1, sizes.observation, 8), "bias_0": (1, 8), "kernel_1": (1, 8, 8)}
    shapes |= {"bias_1": (1, 8), "kernel_2": (1, 8, 3), "bias_2": (1, 2)}
    arrays = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    path = tmp_path / "wide.npz"
    write(path, sizes, arrays, {})
    assert digest(arrays)
    with refused([1, 8, 3], [1, 8, 2], "kernel_2"):
        prey_policy(str(path), sizes)


def states_of(name):
    env = jax_mpe.make(name)
    state, _ = env.reset(jax.random.key(0))
    return env, state, jax.tree.map(lambda x: np.stack([x] * 4), state.replace(key=np.zeros(2)))


def test_recorded_states_are_of_the_task():
    env, state, stacked = states_of("navigation_N3_l3")
    wide = np.zeros((4, 2))
    for states in (
        state.replace(agent_position=wide),
        [state, state.replace(agent_position=wide)],
    ):
        with refused((4, 2), (3, 2), "agent_position"):
            env.render(states)
    with refused((4, 4, 2), (4, 3, 2), "landmark_position"):
        env.animate(stacked.replace(landmark_position=np.zeros((4, 4, 2))))
    with refused((3, 3, 2), (4, 3, 2), "landmark_position"):
        env.animate(stacked.replace(landmark_position=np.zeros((3, 3, 2))))
    other, states, _ = states_of("push_N3")
    with pytest.raises(ValueError, match=r"\A.*push_N3.*no ball_position\Z"):
        other.render(state)
    with pytest.raises(ValueError, match=r"\A.*navigation_N3_l3.*no landmark_position\Z"):
        draw(env, Recording([state, states]))


def test_what_is_drawn_with_the_states_fits_them():
    env, state, stacked = states_of("toy_follow_holder")
    with refused((2, 2), (3, 3), "edges"):
        env.render(state, edges=np.ones((2, 2)))
    with refused((2,), (3, 2), "actions"):
        env.render(state, actions=np.ones(2))
    with refused((4, 2, 3), (4, 3, 3), "edges"):
        env.animate(stacked, edges=np.ones((4, 2, 3)))
    with refused((4, 2), (4, 3, 2), "actions"):
        env.animate(stacked, actions=np.ones((4, 2)))
    with refused((2, 3, 3), (4, 3, 3), "edges"):
        env.animate(stacked, edges=np.ones((2, 3, 3)))


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        ("navigation_N03_l3", "navigation_N3_l3"),
        ("navigation_N3_l03", "navigation_N3_l3"),
        ("predator_prey_N006_l01@random", "predator_prey_N6_l1@random"),
        ("push_N03", "push_N3"),
    ],
)
def test_a_size_is_written_in_one_way(name, canonical):
    with pytest.raises(ValueError, match=rf"\A[^\n]*{name}[^\n]* {canonical}\Z"):
        jax_mpe.make(name)
    with pytest.raises(ValueError, match="unknown task"):
        jax_mpe.make("push_N\N{ARABIC-INDIC DIGIT THREE}")


@pytest.mark.parametrize("name", [name for name in TASKS if jax_mpe.make(name).num_agents > 2])
def test_who_says_that_the_others_are_seen_shows_their_places_last(name):
    """What agent i sees of j is as far as what j sees of i, where it is the other; nowhere else by chance."""
    env = jax_mpe.make(name)
    agents = env.num_agents
    view = np.asarray(env.reset(jax.random.key(3))[1].observation.agents_view)
    last = view[:, -2 * (agents - 1) :]
    mutual = False
    if last.shape[1] == 2 * (agents - 1):
        distance = np.zeros((agents, agents))
        distance[~np.eye(agents, dtype=bool)] = np.hypot(last[:, ::2], last[:, 1::2]).ravel()
        mutual = np.ptp(distance[0, 1:]) > 0 and np.allclose(distance, distance.T, atol=1e-5)
    assert env.others_seen == mutual


@pytest.mark.parametrize("name", TASKS)
def test_what_is_seen_is_as_large_as_the_task_says(name):
    env = jax_mpe.make(name)
    seen = jax.eval_shape(env.reset, jax.random.key(0))[1].observation
    said = env.observation_spec
    assert (
        seen.agents_view.shape == said.agents_view.shape == (env.num_agents, env.observation_size)
    )
    assert seen.step_count.shape == said.step_count.shape == ()
