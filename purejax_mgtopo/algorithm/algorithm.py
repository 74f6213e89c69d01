"""Algorithm 1 of Zhang & Chen 2021 for one seed, for every method; line numbers are the paper's."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from purejax_mgtopo.algorithm.edges import edge_entropy
from purejax_mgtopo.algorithm.maddpg import ActorCritic, Maddpg, Targets, followed, played, reading
from purejax_mgtopo.algorithm.part import Context, Rule
from purejax_mgtopo.algorithm.replay import Replay, ReplayState
from purejax_mgtopo.algorithm.rollout import rollout
from purejax_mgtopo.algorithm.team import Policy, Team
from purejax_mgtopo.algorithm.types import (
    MEASURES,
    Both,
    Clock,
    Measures,
    Mode,
    Sizes,
    Streams,
    Trajectory,
    Window,
)
from purejax_mgtopo.config import Experiment
from purejax_mgtopo.plugins import tasks


@flax.struct.dataclass
class LearnerState:
    """All that one seed is."""

    streams: Streams
    learner: ActorCritic
    parts: Both
    """The states of topology rule and message interpreter."""
    target: Targets
    replay: ReplayState
    trajectory: Trajectory
    """tau(k): played with the current parameters, not yet learned from."""


class Algorithm:
    """The task and the parts of the method, put together (`rule`: in place of the one named); holds no state."""

    def __init__(self, experiment: Experiment, rule: type[Rule] | None = None) -> None:
        self.experiment = experiment
        self.env = env = tasks.make(experiment.task)
        sizes = Sizes(env.num_agents, env.observation_size, env.action_size, horizon=env.horizon)
        self.team = Team(experiment, sizes, env.others_seen, rule)
        self.parts = self.team.parts
        self.maddpg = Maddpg(experiment, self.team)
        self.replay = Replay(env, experiment.learner, self.parts)
        self.measures = (*MEASURES, *self.parts.measures)
        """Names of what `iterate` measures."""
        if len(set(self.measures)) < len(self.measures):
            raise TypeError(f"two things are measured by one name: {', '.join(self.measures)}")

    def init(self, key: Key[Array, ""]) -> LearnerState:
        """Line 1: fresh networks, and a replay warmed up with idle learners' episodes; the last becomes tau(0)."""
        streams = Streams.split(key)
        learner_key, rule_key, warmup_key, interpreter_key = jax.random.split(streams.initial, 4)
        learner = self.maddpg.init(learner_key)
        parts = self.parts.init(Both(rule_key, interpreter_key))
        acting = self.parts.acting(parts)
        play = jax.vmap(lambda key: self._play(learner.policy, acting, Streams.split(key)))
        warmup = play(jax.random.split(warmup_key, self.experiment.learner.warmup_episodes))
        return LearnerState(
            streams=streams,
            learner=learner,
            parts=parts,
            target=followed(learner, acting),
            replay=self.replay.filled(jax.tree.map(lambda x: x[:-1], warmup)),
            trajectory=jax.tree.map(lambda x: x[-1], warmup),
        )

    def followed(self, state: LearnerState) -> Targets:
        """What the targets follow."""
        return followed(state.learner, self.parts.acting(state.parts))

    def start_clock(self) -> Clock:
        """The shared counters after `init`."""
        stored = self.experiment.learner.warmup_episodes - 1
        return Clock(episode=jnp.zeros((), jnp.int32), stored=jnp.asarray(stored, jnp.int32))

    def iterate(
        self, start: LearnerState, clock: Clock, shared: Both
    ) -> tuple[LearnerState, Measures, Both]:
        """Lines 3-14: K updates, then the parts' own outer updates.

        `clock` is the caller's at the start of the iteration; it advances by K. `shared` is what all seeds share.
        Returns the new state, means over the K updates, and where this seed would move what is shared.
        """
        k, lessons = self.experiment.updates_per_iteration, self.maddpg.settings.updates_per_episode
        start = self._first_trajectory(start, clock)

        def update(carry: tuple, k: Array) -> tuple[tuple, tuple]:
            state, read = carry
            now = clock.advanced(k)
            keys, further = state.streams.at(now.episode).shared_out(lessons)
            tau = state.trajectory  # line 5: tau(k-1)
            replay = self.replay.add(state.replay, now.stored, tau)  # line 6
            draw = partial(self.replay.sample, replay, now.stored + 1)
            window = draw(keys.replay)
            learner, critic_loss = self.maddpg.update_critic(  # line 7
                state.learner, state.target, window, keys.targeting, read
            )
            learner, slopes, policy_loss = self.maddpg.update_policy(  # line 8
                learner, self.parts.acting(state.parts), window, keys.replaying, now, read
            )
            context = self._context(learner, state.parts, window, now)
            parts, measures, trace = self.parts.learn(  # line 9
                state.parts, tau, context, keys.learning, slopes, shared
            )
            acting = self.parts.acting(parts)
            target = self.maddpg.track(state.target, learner, acting)
            learner, target = self.maddpg.practise(learner, acting, target, draw, further, now)
            read = reading(learner, acting, target)
            after = self._play(*played(read, learner, acting), keys)  # lines 5 and 11: tau(k)
            measures |= {
                "train_return": jnp.sum(after.reward),
                "edge_rate": jnp.mean(after.open_edges),
                "gate_entropy": jnp.mean(edge_entropy(after.gates.probability)),
                "critic_loss": critic_loss,
                "policy_loss": policy_loss,
            }
            state = LearnerState(state.streams, learner, parts, target, replay, after)
            return (state, read), (tau, trace, measures)

        begin = start, reading(start.learner, self.parts.acting(start.parts), start.target)
        (state, _), (taus, traces, measures) = jax.lax.scan(update, begin, jnp.arange(k))
        trajectories = jax.tree.map(  # tau(0), ..., tau(K)
            lambda past, last: jnp.concatenate([past, last[None]]), taus, state.trajectory
        )
        parts, outer, updates = self.parts.outer(  # lines 12, 13
            shared, start.parts, state.parts, trajectories, traces
        )
        return replace(state, parts=parts), jax.tree.map(jnp.mean, measures) | outer, updates

    def _play(self, policy: Policy, acting: Both, keys: Streams) -> Trajectory:
        noise = self.experiment.learner.exploration_noise
        return rollout(self.env, self.team, policy, acting, keys, Mode.ROLLOUT, noise)

    def _context(
        self, learner: ActorCritic, parts: Both, window: Window, clock: Clock
    ) -> partial[Context]:
        """What parts may learn from; each adds what is its own."""
        return partial(
            Context,
            clock=clock,
            progress=clock.episode / self.experiment.episodes,
            window=window,
            seen=self.team.seen,
            shown=partial(self.team.shown, learner.policy),
            act=partial(self.team.act, learner.policy, self.parts.acting(parts)),
            value=partial(self.maddpg.value, learner.critic),
        )

    def _first_trajectory(self, state: LearnerState, clock: Clock) -> LearnerState:
        """tau(0): the last iteration's tau(K), which the same parameters played, or a fresh one if asked for."""
        if not self.experiment.meta.fresh_trajectory:
            return state
        keys = Streams.split(jax.random.fold_in(state.streams.first_trajectory, clock.episode))
        acting = self.parts.acting(state.parts)
        return replace(state, trajectory=self._play(state.learner.policy, acting, keys))
