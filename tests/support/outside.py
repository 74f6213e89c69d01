"""A rule, an interpreter, a critic and a task as somebody else would write them, outside of the package."""

MODULE = '''
import dataclasses

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import jax_mpe

from purejax_mgtopo import register_critic, register_interpreter, register_rule, register_task
from purejax_mgtopo.algorithm.critics.mlp import MLPCritic
from purejax_mgtopo.algorithm.messages.commnet import CommNet
from purejax_mgtopo.algorithm.part import Rule
from purejax_mgtopo.algorithm.types import Edges, Gates


class Coin(Rule):
    """Every edge is open half of the time; nothing is learned."""

    edges = Edges.DATA
    tosses = True

    def __init__(self, experiment, sizes):
        super().__init__(experiment, sizes)
        self.tape_shape = (sizes.agents, sizes.agents - 1)

    def gate(self, acting, seen, moment):
        probability = jnp.full_like(moment.tape, 0.5)
        return Gates(probability, (moment.tape < probability).astype(jnp.float32)), moment.carry


class Whisper(CommNet):
    """CommNet under another name."""


class Judge(MLPCritic):
    """The paper's critic under another name."""


@flax.struct.dataclass
class Places:
    key: jax.Array
    step_count: jax.Array
    agent_position: jax.Array


@dataclasses.dataclass(frozen=True)
class Meet(jax_mpe.Scenario):
    """Three agents meet; each sees itself alone."""

    name = "meet"
    num_agents = 3
    horizon = 5
    observation_size = 2
    moving_fields = ("agent_position",)

    def initial_state(self, key):
        key, draw = jax.random.split(key)
        return Places(key, jnp.zeros((), jnp.int32), jax.random.uniform(draw, (3, 2), minval=-1.0))

    def advance(self, state, action):
        return state.replace(agent_position=state.agent_position + 0.3 * action)

    def observe(self, state):
        return state.agent_position

    def reward(self, state, action, next_state):
        places = next_state.agent_position
        return -jnp.sum(jnp.abs(places - places.mean(axis=0)))


register_rule("coin", Coin)
register_interpreter("whisper", Whisper)
register_critic("judge", Judge)
register_task("meet", Meet)
'''
FLAGS = """--task meet --topology coin --messages whisper --critic judge --seeds 2 --episodes 4
--updates-per-iteration 2 --chunk-episodes 2 --evaluation.every 2 --evaluation.episodes 2 --evaluation.final-episodes 4
--learner.hidden 4 --learner.batch-size 4 --learner.replay-transitions 100 --learner.warmup-episodes 2 --wandb off
--seed-axis map""".split()
