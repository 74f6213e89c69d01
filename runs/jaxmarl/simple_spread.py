"""JaxMARL's `simple_spread` as a task: an environment of another package, wrapped. Needs `pip install jaxmarl`."""

from __future__ import annotations

import dataclasses

import flax.struct
import jax
import jax.numpy as jnp
import jax_mpe
from jaxmarl.environments.mpe.simple import State
from jaxmarl.environments.mpe.simple_spread import SimpleSpreadMPE

from purejax_mgtopo import register_task

ENV = SimpleSpreadMPE(num_agents=3, num_landmarks=3, action_type="Continuous", local_ratio=0.5)


@flax.struct.dataclass
class Spread:
    """What JaxMARL keeps of a state, as far as it changes."""

    key: jax.Array
    step_count: jax.Array
    agent_position: jax.Array
    agent_velocity: jax.Array
    landmark_position: jax.Array

    def theirs(self) -> State:
        """The state as JaxMARL knows it."""
        still = jnp.zeros_like(self.landmark_position)
        return State(
            done=jnp.array(False),
            step=self.step_count,
            p_pos=jnp.concatenate([self.agent_position, self.landmark_position]),
            p_vel=jnp.concatenate([self.agent_velocity, still]),
            c=jnp.zeros((3, ENV.dim_c)),
        )


@dataclasses.dataclass(frozen=True)
class SimpleSpread(jax_mpe.Scenario):
    """JaxMARL's `simple_spread`: three agents cover three landmarks; the mean of their rewards is the team's."""

    name = "jaxmarl_simple_spread"
    num_agents = 3
    horizon = 25
    observation_size = 18
    moving_fields = ("agent_position", "agent_velocity")
    fixed_fields = ("landmark_position",)

    def initial_state(self, key):
        key, draw = jax.random.split(key)
        place = ENV.reset(draw)[1].p_pos
        return Spread(key, jnp.zeros((), jnp.int32), place[:3], jnp.zeros((3, 2)), place[3:])

    def advance(self, state, action):
        x, y = (
            action[:, 0],
            action[:, 1],
        )  # theirs: nothing, left, right, down, up, each from 0 to 1
        parts = [jnp.zeros_like(x), -x, x, -y, y]
        moves = jnp.clip(jnp.stack(parts, axis=-1), 0.0, 1.0)
        _, new, *_ = ENV.step_env(
            state.key, state.theirs(), dict(zip(ENV.agents, moves, strict=True))
        )
        return state.replace(agent_position=new.p_pos[:3], agent_velocity=new.p_vel[:3])

    def observe(self, state):
        seen = ENV.get_obs(state.theirs())
        return jnp.stack([seen[agent] for agent in ENV.agents])

    def reward(self, state, action, next_state):
        rewards = ENV.rewards(next_state.theirs())
        return jnp.mean(jnp.stack([rewards[agent] for agent in ENV.agents]))


register_task("jaxmarl_simple_spread", SimpleSpread)
