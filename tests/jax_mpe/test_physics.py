"""One step of the world, for bodies of every kind."""

import jax
import jax.numpy as jnp
import jax_mpe
import numpy as np
import pytest
from jax_mpe import Bodies
from jax_mpe.physics import contact_forces

from tests.oracles import mpe_numpy

# A predator-and-prey world with a ball: every property differs between some two bodies.
MIXED = (
    Bodies.alike(2, radius=0.075, max_speed=1.0)
    + Bodies.alike(1, radius=0.05, max_speed=1.3, mass=0.5)
    + Bodies.alike(2, radius=0.2, movable=False)
    + Bodies.alike(1, radius=0.1, mass=2.0)
    + Bodies.alike(1, radius=0.3, collides=False)
)


forces = jax.jit(jax_mpe.contact_forces, static_argnums=0)


def as_oracle(bodies):
    columns = (bodies.radius, bodies.mass, bodies.max_speed, bodies.movable, bodies.collides)
    return [mpe_numpy.Body(*row) for row in zip(*columns, strict=True)]


def random_world(bodies, worlds=2000, seed=0):
    rng = np.random.default_rng(seed)
    shape = (worlds, len(bodies), 2)
    position = rng.uniform(-0.4, 0.4, shape).astype(np.float32)  # crowded, so that contacts abound
    velocity = rng.normal(0, 1, shape).astype(np.float32)
    force = rng.normal(0, 5, shape).astype(np.float32)
    still = ~np.array(bodies.movable)
    velocity[:, still] = 0
    return position, velocity, force


def test_mixed_world_equals_the_oracle():
    position, velocity, force = random_world(MIXED)
    ours = jax.jit(jax.vmap(lambda p, v, f: jax_mpe.world_step(MIXED, p, v, f)))(
        position, velocity, force
    )
    oracle = mpe_numpy.step(
        as_oracle(MIXED), *(x.astype(np.float64) for x in (position, velocity, force))
    )
    for actual, wanted in zip(ours, oracle, strict=True):
        np.testing.assert_allclose(actual, wanted, atol=2e-5, rtol=1e-5)
    # every kind of event that the comparison is about did happen
    speed = np.linalg.norm(oracle[1], axis=-1)
    for body, limit in enumerate(MIXED.max_speed):
        if limit is not None:
            assert np.isclose(speed[:, body], limit).any() and (speed[:, body] < 0.99 * limit).any()
    np.testing.assert_array_equal(ours[0][:, 3:5], position[:, 3:5])
    gap = np.linalg.norm(position[:, 5] - position[:, 0], axis=-1)
    assert (gap < 0.175).sum() > 20


@pytest.mark.parametrize("count", [9, 17])
def test_a_crowd_that_fills_no_whole_vector_equals_the_oracle(count):
    """Forces are computed of eight bodies at a time, those that are missing filled up."""
    crowd = Bodies.alike(1, radius=0.2, movable=False) + Bodies.alike(count - 1, radius=0.1)
    crowd += Bodies.alike(1, radius=0.3, movable=False)
    world = random_world(crowd, worlds=200)
    ours = jax.jit(jax.vmap(lambda p, v, f: jax_mpe.world_step(crowd, p, v, f)))(*world)
    oracle = mpe_numpy.step(as_oracle(crowd), *(x.astype(np.float64) for x in world))
    for actual, wanted in zip(ours, oracle, strict=True):
        np.testing.assert_allclose(actual, wanted, atol=1e-4, rtol=1e-4)
    unmoved = np.asarray(forces(crowd, world[0][0]))[[0, -1]]
    np.testing.assert_array_equal(unmoved, 0)  # they cannot be pushed


@pytest.mark.parametrize("limits", [(1.0,), (1.0, None)])
def test_nobody_is_faster_than_allowed_whoever_else_is_limited(limits):
    bodies = Bodies.alike(1, radius=0.1, max_speed=limits[0])
    for limit in limits[1:]:
        bodies += Bodies.alike(1, radius=0.1, max_speed=limit)
    place = jnp.arange(2.0 * len(limits)).reshape(-1, 2)
    push = jnp.full_like(place, 100.0)
    _, moved = jax_mpe.world_step(bodies, place, jnp.zeros_like(place), push)
    speed = np.linalg.norm(moved, axis=-1)
    np.testing.assert_allclose(speed[0], 1.0, rtol=1e-6)
    assert (speed[1:] > 10).all()


def test_contact_force_by_hand():
    bodies = Bodies.alike(1, radius=0.1) + Bodies.alike(1, radius=0.2)
    position = jnp.array([[0.0, 0.0], [0.0, 0.25]])
    # 0.05 deep, which is 50 margins, so that the softplus is the depth itself: 100 * 0.05
    np.testing.assert_allclose(forces(bodies, position), [[0, -5], [0, 5]], rtol=1e-5, atol=1e-6)
    touching = jnp.array([[0.0, 0.0], [0.3, 0.0]])
    push = 100 * 1e-3 * np.log(2)
    np.testing.assert_allclose(forces(bodies, touching), [[-push, 0], [push, 0]], rtol=1e-3)


def test_contacts_keep_the_momentum():
    bodies = Bodies.alike(4, radius=0.15)
    position, _, _ = random_world(bodies, worlds=100)
    total = jax.vmap(lambda p: forces(bodies, p))(position).sum(axis=1)
    np.testing.assert_allclose(total, 0, atol=1e-5)


def test_bodies_that_do_not_collide_neither_push_nor_are_pushed():
    ghost = Bodies.alike(1, radius=0.2, collides=False)
    pair = Bodies.alike(2, radius=0.1)
    crowd = jnp.array([[0.0, 0.0], [0.15, 0.0], [0.01, 0.02]])
    force = forces(pair + ghost, crowd)
    np.testing.assert_array_equal(force[2], 0)
    np.testing.assert_array_equal(force[:2], forces(pair, crowd[:2]))
    assert float(force[1, 0]) > 1
    free = Bodies.alike(3, radius=0.1, collides=False)
    np.testing.assert_array_equal(forces(free, crowd), 0)


def test_coincident_bodies_have_zero_force_and_finite_gradient():
    bodies = Bodies.alike(3, radius=0.15, max_speed=1.0)
    position = jnp.array([[0.1, 0.2], [0.1, 0.2], [0.15, 0.2]])
    force = forces(bodies, position)
    assert np.isfinite(force).all()
    np.testing.assert_allclose(force[0], force[1])  # nothing between the two, the third pushes both
    assert float(force[0, 0]) < -20

    def summed(position, velocity):
        step = jax_mpe.world_step(bodies, position, velocity, jnp.zeros((3, 2)))
        return sum(jnp.sum(jnp.sin(x)) for x in step)

    for gradient in jax.jit(jax.grad(summed, argnums=(0, 1)))(position, jnp.zeros((3, 2))):
        assert np.isfinite(gradient).all()


def test_norm_has_zero_gradient_at_zero():
    assert float(jax_mpe.norm(jnp.array([3.0, 4.0]))) == 5.0
    assert float(jax_mpe.norm(jnp.zeros(2))) == 0.0
    np.testing.assert_array_equal(jax.grad(lambda x: jax_mpe.norm(x))(jnp.zeros(2)), 0)
    np.testing.assert_allclose(
        jax.grad(lambda x: jax_mpe.norm(x))(jnp.array([3.0, 4.0])), [0.6, 0.8]
    )


@pytest.mark.parametrize("task", ["navigation_N3_l3", "predator_prey_N3_l3@scripted", "push_N3"])
def test_what_is_not_a_number_shows_in_the_reward(task):
    """A seed whose networks have left the finite numbers must not seem to do well."""
    env = jax_mpe.make(task)
    state, _ = env.reset(jax.random.key(0))
    _, timestep = env.step(state, jnp.full((3, 2), jnp.nan))
    assert np.isnan(timestep.reward)


def test_gradient_equals_central_differences_in_float64():
    position, velocity, force = (x[0] for x in random_world(MIXED, worlds=1, seed=3))
    with jax.enable_x64(True):
        inputs = [jnp.asarray(x, jnp.float64) for x in (position, velocity, force)]

        def summed(*inputs):
            return sum(jnp.sum(jnp.sin(x)) for x in jax_mpe.world_step(MIXED, *inputs))

        gradients = jax.jit(jax.grad(summed, argnums=(0, 1, 2)))(*inputs)
        run = jax.jit(summed)
        step = 1e-6
        for which, gradient in enumerate(gradients):
            assert gradient.dtype == jnp.float64
            for place in np.ndindex(gradient.shape):
                high, low = (
                    run(*(x.at[place].add(s) if n == which else x for n, x in enumerate(inputs)))
                    for s in (step, -step)
                )
                assert float(gradient[place]) == pytest.approx(
                    float(high - low) / (2 * step), abs=1e-4, rel=1e-5
                )


def test_wrong_bodies_are_refused():
    with pytest.raises(ValueError, match="one entry for each body"):
        Bodies((0.1,), (1.0, 1.0), (None,), (True,), (True,))
    with pytest.raises(ValueError, match="must be positive"):
        Bodies.alike(2, radius=0.0)
    with pytest.raises(ValueError, match="must be positive"):
        Bodies.alike(2, radius=0.1, mass=0.0)
    for wrong in (float("nan"), float("inf"), -1.0):
        with pytest.raises(ValueError, match=rf"\Aevery radius [^\n]* not {wrong}\Z"):
            Bodies.alike(2, radius=wrong)
        with pytest.raises(ValueError, match=rf"\Aevery mass [^\n]* not {wrong}\Z"):
            Bodies.alike(2, radius=0.1, mass=wrong)
    for wrong in (float("nan"), -1.0):
        with pytest.raises(ValueError, match=rf"\Aevery max_speed [^\n]* not {wrong}\Z"):
            Bodies.alike(2, radius=0.1, max_speed=wrong)
    with pytest.raises(ValueError, match=r"\Athere are no Bodies; [^\n]*\Z"):
        Bodies.alike(0, radius=0.1)
    assert Bodies.alike(2, radius=0.1, max_speed=0.0).max_speed == (0.0, 0.0)


def test_one_that_takes_no_part_in_contacts_feels_none_between_two_that_do():
    one = Bodies.alike(1, radius=0.5)
    bodies = one + Bodies.alike(1, radius=0.5, collides=False) + one
    force = np.asarray(contact_forces(bodies, jnp.array([[0.0, 0.0], [0.05, 0.0], [0.2, 0.0]])))
    assert np.all(force[1] == 0)
    assert force[0, 0] < -1 and force[2, 0] > 1


@pytest.mark.parametrize(("platform", "barriers"), [("cpu", 2), ("cuda", 0)])
def test_only_a_cpu_is_kept_from_computing_anything_twice(platform, barriers):
    shape = jax.ShapeDtypeStruct((len(MIXED), 2), np.float32)
    step = jax.jit(lambda p, v, f: jax_mpe.world_step(MIXED, p, v, f))
    text = step.trace(shape, shape, shape).lower(lowering_platforms=(platform,)).as_text()
    assert text.count("stablehlo.optimization_barrier") == barriers
