"""The programs of each piece of Algorithm 1, as text."""

from __future__ import annotations

import functools
from typing import Any

import jax
from core_cases import NOTHING, Algorithm, small

from purejax_mgtopo.algorithm.evaluate import evaluate
from purejax_mgtopo.algorithm.types import Mode, Streams
from purejax_mgtopo.config import Experiment

TASK = "navigation_N3_l3"
NETWORKS = {"policies", "critic's start", "rule's start", "interpreter's start"}
ALL = {
    *NETWORKS,
    "warm-up",
    "play",
    "quiet play",
    "add",
    "sample",
    "critic",
    "policy",
    "track",
    "learn",
    "interpreter's learning",
    "outer",
    "iteration",
    "evaluation",
}
WHOLE = {"warm-up", "iteration"}
"""Made of the others, and slow to write."""


class Pieces:
    """The programs of an experiment, by piece; each is written when it is asked for."""

    def __init__(self, experiment: Experiment) -> None:
        self.made = made = Algorithm(experiment)
        self.key = jax.eval_shape(lambda: jax.random.key(0))
        self.state = jax.eval_shape(made.init, self.key)
        self.clock = jax.eval_shape(made.start_clock)
        self.acting = jax.eval_shape(made.parts.acting, self.state.parts)
        self.keys = jax.eval_shape(Streams.split, self.key)
        self.window = jax.eval_shape(
            made.replay.sample, self.state.replay, self.clock.stored, self.key
        )

    def program(self, name: str) -> str:
        spelt = name.replace(" ", "_").replace("-", "_").replace("'", "")
        function, *given = getattr(self, f"_{spelt}")()
        return jax.jit(function).lower(*given).as_text()

    def _policies(self):
        return self.made.team.init, self.key

    def _critics_start(self):
        return self.made.maddpg.critic.init, self.key

    def _rules_start(self):
        return self.made.team.rule.init, self.key

    def _interpreters_start(self):
        return self.made.team.interpreter.init, self.key

    def _warm_up(self):
        return self.made.init, self.key

    def _play(self):
        return self.made._play, self.state.learner.policy, self.acting, self.keys

    def _quiet_play(self):
        from purejax_mgtopo.algorithm.rollout import rollout

        def quiet(policy, acting, keys):
            return rollout(self.made.env, self.made.team, policy, acting, keys, Mode.EVAL_SAMPLED)

        return quiet, self.state.learner.policy, self.acting, self.keys

    def _add(self):
        return self.made.replay.add, self.state.replay, self.clock.stored, self.state.trajectory

    def _sample(self):
        return self.made.replay.sample, self.state.replay, self.clock.stored, self.key

    def _critic(self):
        keys = self.keys.targeting
        update = self.made.maddpg.update_critic
        return update, self.state.learner, self.state.target, self.window, keys

    def _policy(self):
        keys = self.keys.replaying
        update = self.made.maddpg.update_policy
        return update, self.state.learner, self.acting, self.window, keys

    def _track(self):
        return self.made.maddpg.track, self.state.target, self.state.learner, self.acting

    def _learn(self):
        return self._learning("rule")

    def _interpreters_learning(self):
        return self._learning("interpreter")

    def _learning(self, which):
        def learn(state, slopes, window, clock, keys):
            context = self.made._context(state.learner, state.parts, window, clock)
            own, key, slope = (getattr(x, which) for x in (state.parts, keys.learning, slopes))
            part = getattr(self.made.parts, which)
            told = context(key=key, policy_gradient=slope, shared=())
            return part.learn(own, state.trajectory, told)

        return learn, self.state, self.acting, self.window, self.clock, self.keys

    def _outer(self):
        function, *given = self._learn()
        trace = jax.eval_shape(function, *given).trace
        k = self.made.experiment.updates_per_iteration

        def stacked(tree, lead):
            return jax.tree.map(lambda x: jax.ShapeDtypeStruct((lead, *x.shape), x.dtype), tree)

        rule = self.state.parts.rule
        taus = stacked(self.state.trajectory, k + 1)
        return self.made.team.rule.outer, (), rule, rule, taus, stacked(trace, k)

    def _iteration(self):
        return lambda s, c: self.made.iterate(s, c, NOTHING), self.state, self.clock

    def _evaluation(self):
        return lambda state: evaluate(self.made, state), self.state


@functools.cache
def pieces(method: str, *changes: tuple[str, Any]) -> Pieces:
    return Pieces(small(method, TASK, **dict(changes)))


@functools.cache
def base(method: str, name: str) -> str:
    return pieces(method).program(name)
