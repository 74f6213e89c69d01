"""One episode: encode, gate, aggregate, act, step, as a scan over T."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax_mpe.scenario import Scenario
from jaxtyping import Array, Key

from purejax_mgtopo.algorithm.replay import on_grid
from purejax_mgtopo.algorithm.team import Policy, Team
from purejax_mgtopo.algorithm.types import Gates, Mode, PyTree, Trajectory, random_tape


def rollout(
    env: Scenario,
    team: Team,
    policy: Policy,
    gates: PyTree,
    *,
    reset_key: Key[Array, ""],
    gate_key: Key[Array, ""],
    exploration_key: Key[Array, ""],
    exploration: float,
    mode: Mode,
) -> Trajectory:
    """Play one episode with (theta_c, theta_pi).

    Args:
        env: the task.
        team: who plays.
        policy: theta_pi.
        gates: theta_c.
        reset_key: the environment's randomness; the same whatever the rule.
        gate_key: the decisions' randomness.
        exploration_key: the action noise's.
        exploration: standard deviation of the Gaussian that is added to actions, which are then clipped to [-1, 1].
        mode: how decisions are made.
    """
    # Drawn for the whole episode at once: in the loop, every draw would be a kernel of its own.
    shape = (env.horizon, env.num_agents, env.action_size)
    noise = (
        exploration * jax.random.normal(exploration_key, shape) if exploration else jnp.zeros(shape)
    )
    tape = random_tape(gate_key, (env.horizon, *team.rule.tape_shape))
    state, timestep = env.reset(reset_key)

    def step(carry: tuple, inputs: tuple) -> tuple:
        state, observation, memory = carry
        noise_t, tape_t = inputs
        choice, memory = team.step(policy, gates, observation, memory, tape_t, mode)
        action = jnp.clip(choice.action + noise_t, -1.0, 1.0)
        action = on_grid(action) if mode is Mode.ROLLOUT else action
        after, timestep = env.step(state, action)
        seen = (observation, choice.feature, action, timestep.reward, choice.gates)
        moving = env.compress(state).moving
        return (after, timestep.observation.agents_view, memory), (*seen, moving)

    start = (state, timestep.observation.agents_view, team.initial_carry())
    steps: tuple
    (last, view, _), steps = jax.lax.scan(step, start, (noise, tape))
    observation, feature, action, reward, decided, moving = steps
    end = env.compress(last)
    return Trajectory(
        observation=jnp.concatenate([observation, view[None]]),
        feature=feature,
        action=action,
        reward=reward,
        gates=Gates(decided.probability, decided.decision),
        moving=jnp.concatenate([moving, end.moving[None]]),
        fixed=end.fixed,
    )
