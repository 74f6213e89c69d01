"""What every task promises: jumanji's interface, the time limit, names, snapshots, keys, dtypes."""

import functools

import jax
import jax.numpy as jnp
import jax_mpe
import jumanji
import numpy as np
import pytest
from jumanji.testing.env_not_smoke import check_env_does_not_smoke, check_env_specs_does_not_smoke
from jumanji.types import StepType
from jumanji.wrappers import AutoResetWrapper, VmapAutoResetWrapper, VmapWrapper
from task_names import NAMED

OTHER_SIZES = (
    *(f"navigation_{size}" for size in ("N2_l1", "N4_l2", "N10_l4")),
    *(f"predator_prey_{size}" for size in ("N2_l1", "N4_l2", "N10_l4")),
    *(f"push_{size}" for size in ("N2", "N4", "N10")),
    *(f"reference_{size}" for size in ("N4", "N10")),
    "predator_prey_N3_l1@random",
    "toy_follow_holder_N5",
    "toy_follow_two_N6",
)
LARGE = (
    "navigation_N30_l5",
    "predator_prey_N30_l5",
    "push_N30",
    "reference_N30",
)  # these take long to compile


def slow(name):
    return pytest.param(name, marks=pytest.mark.slow)


OTHERS = (n if "_N2" in n or "@" in n or "toy" in n else slow(n) for n in OTHER_SIZES)
TASKS = (*NAMED, *OTHERS, *map(slow, LARGE))
SMALL = (
    "navigation_N3_l3",
    "predator_prey_N3_l3",
    "predator_prey_N6_l1@random",
    "push_N3",
    "reference_N3",
    "toy_crossed_goals",
    "toy_follow_holder",
)
# All of them too, where a few stand for the others as long as time is short.
EACH = tuple(n if n in SMALL else slow(n) for n in (*NAMED, *OTHER_SIZES, *LARGE, SMALL[2]))
# Numbers of moving and of fixed floats in a snapshot, by scenario and N.
SNAPSHOTS = {
    "navigation": lambda n: (4 * n, 2 * n),
    "predator_prey": lambda n: (4 * (n + max(1, n // 3)), 2 * (1 + max(1, n // 3))),
    "push": lambda n: (4 * (n + 1), 2),
    "reference": lambda n: (4 * n, 4 * n),
    "toy_crossed_goals": lambda n: (2, 0),
    "toy_public": lambda n: (2, 0),
    "toy_late_goals": lambda n: (2, 0),
    "toy_follow_holder": lambda n: (n, 0),
    "toy_follow_two": lambda n: (n + 1, 0),
    "toy_switch_riddle": lambda n: (7, 0),
}


def positions_of(state):
    return [name for name in vars(state) if name.endswith("_position")]


def actions_like(env, *lead, seed=0):
    shape = (*lead, env.num_agents, env.action_size)
    return jax.random.uniform(jax.random.key(seed), shape, minval=-1.0)


def episode(env, key, actions):
    """First and later time steps of one episode, and all its states."""

    def step(state, action):
        state, timestep = env.step(state, action)
        return state, (state, timestep)

    state, first = env.reset(key)
    return first, jax.lax.scan(step, state, actions)[1]


@functools.cache
def lanes(name):
    """Four episodes of 27 steps, two steps beyond the end, with snapshots and what comes back from
    them."""
    env = jax_mpe.make(name)

    def one(key, actions):
        first, (states, rest) = episode(env, key, actions)
        snapshots = jax.vmap(env.compress)(states)
        restored = jax.vmap(env.restore)(snapshots, states.step_count)
        observe = jax.vmap(env.observe)
        return first, states, rest, snapshots, restored, observe(states), observe(restored)

    keys = jax.random.split(jax.random.key(3), 4)
    return jax.jit(jax.vmap(one))(keys, actions_like(env, 4, 27))


def assert_same(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert a.dtype == b.dtype
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        np.testing.assert_array_equal(a, b)


@pytest.mark.quick_cases(5)
@pytest.mark.parametrize("name", TASKS)
def test_passes_jumanjis_own_checks(name):
    env = jumanji.make("jax_mpe-v0", name=name)
    check_env_does_not_smoke(env)
    check_env_specs_does_not_smoke(env)


@pytest.mark.quick_cases(6)
@pytest.mark.parametrize("name", TASKS)
def test_an_episode_is_25_steps_and_ends_as_a_truncation(name):
    env = jax_mpe.make(name)
    assert env.name == name
    assert env.horizon == 25
    first, _, rest, _, _, views, _ = lanes(name)
    np.testing.assert_array_equal(first.step_type, [StepType.FIRST] * 4)
    np.testing.assert_array_equal(first.reward, [0.0] * 4)
    np.testing.assert_array_equal(first.discount, [1.0] * 4)
    np.testing.assert_array_equal(first.observation.step_count, [0] * 4)
    # two steps beyond the end: still last, still no termination
    np.testing.assert_array_equal(rest.last(), [[False] * 24 + [True] * 3] * 4)
    np.testing.assert_array_equal(rest.mid(), [[True] * 24 + [False] * 3] * 4)
    np.testing.assert_array_equal(rest.discount, np.ones((4, 27)))
    np.testing.assert_array_equal(rest.observation.step_count, [np.arange(1, 28)] * 4)
    assert np.isfinite(rest.reward).all()
    assert rest.reward.dtype == rest.discount.dtype == views.dtype == jnp.float32
    # Two programs: XLA may fuse, and so round, in another way.
    np.testing.assert_allclose(views, rest.observation.agents_view, rtol=1e-5, atol=1e-6)
    view = (env.num_agents, env.observation_size)
    assert views.shape == (4, 27, *view)
    assert env.observation_spec.agents_view.shape == view
    env.observation_spec.validate(jax.tree.map(lambda x: x[0], first.observation))
    env.action_spec.validate(jnp.zeros((env.num_agents, env.action_size)))


@pytest.mark.parametrize(
    ("name", "width"),
    [
        ("navigation_N3_l3", 14),
        ("navigation_N6_l1", 16),
        ("navigation_N6_l6", 26),
        ("navigation_N10_l4", 30),
        ("predator_prey_N3_l3", 14),
        ("predator_prey_N6_l1", 18),
        ("predator_prey_N6_l6", 24),
        ("predator_prey_N10_l4", 36),
        ("push_N3", 12),
        ("push_N6", 18),
        ("reference_N2", 12),
        ("reference_N3", 16),
        ("reference_N6", 28),
        ("toy_crossed_goals", 7),
        ("toy_follow_holder", 9),
        ("toy_follow_holder_N12", 27),
        ("toy_follow_two", 11),
        ("toy_follow_two_N7", 17),
        ("toy_public", 11),
        ("toy_late_goals", 8),
        ("toy_switch_riddle", 13),
    ],
)
def test_observation_widths(name, width):
    assert jax_mpe.make(name).observation_size == width


@pytest.mark.quick_cases(3)
@pytest.mark.parametrize("name", TASKS)
def test_snapshot_restores_the_observation_exactly(name):
    env = jax_mpe.make(name)

    _, states, _, snapshots, restored, views, views_of_restored = lanes(name)
    np.testing.assert_array_equal(views_of_restored, views)
    assert_same(restored.replace(key=states.key), states)
    assert snapshots.moving.ndim == snapshots.fixed.ndim == 3
    assert snapshots.moving.dtype == snapshots.fixed.dtype == jnp.float32
    scenario = name.split("_N")[0]
    sizes = snapshots.moving.shape[-1], snapshots.fixed.shape[-1]
    assert sizes == SNAPSHOTS[scenario](env.num_agents)
    for vector, names in (
        (snapshots.moving, env.moving_fields),
        (snapshots.fixed, env.fixed_fields),
    ):
        parts = [getattr(states, field).reshape(4, 27, -1) for field in names]
        np.testing.assert_array_equal(vector, np.concatenate([vector[..., :0], *parts], axis=-1))
    np.testing.assert_array_equal(
        snapshots.fixed, np.broadcast_to(snapshots.fixed[:, :1], snapshots.fixed.shape)
    )


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize("name", EACH)
def test_jit_vmap_and_scan_agree_with_plain_steps(name):
    env = jax_mpe.make(name)
    keys, actions = jax.random.split(jax.random.key(9), 3), actions_like(env, 3, 6, seed=1)
    batched = jax.jit(jax.vmap(lambda k, a: episode(env, k, a)))(keys, actions)
    step = jax.jit(env.step)
    for lane in range(3):
        state, timestep = env.reset(keys[lane])
        np.testing.assert_allclose(
            batched[0].observation.agents_view[lane], timestep.observation.agents_view, rtol=1e-6
        )
        for t in range(6):
            state, timestep = step(state, actions[lane, t])
            states, timesteps = jax.tree.map(lambda x, at=(lane, t): x[at], batched[1])
            np.testing.assert_array_equal(
                jax.random.key_data(states.key), jax.random.key_data(state.key)
            )
            for a, b in zip(
                jax.tree.leaves((states.replace(key=()), timesteps)),
                jax.tree.leaves((state.replace(key=()), timestep)),
                strict=True,
            ):
                np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize("name", EACH)
def test_same_key_same_episode_other_key_other_episode(name):
    env = jax_mpe.make(name)
    run = jax.jit(lambda key: episode(env, key, actions_like(env, 25)))
    one, again, other = run(jax.random.key(1)), run(jax.random.key(1)), run(jax.random.key(2))
    assert_same(one, again)
    assert not np.array_equal(one[1][1].reward, other[1][1].reward)
    raw = run(jax.random.PRNGKey(1))
    assert_same(raw[1][1], one[1][1])  # a raw key is the same key


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize("name", EACH)
def test_works_in_jumanjis_wrappers(name):
    env = jax_mpe.make(name)
    wrapped = AutoResetWrapper(env, next_obs_in_extras=True)
    state, timestep = jax.jit(wrapped.reset)(jax.random.key(0))
    step = jax.jit(wrapped.step)
    starts = []
    for t in range(51):
        state, timestep = step(state, actions_like(env))
        assert bool(timestep.last()) == (t in (24, 49))
        if timestep.last():
            assert int(state.step_count) == 0
            assert int(timestep.extras["next_obs"].step_count) == 25
            starts.append(np.asarray(timestep.observation.agents_view))
    assert int(state.step_count) == 1
    assert len(starts) == 2
    if not name.startswith("toy"):
        assert not np.array_equal(*starts)

    keys = jax.random.split(jax.random.key(0), 4)
    for many in (VmapWrapper(env), VmapAutoResetWrapper(env)):
        play = jax.jit(lambda keys, actions, many=many: many.step(many.reset(keys)[0], actions))
        _, timestep = play(keys, actions_like(env, 4))
        assert timestep.observation.agents_view.shape == (4, env.num_agents, env.observation_size)
        assert timestep.reward.shape == (4,)


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize("name", EACH)
def test_float64_throughout_under_x64(name):
    with jax.enable_x64(True):
        env = jax_mpe.make(name)
        first, (states, rest) = jax.jit(lambda k: episode(env, k, actions_like(env, 25)))(
            jax.random.key(0)
        )
        for tree in (first, rest):
            assert tree.reward.dtype == tree.discount.dtype == jnp.float64
            assert tree.observation.agents_view.dtype == jnp.float64
            assert tree.observation.step_count.dtype == jnp.int32
            assert tree.step_type.dtype == jnp.int8
        last = jax.tree.map(lambda x: x[-1], states)
        snapshot = env.compress(last)
        assert snapshot.moving.dtype == snapshot.fixed.dtype == jnp.float64
        np.testing.assert_array_equal(
            env.observe(env.restore(snapshot, last.step_count)), env.observe(last)
        )


@pytest.mark.quick_cases(3)
@pytest.mark.parametrize(
    "name",
    [
        *(name for name in (*NAMED, *OTHER_SIZES) if not name.startswith("toy")),
        *map(slow, LARGE),
    ],
)
def test_all_is_finite_when_all_bodies_coincide(name):
    env = jax_mpe.make(name)
    state, _ = env.reset(jax.random.key(0))
    places = {field: jnp.zeros_like(getattr(state, field)) for field in positions_of(state)}

    @jax.jit
    def value_and_gradients(places, actions):
        def total(places, actions):
            after, timestep = env.step(state.replace(**places), actions)
            view = jnp.sum(jnp.sin(timestep.observation.agents_view))
            measures = sum(env.measures(after).values())
            return timestep.reward + view + 1e-3 * measures + jnp.sum(after.agent_velocity)

        return jax.value_and_grad(total, argnums=(0, 1))(places, actions)

    out = value_and_gradients(places, 0.5 * actions_like(env))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(out))
    assert np.abs(out[1][1]).sum() > 0


@pytest.mark.parametrize(
    ("name", "measures"),
    [
        ("navigation_N3_l3", {"landmarks_covered", "collisions"}),
        ("predator_prey_N6_l1", {"contacts", "captures"}),
        ("push_N3", {"ball_distance", "touches"}),
        ("reference_N3", {"targets_reached"}),
    ],
)
def test_measures_of_each_step_are_named_scalars(name, measures):
    env = jax_mpe.make(name)
    states = lanes(name)[1]
    found = jax.jit(jax.vmap(jax.vmap(env.measures)))(states)
    assert set(found) == measures
    for values in found.values():
        assert values.shape == (4, 27) and values.dtype == jnp.float32
        assert np.isfinite(values).all() and (np.asarray(values) >= 0).all()
