"""One episode: encode, gate, aggregate, act, step, as a scan over T."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax_mpe.scenario import Scenario

from purejax_mgtopo.algorithm.kernels.joint_scan import joint_scan
from purejax_mgtopo.algorithm.kernels.stored import for_products, widened
from purejax_mgtopo.algorithm.replay import on_grid
from purejax_mgtopo.algorithm.team import Policy, Team
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
    policy, acting = for_products((policy, acting))
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
        seen, moving = choice.seen, env.compress(state).moving
        told = (
            seen.observation,
            seen.feature,
            seen.message,
            action,
            timestep.reward,
            choice.gates,
            choice.kept,
            moving,
            choice.sent,
        )
        return (after, timestep.observation.agents_view, memory), told

    start = (state, timestep.observation.agents_view, team.initial_carry())
    told: tuple
    (last, view, _), told = joint_scan(step, start, (noise, tape))
    observation, feature, message, action, reward, gates, kept, moving, sent = told
    end = env.compress(last)
    played = Trajectory(
        observation=jnp.concatenate([observation, view[None]]),
        feature=feature,
        message=message,
        action=action,
        reward=reward,
        gates=gates,
        kept=kept,
        moving=jnp.concatenate([moving, end.moving[None]]),
        fixed=end.fixed,
        sent=sent,
    )
    return widened(played)
