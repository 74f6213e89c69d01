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
    beside = team.interpreter.beside
    batch = (1 + beside,) if beside else ()
    each = jax.vmap if beside else lambda function: function
    starts = keys.reset
    if beside:
        starts = jnp.concatenate([starts[None], jax.random.split(keys.beside, beside)])
    reset, advance, compress = each(env.reset), each(env.step), each(env.compress)
    # Drawn for the whole episode at once: in the loop, every draw would be a kernel of its own.
    shape = (env.horizon, *batch, env.num_agents, env.action_size)
    noise = (
        exploration * jax.random.normal(keys.exploration, shape)
        if exploration
        else jnp.zeros(shape)
    )
    tape = team.parts.tape(keys.playing, (env.horizon, *batch))
    state, timestep = reset(starts)

    def step(carry: tuple, inputs: tuple) -> tuple:
        state, observation, memory = carry
        noise_t, tape_t = inputs
        choice, memory = team.step(policy, acting, observation, memory, tape_t, mode)
        action = jnp.clip(choice.action + noise_t, -1.0, 1.0)
        action = on_grid(action) if mode is Mode.ROLLOUT else action
        after, timestep = advance(state, action)
        seen, moving = choice.seen, compress(state).moving
        told = (
            *(seen.observation, seen.feature, seen.message),
            *(action, timestep.reward, choice.gates, choice.kept, moving),
            *(choice.sent, choice.redirected),
        )
        return (after, timestep.observation.agents_view, memory), told

    start = (state, timestep.observation.agents_view, team.initial_carry(batch))
    steps: tuple
    (last, view, _), steps = joint_scan(step, start, (noise, tape), many=True)
    end = compress(last)
    if beside:  # the first episode is the one that was asked for
        steps = jax.tree.map(lambda x: x[:, 0], steps)
        view, end = jax.tree.map(lambda x: x[0], (view, end))
    observation, feature, message, action, reward, gates, kept, moving, *rest = steps
    sent, redirected = rest
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
        redirected=redirected,
    )
    return widened(played)
