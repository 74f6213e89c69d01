"""Self-play: predators and prey learn against each other, each team with the base learner and no messages.

The prey are then frozen and shipped with the environment (`jax_mpe.prey`). Both teams are MADDPG teams with a critic
of their own, which sees that team's observations and actions; to it, the other team is part of the world.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, cast

import flax.struct
import jax
import jax.numpy as jnp
import jax_mpe
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jax_mpe.predator_prey import PredatorPrey, PredatorPreyState
from jax_mpe.views import nearest
from jaxtyping import Array, Bool, Float, Key

from purejax_mgtopo.algorithm.maddpg import ActorCritic, Maddpg, Targets
from purejax_mgtopo.algorithm.replay import Replay, ReplayState
from purejax_mgtopo.algorithm.team import Policy, Team
from purejax_mgtopo.algorithm.types import (
    Both,
    Clock,
    Gates,
    Mode,
    Purpose,
    Sizes,
    Streams,
    Trajectory,
)
from purejax_mgtopo.config import Experiment, LearnerConfig, Means
from purejax_mgtopo.population.lanes import seed_axis
from purejax_mgtopo.prey.settings import PreySettings


@flax.struct.dataclass
class SideState:
    """What one team of one pair has learned and stored."""

    learner: ActorCritic
    target: Targets
    replay: ReplayState


@flax.struct.dataclass
class PairState:
    """Two teams that grew up together, and their newest episode, as each team saw it."""

    streams: Streams
    predators: SideState
    prey: SideState
    newest: tuple[Trajectory, Trajectory]


@flax.struct.dataclass
class PairMetrics:
    """What one training episode shows, exploration included."""

    contacts: Float[Array, ""]
    """Pairs of predator and prey in contact, summed over the steps."""
    prey_return: Float[Array, ""]
    inside: Float[Array, ""]
    """Share of steps and prey within the arena."""


class PreyView:
    """The world as the prey see it: what `Team` and `Replay` ask of an environment."""

    def __init__(self, env: PredatorPrey) -> None:
        self.num_agents = env.num_prey
        self.observation_size = env.sizes.observation
        self.action_size = env.action_size
        self.horizon = env.horizon
        self.initial_state, self.compress, self.restore = (
            env.initial_state,
            env.compress,
            env.restore,
        )
        self.moving_fields, self.velocity_fields = env.moving_fields, env.velocity_fields
        self.observe = env.observe_prey


class Side:
    """The learner of one team, put together as `Algorithm` does it."""

    def __init__(self, config: Experiment, view: PredatorPrey | PreyView) -> None:
        self.team = Team(config, Sizes(view.num_agents, view.observation_size, view.action_size))
        self.maddpg = Maddpg(config, self.team)
        self.replay = Replay(cast(PredatorPrey, view), config.learner, self.team.parts)
        self.observe: Callable[[Any], Array] = view.observe

    def init(self, key: Key[Array, ""]) -> SideState:
        """A team before learning, its replay empty."""
        learner = self.maddpg.init(key)
        target = Targets(policy=learner.policy, acting=Both(), critic=learner.critic)
        return SideState(learner, target, self.replay.init())

    def act(self, policy: Policy, state: PredatorPreyState) -> Float[Array, "N A"]:
        """Noise-free actions; nobody talks, so nothing needs to be remembered."""
        seen = self.observe(state)
        carry, tape = self.team.initial_carry(), Both(jnp.zeros(0), jnp.zeros(0))
        step, _ = self.team.step(policy, Both(), seen, carry, tape, Mode.ROLLOUT)
        return step.action

    def learn(
        self, state: SideState, stored: Array, tau: Trajectory, keys: tuple[Array, ...]
    ) -> SideState:
        """Lines 6-8 of Algorithm 1: store the episode, then one step each of critic, policy and targets."""
        sample_key, target_key, policy_key = keys
        replay = self.replay.add(state.replay, stored, tau)
        window = self.replay.sample(replay, stored + 1, sample_key)
        learner, _ = self.maddpg.update_critic(
            state.learner, state.target, window, _alike(target_key)
        )
        learner, _, _ = self.maddpg.update_policy(learner, Both(), window, _alike(policy_key))
        return SideState(learner, self.maddpg.track(state.target, learner, Both()), replay)


def _alike(key: Array) -> Both:
    """Keys of two parts that use no random numbers."""
    return Both(key, key)


class Duel:
    """Both sides of one pair, for any settings; holds no state."""

    def __init__(self, settings: PreySettings) -> None:
        self.settings = settings
        self.env = cast(PredatorPrey, jax_mpe.make(settings.task, prey="scripted"))
        config = Experiment(task=settings.task, topology="none", messages="lstm")
        self.noise = config.learner.exploration_noise
        self.warmup = config.learner.warmup_episodes
        small = replace(config, learner=LearnerConfig(hidden=settings.hidden))
        self.predators, self.prey = Side(config, self.env), Side(small, PreyView(self.env))

    def init(self, key: Key[Array, ""]) -> PairState:
        """Fresh networks, and replays warmed up with idle learners' episodes."""
        streams = Streams.split(key)
        predator_key, prey_key, warmup_key = jax.random.split(streams.initial, 3)
        predators, prey = self.predators.init(predator_key), self.prey.init(prey_key)
        keys = jax.vmap(Streams.split)(jax.random.split(warmup_key, self.warmup))
        policies = predators.learner.policy, prey.learner.policy
        episodes = jax.vmap(lambda keys: self.explore(*policies, keys))(keys)

        def add(replays: tuple, inputs: tuple) -> tuple[tuple, None]:
            at, (first, second) = inputs
            pair = self.predators.replay.add(replays[0], at, first)
            return (pair, self.prey.replay.add(replays[1], at, second)), None

        stored = jax.tree.map(lambda x: x[:-1], episodes)
        replays, _ = jax.lax.scan(
            add, (predators.replay, prey.replay), (jnp.arange(self.warmup - 1), stored)
        )
        return PairState(
            streams=streams,
            predators=replace(predators, replay=replays[0]),
            prey=replace(prey, replay=replays[1]),
            newest=jax.tree.map(lambda x: x[-1], episodes),
        )

    def start_clock(self) -> Clock:
        """The counters after `init`."""
        stored = jnp.asarray(self.warmup - 1, jnp.int32)
        return Clock(episode=jnp.zeros((), jnp.int32), stored=stored)

    def update(self, pair: PairState, clock: Clock) -> tuple[PairState, PairMetrics]:
        """Both teams learn once from their replays, then play the next episode."""
        keys = pair.streams.at(clock.episode)
        # Each purpose has its stream; each side a part of it.
        split = [jax.random.split(key) for key in (keys.replay, keys.target_gate, keys.replay_gate)]
        mine, theirs = (tuple(each[side] for each in split) for side in (0, 1))
        predators = self.predators.learn(pair.predators, clock.stored, pair.newest[0], mine)
        prey = self.prey.learn(pair.prey, clock.stored, pair.newest[1], theirs)
        newest = self.explore(predators.learner.policy, prey.learner.policy, keys)
        return PairState(pair.streams, predators, prey, newest), self.measure(newest)

    def explore(
        self, predators: Policy, prey: Policy, keys: Streams
    ) -> tuple[Trajectory, Trajectory]:
        """A training episode, with exploration, and with straight hunters once in a while."""
        # The gates' stream is free: nobody talks.
        straight = jax.random.uniform(keys.gate) < self.settings.hunters
        return self.play(predators, prey, keys, self.noise, straight)

    def play(
        self,
        predators: Policy,
        prey: Policy,
        keys: Streams,
        exploration: float = 0.0,
        straight: Bool[Array, ""] | bool = False,
    ) -> tuple[Trajectory, Trajectory]:
        """One episode, as the predators and as the prey saw it.

        Args:
            predators, prey: their policies.
            keys: for reset and exploration.
            exploration: standard deviation of the Gaussian added to all actions.
            straight: predators hunt straight instead of by policy (`hunt_straight`).
        """
        env, prey_view = self.env, self.prey
        shape = (env.horizon, env.num_agents + env.num_prey, env.action_size)
        noise = exploration * jax.random.normal(keys.exploration, shape)

        def step(state: PredatorPreyState, noise: Array) -> tuple[PredatorPreyState, tuple]:
            seen = env.observe(state), env.observe_prey(state)
            quiet = (
                jnp.where(straight, hunt_straight(state), self.predators.act(predators, state)),
                prey_view.act(prey, state),
            )
            own, other = jnp.split(noise, (env.num_agents,))
            action = jnp.clip(quiet[0] + own, -1, 1), jnp.clip(quiet[1] + other, -1, 1)
            after, timestep = env.step_teams(state, *action)
            reward = timestep.reward, self.prey_reward(after)
            return after, (seen, action, reward, env.compress(state).moving)

        state, _ = env.reset(keys.reset)
        last, (seen, action, reward, moving) = jax.lax.scan(step, state, noise)
        end = env.compress(last)
        sides = []
        for side, view in enumerate((env.observe, env.observe_prey)):
            agents = action[side].shape[1]
            edges = jnp.zeros((env.horizon, agents, agents - 1))
            sides.append(
                Trajectory(
                    observation=jnp.concatenate([seen[side], view(last)[None]]),
                    feature=seen[side],
                    message=seen[side],
                    action=action[side],
                    reward=reward[side],
                    gates=Gates(edges, edges),
                    kept=Both(),
                    moving=jnp.concatenate([moving, end.moving[None]]),
                    fixed=end.fixed,
                )
            )
        return sides[0], sides[1]

    def prey_reward(self, state: PredatorPreyState) -> Float[Array, ""]:
        """``-10 contacts - boundary penalty`` of the state that a step led to, for all prey together."""
        contacts = self.env.measures(state)["contacts"]
        edge = boundary_penalty(state.prey_position / self.env.half_width)
        return -self.settings.contact_cost * contacts - self.settings.boundary_cost * edge

    def measure(self, newest: tuple[Trajectory, Trajectory]) -> PairMetrics:
        """What an episode, as both teams saw it, shows."""
        states = jax.vmap(partial(self._restore, newest[0].fixed))(newest[0].moving[1:])
        return PairMetrics(
            contacts=jnp.sum(jax.vmap(self.env.measures)(states)["contacts"]),
            prey_return=jnp.sum(newest[1].reward),
            inside=jnp.mean(self.inside(states)),
        )

    def inside(self, state: PredatorPreyState) -> Float[Array, "*batch M"]:
        """1 for prey within the arena."""
        far = jnp.max(jnp.abs(state.prey_position), axis=-1)
        return (far <= self.env.half_width).astype(float)

    def _restore(self, fixed: Array, moving: Array) -> PredatorPreyState:
        return self.env.restore(jax_mpe.Snapshot(moving, fixed), 0)


def hunt_straight(state: PredatorPreyState) -> Float[Array, "N 2"]:
    """Full force towards the nearest prey, less within an eighth of a unit."""
    prey = nearest(state.prey_position[None] - state.agent_position[:, None], 1)[:, 0]
    return jnp.clip(8 * prey, -1.0, 1.0)


def boundary_penalty(position: Float[Array, "M 2"]) -> Float[Array, ""]:
    """The classic one (OpenAI's simple_tag), of places in units of the half-width, summed over prey and axes.

    Nothing below 0.9, then a line up to 1 at the edge, then ``exp(2 x - 2)`` up to 10.
    """
    x = jnp.abs(position)
    line = jnp.maximum(10 * (x - 0.9), 0)
    beyond = jnp.exp(jnp.minimum(2 * x - 2, math.log(10)))
    return jnp.sum(jnp.where(x < 1, line, beyond))


class Pairs:
    """All pairs in one program, spread over the devices as `Population` spreads its seeds."""

    def __init__(self, settings: PreySettings) -> None:
        self.settings, self.duel = settings, Duel(settings)
        count = min(len(jax.devices()), settings.seeds)
        self.mesh = Mesh(np.array(jax.devices()[:count]), ("seed",), axis_types=(AxisType.Auto,))
        lanes, shared = PartitionSpec("seed"), PartitionSpec()
        self._init = self._program(self._over(self.duel.init), (lanes,), lanes)
        self._advance = self._program(
            lambda pairs, clock: self._over(partial(self._chunk, clock=clock))(pairs),
            (lanes, shared),
            (lanes, lanes),
            donate=(0,),
        )

    def train(self, tell: Callable[[int, PairMetrics], None]) -> PairState:
        """All pairs after all episodes, each leaf with a leading axis [S].

        Args:
            tell: called after each chunk with the episodes done and the chunk's means [S].
        """
        # Rounded up to a multiple of the devices; what is too many trains and is dropped.
        lanes = -(-self.settings.seeds // self.mesh.size) * self.mesh.size
        seeds = self.settings.first_seed + jnp.arange(lanes, dtype=jnp.uint32)
        sharding = NamedSharding(self.mesh, PartitionSpec("seed"))
        pairs = self._init(jax.device_put(jax.vmap(Purpose.SELF_PLAY.key)(seeds), sharding))
        clock = self.duel.start_clock()
        for _ in range(self.settings.episodes // self.settings.chunk):
            pairs, metrics = self._advance(pairs, clock)
            clock = clock.advanced(self.settings.chunk)
            metrics = jax.tree.map(lambda x: np.asarray(x)[: self.settings.seeds], metrics)
            tell(int(clock.episode), metrics)
        return jax.tree.map(lambda x: x[: self.settings.seeds], pairs)

    def _chunk(self, pair: PairState, clock: Clock) -> tuple[PairState, PairMetrics]:
        def update(carry: tuple, _: None) -> tuple:
            pair, clock = carry
            pair, metrics = self.duel.update(pair, clock)
            return (pair, clock.advanced()), metrics

        metrics: PairMetrics
        (pair, _), metrics = jax.lax.scan(update, (pair, clock), length=self.settings.chunk)
        return pair, jax.tree.map(jnp.mean, metrics)

    def _over(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """The lanes of a device: in turn on a CPU, together elsewhere."""
        if seed_axis(Means()) == "map":
            return partial(jax.lax.map, fn)
        return jax.vmap(fn)

    def _program(
        self, fn: Callable[..., Any], inputs: Any, outputs: Any, donate: tuple[int, ...] = ()
    ) -> Any:
        local = jax.shard_map(
            fn, mesh=self.mesh, in_specs=inputs, out_specs=outputs, check_vma=False
        )
        return jax.jit(local, donate_argnums=donate)
