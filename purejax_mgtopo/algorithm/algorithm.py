"""Algorithm 1 of Zhang & Chen 2021 for one seed, for every method; line numbers are the paper's."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import jax_mpe
from jaxtyping import Array, Float, Key

from purejax_mgtopo.algorithm.maddpg import ActorCritic, Maddpg, Targets
from purejax_mgtopo.algorithm.messages.interpreter import make_interpreter
from purejax_mgtopo.algorithm.replay import Replay, ReplayState
from purejax_mgtopo.algorithm.rollout import rollout
from purejax_mgtopo.algorithm.team import Team
from purejax_mgtopo.algorithm.topology.rule import RuleMetrics, make_rule
from purejax_mgtopo.algorithm.types import Clock, Mode, Streams, Trajectory
from purejax_mgtopo.config import Experiment


@flax.struct.dataclass
class LearnerState:
    """All that one seed is."""

    streams: Streams
    learner: ActorCritic
    rule: Any
    target: Targets
    replay: ReplayState
    trajectory: Trajectory
    """tau(k): played with the current parameters, not yet learned from."""


@flax.struct.dataclass
class UpdateMetrics:
    """Scalars of one update."""

    train_return: Float[Array, ""]
    edge_rate: Float[Array, ""]
    gate_entropy: Float[Array, ""]
    critic_loss: Float[Array, ""]
    policy_loss: Float[Array, ""]
    rule: RuleMetrics

    @classmethod
    def zeros(cls) -> UpdateMetrics:
        """The start of a sum. Written out, because asking `iterate` for the shapes would mean to trace it twice."""
        own = {name: jnp.zeros(()) for name in cls.__dataclass_fields__ if name != "rule"}
        return cls(**own, rule=jax.tree.map(jnp.zeros_like, RuleMetrics().filled()))


class Algorithm:
    """The task and the parts of the method, put together; holds no state."""

    def __init__(self, config: Experiment) -> None:
        self.config = config
        self.env = env = jax_mpe.make(config.task)
        self.rule = make_rule(config, env.num_agents, env.observation_size)
        interpreter = make_interpreter(config, env.num_agents, env.observation_size)
        self.team = Team(
            config, self.rule, interpreter, env.num_agents, env.observation_size, env.action_size
        )
        self.maddpg = Maddpg(config, self.team, env.observation_size, env.action_size)
        learner = config.learner
        self.replay = Replay(
            env,
            learner.replay_transitions,
            learner.batch_size,
            self.team.memory,
            learner.replay_precision,
        )

    def init(self, key: Key[Array, ""]) -> LearnerState:
        """Line 1: fresh networks, and a replay warmed up with idle learners' episodes; the last becomes tau(0)."""
        streams = Streams.split(key)
        learner_key, rule_key, warmup_key = jax.random.split(streams.initial, 3)
        learner, rule = self.maddpg.init(learner_key), self.rule.init(rule_key)
        episodes = self.config.learner.warmup_episodes
        play = jax.vmap(lambda key: self._play(learner, rule.gates, Streams.split(key)))
        warmup = play(jax.random.split(warmup_key, episodes))
        stored = jax.tree.map(lambda x: x[:-1], warmup)

        def add(replay: ReplayState, inputs: tuple) -> tuple[ReplayState, None]:
            return self.replay.add(replay, *inputs), None

        replay, _ = jax.lax.scan(add, self.replay.init(), (jnp.arange(episodes - 1), stored))
        return LearnerState(
            streams=streams,
            learner=learner,
            rule=rule,
            target=Targets(policy=learner.policy, gates=rule.gates, critic=learner.critic),
            replay=replay,
            trajectory=jax.tree.map(lambda x: x[-1], warmup),
        )

    def start_clock(self) -> Clock:
        """The shared counters after `init`."""
        stored = self.config.learner.warmup_episodes - 1
        return Clock(episode=jnp.zeros((), jnp.int32), stored=jnp.asarray(stored, jnp.int32))

    def iterate(self, start: LearnerState, clock: Clock) -> tuple[LearnerState, UpdateMetrics]:
        """Lines 3-14: K updates, then the rule's own outer update; metrics are means over the K.

        `clock` is the caller's at the start of the iteration; it advances by K.
        """
        k = self.config.updates_per_iteration
        start = self._first_trajectory(start, clock)

        def update(state: LearnerState, k: Array) -> tuple[LearnerState, tuple]:
            keys = state.streams.at(clock.episode + k)
            tau, stored = state.trajectory, clock.stored + k  # line 5: tau(k-1)
            replay = self.replay.add(state.replay, stored, tau)  # line 6
            window = self.replay.sample(replay, stored + 1, keys.replay)
            learner, critic_loss = self.maddpg.update_critic(  # line 7
                state.learner, state.target, window, keys.target_gate
            )
            learner, gate_gradient, policy_loss = self.maddpg.update_policy(  # line 8
                learner, state.rule.gates, window, keys.replay_gate
            )
            rule, rule_metrics, step = self.rule.inner_update(  # line 9
                state.rule, tau, gate_gradient
            )
            target = self.maddpg.track(state.target, learner, rule.gates)
            after = self._play(learner, rule.gates, keys)  # lines 5 and 11: tau(k)
            metrics = UpdateMetrics(
                train_return=jnp.sum(after.reward),
                edge_rate=jnp.mean(after.gates.decision),
                gate_entropy=jnp.mean(_entropy(after.gates.probability)),
                critic_loss=critic_loss,
                policy_loss=policy_loss,
                rule=rule_metrics,
            )
            state = LearnerState(state.streams, learner, rule, target, replay, after)
            return state, (tau, step, metrics)

        state, (taus, steps, metrics) = jax.lax.scan(update, start, jnp.arange(k))
        trajectories = jax.tree.map(  # tau(0), ..., tau(K)
            lambda past, last: jnp.concatenate([past, last[None]]), taus, state.trajectory
        )
        rule, outer = self.rule.outer_update(steps, state.rule, trajectories)  # lines 12, 13
        metrics = jax.tree.map(jnp.mean, metrics)
        metrics = replace(metrics, rule=metrics.rule.merged(outer))
        return replace(state, rule=rule), metrics

    def _play(self, learner: ActorCritic, gates: Any, keys: Streams) -> Trajectory:
        return rollout(
            self.env,
            self.team,
            learner.policy,
            gates,
            reset_key=keys.reset,
            gate_key=keys.gate,
            exploration_key=keys.exploration,
            exploration=self.config.learner.exploration_noise,
            mode=Mode.ROLLOUT,
        )

    def _first_trajectory(self, state: LearnerState, clock: Clock) -> LearnerState:
        """tau(0): the last iteration's tau(K), which the same parameters played, or a fresh one if asked for."""
        if not self.config.meta.fresh_trajectory:
            return state
        keys = Streams.split(jax.random.fold_in(state.streams.first_trajectory, clock.episode))
        return replace(state, trajectory=self._play(state.learner, state.rule.gates, keys))


def _entropy(probability: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    """Of a Bernoulli, in nats; 0 where it is certain."""
    return jax.scipy.special.entr(probability) + jax.scipy.special.entr(1 - probability)
