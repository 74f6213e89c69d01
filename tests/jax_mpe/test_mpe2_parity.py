"""Parity with PettingZoo's mpe2 (simple_spread), a third party's code, wherever the dialects agree.

Same: force of an action, contact forces, damping, masses, the new velocity, the distance term, the
number of collisions, the relative positions, and the choice of the nearest landmarks.

Different, and tested as such:
- mpe2 moves a body by its *old* velocity, then updates the velocity; we (with OpenAI's first
  release) move it by the new.
- mpe2 gives each agent half the distance term minus half its own collisions; ours is one team
  reward, equal to the distance term plus every agent's collision term.
- mpe2's observation has a silent channel at its end, and all landmarks in index order unless asked
  for the nearest.
- mpe2's action is (noop, left, right, down, up) in [0, 1]; ours is the net force in [-1, 1].
- mpe2 divides by a zero distance for coincident bodies (NaN); ours has no force there.
"""

import jax
import jax.numpy as jnp
import jax_mpe
import numpy as np
import pytest

spread = pytest.importorskip("mpe2.simple_spread.simple_spread")
partial_view = pytest.importorskip("mpe2._mpe_utils.partial_observability")

STATES = 200


def random_states(agents, seed=0):
    rng = np.random.default_rng(seed)
    shape = (STATES, agents, 2)
    draw = [rng.uniform(-0.6, 0.6, shape), rng.normal(0, 0.5, shape), rng.uniform(-1, 1, shape)]
    action = rng.uniform(-1, 1, shape)
    return [x.astype(np.float32).astype(np.float64) for x in (*draw, action)]


def mpe2_world(scenario, position, velocity, landmark):
    world = scenario.make_world(len(position))
    for agent, p, v in zip(world.agents, position, velocity, strict=True):
        agent.state.p_pos, agent.state.p_vel, agent.state.c = p.copy(), v.copy(), np.zeros(2)
    for body, p in zip(world.landmarks, landmark, strict=True):
        body.state.p_pos, body.state.p_vel = p.copy(), np.zeros(2)
    return world


def ours(env, position, velocity, landmark):
    return jax_mpe.NavigationState(
        key=jax.random.split(jax.random.key(0), STATES),
        step_count=jnp.zeros(STATES, jnp.int32),
        agent_position=jnp.asarray(position, float),
        agent_velocity=jnp.asarray(velocity, float),
        landmark_position=jnp.asarray(landmark, float),
    )


@pytest.mark.parametrize("agents", [2, 3, 6])
def test_one_step_equals_mpe2_but_for_the_order_of_motion(agents):
    env = jax_mpe.Navigation(agents, agents)
    position, velocity, landmark, action = random_states(agents)
    after, timestep = jax.jit(jax.vmap(env.step))(
        ours(env, position, velocity, landmark), jnp.asarray(action, float)
    )
    contact = jax.jit(jax.vmap(lambda p: jax_mpe.contact_forces(env.bodies, p)))(
        jnp.asarray(position, float)
    )
    scenario, touching, collisions = spread.Scenario(), 0, 0
    for s in range(STATES):
        world = mpe2_world(scenario, position[s], velocity[s], landmark[s])
        force = world.apply_environment_force([np.zeros(2)] * (2 * agents))[:agents]
        np.testing.assert_allclose(contact[s], force, atol=1e-4, rtol=1e-4)
        touching += np.abs(force).max() > 1
        for agent, a in zip(world.agents, action[s], strict=True):
            agent.action.u, agent.action.c = (
                5.0 * a,
                np.zeros(2),
            )  # the environment's sensitivity is 5
        world.step()
        new_velocity = np.stack([agent.state.p_vel for agent in world.agents])
        np.testing.assert_allclose(after.agent_velocity[s], new_velocity, atol=1e-5, rtol=1e-5)
        mpe2_position = np.stack([agent.state.p_pos for agent in world.agents])
        np.testing.assert_allclose(mpe2_position, position[s] + 0.1 * velocity[s], atol=1e-12)
        np.testing.assert_allclose(
            after.agent_position[s], position[s] + 0.1 * new_velocity, atol=1e-5, rtol=1e-5
        )
        # the reward of the same places
        reached = mpe2_world(
            scenario, np.asarray(after.agent_position[s], np.float64), new_velocity, landmark[s]
        )
        local = [scenario.reward(agent, reached) for agent in reached.agents]
        collisions -= sum(local)
        team = scenario.global_reward(reached) + sum(local)
        assert float(timestep.reward[s]) == pytest.approx(team, abs=1e-5)
    assert touching > 10
    assert collisions > 10


@pytest.mark.parametrize(("agents", "visible"), [(2, 1), (3, 3), (3, 1), (6, 2), (6, 6)])
def test_observation_holds_what_mpe2_shows(agents, visible):
    env = jax_mpe.Navigation(agents, visible)
    position, velocity, landmark, _ = random_states(agents, seed=1)
    views = jax.jit(jax.vmap(env.observe))(ours(env, position, velocity, landmark))
    scenario = spread.Scenario(num_landmark_neighbors=visible)  # nearest first, as ours
    for s in range(STATES):
        world = mpe2_world(scenario, position[s], velocity[s], landmark[s])
        for i, agent in enumerate(world.agents):
            theirs = scenario.observation(agent, world)
            nearest = partial_view.padded_relative_positions(agent, world.landmarks, visible)
            np.testing.assert_allclose(theirs[4 : 4 + 2 * visible], np.concatenate(nearest))
            np.testing.assert_allclose(views[s, i], theirs[: env.observation_size], atol=1e-6)
            np.testing.assert_array_equal(theirs[env.observation_size :], 0)  # the silent channel


tag = pytest.importorskip("mpe2.simple_tag.simple_tag")


@pytest.mark.parametrize(("predators", "prey", "landmarks"), [(3, 1, 2), (6, 2, 3)])
def test_one_step_of_predator_and_prey_equals_mpe2s_but_for_the_order_of_motion(
    predators, prey, landmarks
):
    """Forces between bodies of three sizes, damping, speed limits, contacts, prey's observation.

    Different, and left out: mpe2 moves by the old velocity, sees the prey's velocity, and pays each
    predator 10 for every contact, so that its rewards sum to N times ours without the distances.
    """
    env = jax_mpe.PredatorPrey(predators, landmarks, prey="scripted")
    rng = np.random.default_rng(3)
    counts = (predators, prey, landmarks)
    places = [rng.uniform(-0.5, 0.5, (STATES, n, 2)).astype(np.float32) for n in counts]
    speeds = [rng.normal(0, 0.7, (STATES, n, 2)).astype(np.float32) for n in counts[:2]]
    actions = [rng.uniform(-1, 1, (STATES, n, 2)).astype(np.float32) for n in counts[:2]]
    state = jax_mpe.PredatorPreyState(
        key=jax.random.split(jax.random.key(0), STATES),
        step_count=jnp.zeros(STATES, jnp.int32),
        agent_position=jnp.asarray(places[0]),
        agent_velocity=jnp.asarray(speeds[0]),
        prey_position=jnp.asarray(places[1]),
        prey_velocity=jnp.asarray(speeds[1]),
        landmark_position=jnp.asarray(places[2]),
    )
    after, _ = jax.jit(jax.vmap(env.step_teams))(state, *actions)
    seen = jax.jit(jax.vmap(env.observe_prey))(state)
    contacts = jax.jit(jax.vmap(env.measures))(state)["contacts"]
    scenario, limited, touching = tag.Scenario(), 0, 0
    for s in range(STATES):
        world = scenario.make_world(prey, predators, landmarks)
        place = np.concatenate([x[s] for x in places]).astype(np.float64)
        speed = np.concatenate([x[s] for x in speeds]).astype(np.float64)
        push = np.concatenate([x[s] for x in actions])
        for i, body in enumerate(world.agents):
            body.state.p_pos, body.state.p_vel = place[i].copy(), speed[i].copy()
            body.state.c, body.action.c = np.zeros(2), np.zeros(2)
            body.action.u = push[i] * (4.0 if i >= predators else 3.0)
        for i, body in enumerate(world.landmarks):
            body.state.p_pos = place[predators + prey + i].copy()
            body.state.p_vel = np.zeros(2)
        for i, body in enumerate(world.agents[predators:]):
            np.testing.assert_allclose(seen[s, i], scenario.observation(body, world), atol=1e-6)
        theirs = sum(scenario.reward(body, world) for body in world.agents[:predators])
        assert theirs == pytest.approx(10 * predators * float(contacts[s]))
        touching += float(contacts[s])
        world.step()
        new = np.stack([body.state.p_vel for body in world.agents])
        found = np.concatenate([after.agent_velocity[s], after.prey_velocity[s]])
        np.testing.assert_allclose(found, new, atol=1e-4, rtol=1e-4)
        moved = np.concatenate([after.agent_position[s], after.prey_position[s]])
        np.testing.assert_allclose(moved, place[: len(new)] + 0.1 * new, atol=1e-5)
        limited += np.isclose(np.hypot(*new.T), [1.0] * predators + [1.3] * prey).sum()
    assert touching > 20
    assert limited > 50
