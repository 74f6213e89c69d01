"""A team that talks: encode, gate, hear, act, for any topology rule and any message interpreter."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import partial

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from purejax_mgtopo import methods
from purejax_mgtopo.algorithm.controls.channel import interpreter_behind
from purejax_mgtopo.algorithm.edges import index_distance, seen_distance
from purejax_mgtopo.algorithm.kernels.stored import as_before
from purejax_mgtopo.algorithm.networks import Head, apply, init_per_agent, per_agent
from purejax_mgtopo.algorithm.part import Encoded, Heard, Interpreter, Moment, Rule, Shown, arriving
from purejax_mgtopo.algorithm.parts import Parts
from purejax_mgtopo.algorithm.types import (
    Both,
    Carry,
    Gates,
    InFlight,
    Mode,
    PyTree,
    Seen,
    Sizes,
    Trajectory,
    redirected,
)
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
    """What each agent does, in [-1, 1]."""
    unsquashed: Float[Array, "*batch N A"]
    """The action before tanh."""
    seen: Seen
    gates: Gates
    kept: Both
    """What the parts ask the replay to store."""
    sent: Float[Array, "*batch N M"] | tuple[()] = ()
    """What was sent after all, where that depends on what was heard."""
    redirected: Float[Array, "*batch N N-1"] | tuple[()] = ()
    """The edges that delivered, where the channel does not follow the rule."""

    @property
    def open_edges(self) -> Float[Array, "*batch N N-1"]:
        """The edges over which messages went: the rule's, but where the channel does not follow it."""
        return self.gates.opened if isinstance(self.redirected, tuple) else self.redirected

    @property
    def delivering(self) -> Gates:
        """The rule's answers, the edges that delivered in their place where the channel does not follow it."""
        return redirected(self.gates, self.redirected)


class Team:
    """The N agents' policies over a topology rule (axis A) and a message interpreter (axis B).

    Args:
        others_seen: whether the last numbers of an observation are the others' places, so that distances between agents
            are told from them; else they are those of their numbers.
        rule: a class of rules in place of the one that the experiment names.
    """

    def __init__(
        self,
        experiment: Experiment,
        sizes: Sizes,
        others_seen: bool = False,
        rule: type[Rule] | None = None,
    ) -> None:
        rule = rule or methods.load(methods.TOPOLOGIES, experiment.topology).of(experiment)
        interpreter = methods.load(methods.MESSAGES, experiment.messages)
        self._behind = partial(
            interpreter_behind,
            interpreter=interpreter,
            experiment=experiment,
            sizes=sizes,
            edges=rule.edges,
        )
        self.interpreter: Interpreter = self._behind(experiment.channel)
        self.sizes = sizes = replace(
            sizes,
            feature=self.interpreter.feature_size,
            message=self.interpreter.message_size,
            heard=self.interpreter.heard_size,
        )
        self.rule: Rule = rule(experiment, sizes)
        self.parts = Parts(self.rule, self.interpreter)
        self.shared = experiment.learner.share_parameters
        self._near = seen_distance if others_seen else index_distance
        hidden = experiment.learner.hidden
        self._head = Head(hidden, self.interpreter.heard_size + sizes.observation, sizes.action)

    def under(self, rule: Rule) -> Team:
        """The same team with another rule, whose decisions keep what the interpreter takes for granted."""
        other = copy.copy(self)
        other.rule, other.parts = rule, Parts(rule, self.interpreter)
        return other

    def over(self, channel: str) -> Team:
        """The same team over another channel."""
        other = copy.copy(self)
        other.interpreter = self._behind(channel)
        other.parts = Parts(self.rule, other.interpreter)
        return other

    def init(self, key: Key[Array, ""]) -> Policy:
        """Fresh policy parameters."""
        interpreter_key, head_key = jax.random.split(key)
        params = self.interpreter.init_params(interpreter_key)
        observation = jnp.zeros((self.sizes.agents, self.sizes.observation))
        z = jax.eval_shape(partial(self._first_z, params), observation)
        heard = None if z is None else jnp.zeros(z.shape[1:])

        def one(agent_key: Key[Array, ""]) -> PyTree:
            return self._head.init(agent_key, heard, observation[0])

        head = init_per_agent(one, head_key, self.sizes.agents, self.shared)
        return Policy(interpreter=params, head=head)

    def initial_carry(self, batch: tuple[int, ...] = ()) -> Carry:
        """The start of an episode: nothing was sent yet."""
        sizes = self.sizes
        in_flight: InFlight | tuple[()] = ()
        if self.interpreter.latency:
            message = jnp.zeros((*batch, sizes.agents, sizes.message))
            in_flight = InFlight(message, jnp.zeros(batch))
        heard = jnp.zeros((*batch, sizes.agents, sizes.heard)) if self.rule.listens else ()
        return Carry(self.parts.initial_carry(batch), in_flight, heard)

    def step(
        self,
        policy: Policy,
        acting: Both,
        observation: Float[Array, "*batch N O"],
        carry: Carry,
        tape: Both,
        mode: Mode,
    ) -> tuple[Step, Carry]:
        """One step of the whole team.

        Args:
            policy: theta_pi.
            acting: what rule (theta_c) and interpreter act with besides.
            observation: what each agent sees.
            carry: from the step before, or `initial_carry`.
            tape: uniform random numbers, [*batch, *tape_shape] of each part.
            mode: why the team is asked.
        """
        seen, gates, memory, encoded, heard = self._talk(
            policy.interpreter, acting, observation, carry, tape, mode
        )
        unsquashed = self._act(policy, heard, observation)
        sent = () if heard.message is None else heard.message
        redirected = () if heard.edges is None else heard.edges
        kept = self.parts.kept(memory)
        step = Step(jnp.tanh(unsquashed), unsquashed, seen, gates, kept, sent, redirected)
        after = Carry(memory, self._in_flight(encoded, heard), self._remembered(heard, carry))
        return step, as_before(after, carry)

    def recall(
        self,
        policy: Policy,
        acting: Both,
        observation: Float[Array, "B L N O"],
        begins: Float[Array, "B L"],
        kept: Both,
        tape: Both,
        mode: Mode,
    ) -> Step:
        """The last step of a window, the ones before it run only to rebuild what the team remembers.

        Args:
            begins: marks steps that start an episode: memory is cleared before them.
            kept: what was stored of the step before each of them, [B, L, ...].
        """
        batch, length = begins.shape
        initial = self.initial_carry((batch,))
        carry = self._resumed(initial, jax.tree.map(lambda x: x[:, 0], kept))
        for h in range(length):
            before, numbers = jax.tree.map(lambda x, h=h: x[:, h], (kept, tape))
            parts = self.parts.recalled(carry.parts, before)
            carry = _cleared(begins[:, h], initial, replace(carry, parts=parts))
            step, carry = self.step(policy, acting, observation[:, h], carry, numbers, mode)
        return step

    def _resumed(self, initial: Carry, kept: Both) -> Carry:
        """What a window begins with, if not with nothing."""
        resumed = self.interpreter.resumed(kept.interpreter)
        if resumed is None:
            return initial
        in_flight = initial.in_flight
        if isinstance(in_flight, InFlight):
            in_flight = InFlight(resumed.message, jnp.ones_like(in_flight.sent))
        parts = replace(initial.parts, interpreter=resumed.carry)
        return replace(initial, parts=parts, in_flight=in_flight)

    def seen(self, trajectory: Trajectory) -> Seen:
        """What the team saw at each step of an episode, [T, ...]."""
        observation, message = trajectory.observation[:-1], trajectory.message
        delivered = message
        arrives: Array | tuple[()] = ()
        if self.interpreter.latency:
            sent = message if isinstance(trajectory.sent, tuple) else trajectory.sent
            delivered = jnp.concatenate([jnp.zeros_like(sent[:1]), sent[:-1]])
            arrives = jnp.ones(message.shape[:1], message.dtype).at[0].set(0.0)
        near = self._near(observation)
        return Seen(observation, trajectory.feature, message, delivered, near, arrives)

    def shown(self, policy: Policy, trajectory: Trajectory) -> Shown:
        """What there is to see of both parts in an episode, besides who hears whom."""
        return self.parts.shown(policy.interpreter, trajectory, self.seen(trajectory))

    def act(
        self, policy: Policy, acting: Both, seen: Seen, gates: Gates
    ) -> Float[Array, "*batch N A"]:
        """The actions in what is seen, if these gates were open; memories are as at an episode's start."""
        batch = seen.observation.shape[:-2]
        part = self.interpreter
        tape = jnp.zeros((*batch, *part.tape_shape))
        moment = Moment(part.initial_carry(batch), tape, Mode.IMAGINED)
        heard = part.hear(
            policy.interpreter, acting.interpreter, seen, arriving(gates, seen), moment
        )
        return jnp.tanh(self._act(policy, heard, seen.observation))

    def _first_z(self, params: PyTree, observation: Float[Array, "N O"]) -> Array | None:
        """What is heard at the start, for its shape."""
        keys = jax.random.split(jax.random.key(0), 4)
        acting = self.parts.acting(self.parts.init(Both(*keys[:2])))
        tape = self.parts.tape(Both(*keys[2:]), ())
        start = self.initial_carry()
        return self._talk(params, acting, observation, start, tape, Mode.ROLLOUT)[-1].z

    def _talk(
        self,
        params: PyTree,
        acting: Both,
        observation: Float[Array, "*batch N O"],
        carry: Carry,
        tape: Both,
        mode: Mode,
    ) -> tuple[Seen, Gates, Both, Encoded, Heard]:
        """A step but for its actions: what is seen, who may talk to whom, memories after it, what is said and heard."""
        moment = self.parts.each(
            lambda _, own, numbers: Moment(own, numbers, mode), carry.parts, tape
        )
        encoded = self.interpreter.encode(
            params, acting.interpreter, observation, moment.interpreter
        )
        seen = self._seen(observation, encoded, carry)
        gates, rule_carry = self.rule.gate(acting.rule, seen, moment.rule)
        heard = self.interpreter.hear(
            params,
            acting.interpreter,
            seen,
            arriving(gates, seen),
            replace(moment.interpreter, carry=encoded.carry),
        )
        return seen, gates, Both(rule_carry, heard.carry), encoded, heard

    def _seen(
        self, observation: Float[Array, "*batch N O"], encoded: Encoded, before: Carry
    ) -> Seen:
        delivered = encoded.message
        arrives: Array | tuple[()] = ()
        if isinstance(before.in_flight, InFlight):
            delivered, arrives = before.in_flight.message, before.in_flight.sent
        near = self._near(observation)
        message, heard = encoded.message, before.heard
        return Seen(observation, encoded.feature, message, delivered, near, arrives, heard)

    def _remembered(self, heard: Heard, before: Carry) -> Array | tuple[()]:
        """What the rule wants to know in the next step of what was heard in this one."""
        if isinstance(before.heard, tuple):
            return ()
        return jnp.zeros_like(before.heard) if heard.z is None else heard.z

    def _in_flight(self, encoded: Encoded, heard: Heard) -> InFlight | tuple[()]:
        if not self.interpreter.latency:
            return ()
        message = encoded.message if heard.message is None else heard.message
        return InFlight(message, jnp.ones(message.shape[:-2], message.dtype))

    def _act(
        self, policy: Policy, heard: Heard, observation: Float[Array, "*batch N O"]
    ) -> Float[Array, "*batch N A"]:
        act = per_agent(partial(apply, self._head), self.shared)
        return act(policy.head, heard.z, observation) + heard.offset


def _cleared(begins: Float[Array, " B"], initial: Carry, carry: Carry) -> Carry:
    """`carry`, or what an episode starts with where one begins. By choice: a product would turn NaN into NaN."""

    def choose(fresh: Array, old: Array) -> Array:
        return jnp.where(begins.reshape(-1, *(1,) * (old.ndim - 1)) > 0, fresh, old)

    return jax.tree.map(choose, initial, carry)
