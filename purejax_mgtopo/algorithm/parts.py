"""Topology rule and message interpreter side by side: each is asked the same, with its own share of what there is."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from purejax_mgtopo.algorithm.edges import random_tape
from purejax_mgtopo.algorithm.part import (
    Announced,
    Context,
    Interpreter,
    Learned,
    Outer,
    Part,
    Rule,
    Shown,
    Value,
)
from purejax_mgtopo.algorithm.types import Both, Clock, Measures, PyTree, Seen, Trajectory

if TYPE_CHECKING:
    from purejax_mgtopo.algorithm.team import Step


class Parts:
    """What a communication method is made of."""

    def __init__(self, rule: Rule, interpreter: Interpreter) -> None:
        self.rule, self.interpreter = rule, interpreter
        self.memory = max(rule.memory, interpreter.memory)

    def each(self, ask: Callable[..., PyTree], *shares: Both) -> Both:
        """``ask(part, ...)`` for rule and interpreter, each with its share of the other arguments."""
        return Both(
            ask(self.rule, *(both.rule for both in shares)),
            ask(self.interpreter, *(both.interpreter for both in shares)),
        )

    @property
    def scheduled(self) -> bool:
        """Whether one of them depends on how long the whole training is to be."""
        return self.rule.scheduled or self.interpreter.scheduled

    @property
    def tosses(self) -> bool:
        """Whether one of them uses random numbers in greedy evaluation too."""
        return self.rule.tosses or self.interpreter.tosses

    @property
    def measures(self) -> tuple[str, ...]:
        """Names of all that both measure."""
        parts: tuple[Part, ...] = (self.rule, self.interpreter)
        return tuple(name for part in parts for name in (*part.measures, *part.outer_measures))

    def init(self, keys: Both) -> Both:
        """Both states before learning."""
        return self.each(lambda part, key: part.init(key), keys)

    def init_shared(self, key: Key[Array, ""]) -> Both:
        """What all seeds of a population share, before learning; mostly nothing."""
        keys = Both(*jax.random.split(key))
        return self.each(lambda part, own: part.init_shared(own), keys)

    def acting(self, states: Both) -> Both:
        """The parameters that both act with."""
        return self.each(lambda part, state: part.acting(state), states)

    def remembered(self, states: Both) -> Both:
        """What both states hold besides parameters and optimisers."""
        return self.each(lambda part, state: part.remembered(state), states)

    def initial_carry(self, batch: tuple[int, ...] = ()) -> Both:
        """What both remember at the start of an episode."""
        return self.each(lambda part: part.initial_carry(batch))

    def tape(self, keys: Both, lead: tuple[int, ...]) -> Both:
        """The uniform random numbers that both use up, with leading axes `lead`."""
        return self.each(lambda part, key: random_tape(key, (*lead, *part.tape_shape)), keys)

    def kept(self, carry: Both) -> Both:
        """What the replay stores of a step."""
        return self.each(lambda part, own: part.kept(own), carry)

    def recalled(self, carry: Both, kept: Both) -> Both:
        """The memories with which a replayed step begins."""
        return self.each(lambda part, *own: part.recalled(*own), carry, kept)

    def penalty(self, acting: Both, step: Step, value: Value) -> Float[Array, ""] | float:
        """What both add to the policy loss."""
        own = self.each(lambda part, params: part.penalty(params, step, value), acting)
        return own.rule + own.interpreter

    def shown(self, params: PyTree, trajectory: Trajectory, seen: Seen) -> Shown:
        """What there is to see of both in an episode; `params` is the interpreter's share of the policy."""
        both = [part.shown(params, trajectory, seen) for part in (self.rule, self.interpreter)]
        return Shown(both[0].agents | both[1].agents, both[0].pairs | both[1].pairs)

    def rests(self, clock: Clock) -> Bool[Array, ""] | None:
        """Whether either has the policies rest."""
        asked = (part.rests(clock) for part in (self.rule, self.interpreter))
        told = [rest for rest in asked if rest is not None]
        return jnp.any(jnp.stack(told)) if told else None

    def learn(
        self,
        states: Both,
        trajectory: Trajectory,
        context: Callable[..., Context],
        keys: Both,
        slopes: Both,
        shared: Both,
    ) -> tuple[Both, Measures, Both]:
        """One update of both after a trajectory: states, measures, and traces.

        Args:
            context: what both may learn from, still to be told `key`, `policy_gradient` and `shared`.
            slopes: the policy loss's gradient in the parameters that they act with.
        """

        def one(part: Part, state: Any, key: Array, slope: PyTree, common: PyTree) -> Learned:
            own = context(key=key, policy_gradient=slope, shared=common)
            learned = part.learn(state, trajectory, own)
            return _announced(part, part.measures, learned)

        done = self.each(one, states, keys, slopes, shared)
        return _states(done), _measures(done), Both(done.rule.trace, done.interpreter.trace)

    def outer(
        self, shared: Both, before: Both, after: Both, trajectories: Trajectory, traces: Both
    ) -> tuple[Both, Measures, Both]:
        """One update of both after K inner ones: states, measures, and directions for what is shared."""

        def one(part: Part, common: PyTree, old: Any, new: Any, trace: PyTree) -> Outer:
            ended = part.outer(common, old, new, trajectories, trace)
            return _announced(part, part.outer_measures, ended)

        done = self.each(one, shared, before, after, traces)
        return _states(done), _measures(done), Both(done.rule.update, done.interpreter.update)

    def apply(self, shared: Both, updates: Both) -> Both:
        """What is shared, moved by the mean of the seeds' updates."""
        return self.each(lambda part, own, update: part.apply(own, update), shared, updates)


def _announced(part: Part, names: Announced, done: Any) -> Any:
    if set(done.measures) != set(names):
        told = f"announces {tuple(names)} and tells {tuple(done.measures)}"
        raise TypeError(f"{type(part).__name__} {told}")
    return done


def _states(done: Both) -> Both:
    return Both(done.rule.state, done.interpreter.state)


def _measures(done: Both) -> Measures:
    return done.rule.measures | done.interpreter.measures
