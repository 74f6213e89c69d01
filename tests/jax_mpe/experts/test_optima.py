"""Both known ends of the reference task."""

import jax
import jax.numpy as jnp
import jax_mpe
import numpy as np
import pytest
from jax_mpe.experts import expert, knowing_optimum, silent_optimum


def starts(env, count):
    return jax.vmap(lambda key: env.reset(key)[0])(jax.random.split(jax.random.key(2), count))


def follow(env, state, policy):
    """Return of one episode from this state."""

    def step(state, _):
        state, timestep = env.step(state, policy(state))
        return state, timestep.reward

    return jnp.sum(jax.lax.scan(step, state, None, length=25)[1])


def test_silent_and_knowing_at_two_agents():
    env = jax_mpe.make("reference_N2")
    state = starts(env, 600)
    silent, knowing = silent_optimum(env, state), knowing_optimum(env, state)
    assert silent.shape == knowing.shape == (600,)
    assert float(silent.mean()) == pytest.approx(-11.8, abs=0.5)
    assert float(knowing.mean()) > -4.0
    assert (knowing >= silent - 0.1).all()
    # Nobody who knows does better than to go there; no silent plan beats the silent optimum.
    direct = jax.jit(jax.vmap(lambda s: follow(env, s, expert(env))))(state)
    np.testing.assert_allclose(knowing, direct, atol=0.1)

    def middle(start):
        """A team that waits between the landmarks, by what it would get on average."""
        goal = start.landmark_position.mean(0)
        fake = start.replace(landmark_position=jnp.stack([goal, goal]))

        def step(states, _):
            fake, true = states
            after = env.step(fake, expert(env)(fake))[0]
            gap = after.agent_position[:, None] - true.landmark_position[None]
            return (after, true), -jnp.linalg.norm(gap, axis=-1).mean()

        return jnp.sum(jax.lax.scan(step, (fake, start), None, length=25)[1])

    naive = jax.jit(jax.vmap(middle))(state)
    assert (silent >= naive - 0.1).all() and float((silent - naive).mean()) > 0


def test_one_agent_between_three_landmarks_waits_at_their_geometric_median():
    env = jax_mpe.make("reference_N3")
    state = jax.tree.map(lambda x: x[:1], starts(env, 1))
    triangle = jnp.array([[0.0, 0.4], [-0.3, -0.2], [0.3, -0.2]])
    # For this triangle the point that sees each side at 120 degrees is known: (0, 0.3 / 3^.5 - 0.2).
    best = jnp.array([0.0, 0.3 / 3**0.5 - 0.2])
    there = state.replace(
        landmark_position=triangle[None], agent_position=jnp.tile(best, (1, 3, 1))
    )
    wanted = -25 * float(jnp.linalg.norm(triangle - best, axis=-1).mean())
    assert float(silent_optimum(env, there)[0]) == pytest.approx(wanted, abs=1e-2)


def test_both_ends_are_further_apart_the_more_agents_there_are():
    gaps = []
    for agents, silent, knowing in ((2, -11.99, -3.12), (3, -15.32, -4.38)):
        env = jax_mpe.make(f"reference_N{agents}")
        state = starts(env, 100)
        ends = silent_optimum(env, state), knowing_optimum(env, state)
        for end, wanted in zip(ends, (silent, knowing), strict=True):
            # Means of 300 other starts, and the error of a hundred.
            assert float(end.mean()) == pytest.approx(wanted, abs=4 * float(end.std()) / 10)
        gaps.append(float(ends[1].mean() - ends[0].mean()))
    assert gaps[1] > gaps[0]
