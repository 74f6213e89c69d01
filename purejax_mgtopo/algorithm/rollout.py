"""One episode: encode, gate, aggregate, act, step, as a scan over T."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax_mpe.scenario import Scenario

from purejax_mgtopo.algorithm.replay import on_grid
from purejax_mgtopo.algorithm.team import Policy, Step, Team
from purejax_mgtopo.algorithm.types import Both, Mode, Streams, Trajectory


def rollout(
    env: Scenario,
    team: Team,
    policy: Policy,
    acting: Both,
    keys: Streams,
    mode: Mode,
    exploration: float = 0.0,
) -> Trajectory:
    """Play one episode with (theta_c, theta_pi).

    Args:
        env: the task.
        team: who plays.
        policy: theta_pi.
        acting: what rule (theta_c) and interpreter act with besides.
        keys: of this episode: `reset` for the environment, the same whatever the method; `playing` for the parts;
            `exploration` for the action noise.
        mode: how decisions are made.
        exploration: standard deviation of the Gaussian that is added to actions, which are then clipped to [-1, 1].
    """
    # Drawn for the whole episode at once: in the loop, every draw would be a kernel of its own.
    shape = (env.horizon, env.num_agents, env.action_size)
    noise = (
        exploration * jax.random.normal(keys.exploration, shape)
        if exploration
        else jnp.zeros(shape)
    )
    tape = team.parts.tape(keys.playing, (env.horizon,))
    state, timestep = env.reset(keys.reset)

    def step(carry: tuple, inputs: tuple) -> tuple:
        state, observation, memory = carry
        noise_t, tape_t = inputs
        choice, memory = team.step(policy, acting, observation, memory, tape_t, mode)
        action = jnp.clip(choice.action + noise_t, -1.0, 1.0)
        action = on_grid(action) if mode is Mode.ROLLOUT else action
        after, timestep = env.step(state, action)
        told = (choice, action, timestep.reward, env.compress(state).moving)
        return (after, timestep.observation.agents_view, memory), told

    start = (state, timestep.observation.agents_view, team.initial_carry())
    steps: tuple
    (last, view, _), steps = jax.lax.scan(step, start, (noise, tape))
    taken: Step
    taken, action, reward, moving = steps
    end = env.compress(last)
    return Trajectory(
        observation=jnp.concatenate([taken.seen.observation, view[None]]),
        feature=taken.seen.feature,
        message=taken.seen.message,
        action=action,
        reward=reward,
        gates=taken.gates,
        kept=taken.kept,
        moving=jnp.concatenate([moving, end.moving[None]]),
        fixed=end.fixed,
        sent=taken.sent,
    )
