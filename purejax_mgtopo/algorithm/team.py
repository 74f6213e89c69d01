"""A team that talks: encode, gate, aggregate, act, for any topology rule and any message interpreter."""

from __future__ import annotations

from functools import partial

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from purejax_mgtopo.algorithm.messages.interpreter import Interpreter
from purejax_mgtopo.algorithm.networks import Head, apply, init_per_agent, per_agent
from purejax_mgtopo.algorithm.topology.rule import Rule
from purejax_mgtopo.algorithm.types import Carry, Gates, Mode, PyTree
from purejax_mgtopo.config import Experiment


@flax.struct.dataclass
class Policy:
    """theta_pi: how messages are read, and how agents act."""

    interpreter: PyTree
    head: PyTree


@flax.struct.dataclass
class Step:
    """What a team did at one step."""

    action: Float[Array, "*batch N A"]
    """In [-1, 1]."""
    unsquashed: Float[Array, "*batch N A"]
    """The action before tanh."""
    feature: Float[Array, "*batch N F"]
    gates: Gates


class Team:
    """The N agents' policies over a topology rule (axis A) and a message interpreter (axis B)."""

    def __init__(
        self,
        config: Experiment,
        rule: Rule,
        interpreter: Interpreter,
        num_agents: int,
        observation_size: int,
        action_size: int,
    ) -> None:
        self.rule = rule
        self.interpreter = interpreter
        self.num_agents = num_agents
        self.shared = config.learner.share_parameters
        self.memory = max(rule.memory, interpreter.latency)
        hidden = config.learner.hidden
        self._head = Head(hidden, hidden + observation_size, action_size)
        self._observation_size = observation_size

    def init(self, key: Key[Array, ""]) -> Policy:
        """Fresh policy parameters."""
        interpreter_key, head_key = jax.random.split(key)
        interpreter = self.interpreter.init(interpreter_key, alone=self.rule.silent)
        observation = jnp.zeros((self.num_agents, self._observation_size))
        feature, message = self.interpreter.encode(interpreter, observation)
        closed = jnp.zeros((self.num_agents, self.num_agents - 1))
        example = (self._hear(interpreter, observation, feature, message, closed), observation)

        def one(agent_key: Key[Array, ""]) -> PyTree:
            return self._head.init(agent_key, *jax.tree.map(lambda x: x[0], example))

        head = init_per_agent(one, head_key, self.num_agents, self.shared)
        return Policy(interpreter=interpreter, head=head)

    def initial_carry(self, batch: tuple[int, ...] = ()) -> Carry:
        """The start of an episode: nothing was sent yet."""
        message = jnp.zeros((*batch, self.num_agents, self.interpreter.message_size))
        return Carry(message=message, topology=self.rule.initial_carry(batch))

    def step(
        self,
        policy: Policy,
        gates: PyTree,
        observation: Float[Array, "*batch N O"],
        carry: Carry,
        tape: Float[Array, "*batch ..."],
        mode: Mode,
    ) -> tuple[Step, Carry]:
        """One step of the whole team.

        Args:
            policy: theta_pi.
            gates: theta_c, the rule's parameters.
            observation: what each agent sees.
            carry: from the previous step, or `initial_carry`.
            tape: uniform random numbers, ``[*batch, *rule.tape_shape]``; all the randomness there is.
            mode: why the team is asked.
        """
        feature, message = self.interpreter.encode(policy.interpreter, observation)
        decided, memory = self.rule.gate(
            gates, observation, feature, message, carry.topology, tape, mode
        )
        delivered = carry.message if self.interpreter.latency else message
        heard = self._hear(policy.interpreter, observation, feature, delivered, decided.decision)
        act = per_agent(partial(apply, self._head), self.shared)
        unsquashed = act(policy.head, heard, observation)
        step = Step(jnp.tanh(unsquashed), unsquashed, feature, decided)
        return step, Carry(message=message, topology=memory)

    def _hear(
        self,
        params: PyTree,
        observation: Float[Array, "*batch N O"],
        feature: Float[Array, "*batch N F"],
        delivered: Float[Array, "*batch N M"],
        edges: Float[Array, "*batch N N-1"],
    ) -> Float[Array, "*batch N H"] | None:
        if self.rule.silent:
            return self.interpreter.alone(params, observation, feature)
        return self.interpreter.aggregate(
            params, observation, feature, delivered, edges, selective=self.rule.selective
        )

    def recall(
        self,
        policy: Policy,
        gates: PyTree,
        observation: Float[Array, "B L N O"],
        begins: Float[Array, "B L"],
        tape: Float[Array, "B L ..."],
        mode: Mode,
    ) -> Step:
        """The last step of a window, the ones before it run only to rebuild what the team remembers.

        `begins` marks steps that start an episode: memory is cleared before them.
        """
        batch, length = begins.shape
        carry = self.initial_carry((batch,))
        for h in range(length):
            fresh = begins[:, h]

            def cleared(memory: Array, fresh: Array = fresh) -> Array:
                return memory * (1 - fresh.reshape(-1, *(1,) * (memory.ndim - 1)))

            if self.memory:
                carry = jax.tree.map(cleared, carry)
            step, carry = self.step(policy, gates, observation[:, h], carry, tape[:, h], mode)
        return step
