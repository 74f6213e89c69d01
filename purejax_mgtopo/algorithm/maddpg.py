"""The base learner: a centralised critic for one team reward, deterministic policies, target networks (Eqs. 1-3)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key

from purejax_mgtopo import methods
from purejax_mgtopo.algorithm.kernels.clip import clip_by_global_norm
from purejax_mgtopo.algorithm.kernels.stored import as_before, for_products, rounds
from purejax_mgtopo.algorithm.team import Policy, Step, Team
from purejax_mgtopo.algorithm.types import Both, Clock, Mode, PyTree, Streams, Window
from purejax_mgtopo.config import Experiment


@flax.struct.dataclass
class Targets:
    """Delayed copies, by Polyak averaging."""

    policy: Policy
    acting: Both
    """What rule and interpreter act with."""
    critic: PyTree


@flax.struct.dataclass
class ActorCritic:
    """theta_pi and theta_Q with their optimisers' states."""

    policy: Policy
    critic: PyTree
    policy_optimizer: PyTree
    critic_optimizer: PyTree


@flax.struct.dataclass
class Reading:
    """What products read, as they read it."""

    policy: Policy
    acting: Both
    critic: PyTree
    target: Targets


def followed(learner: ActorCritic, acting: Both) -> Targets:
    """What targets follow."""
    return Targets(policy=learner.policy, acting=acting, critic=learner.critic)


def reading(learner: ActorCritic, acting: Both, target: Targets) -> Reading | None:
    """What products read, where that is rounded: kept from one update to the next, so that it is rounded where it is
    written, and not by each reader again. None where they read what is kept anyway."""
    read = Reading(learner.policy, acting, learner.critic, target)
    return for_products(read) if rounds() else None


def played(read: Reading | None, learner: ActorCritic, acting: Both) -> tuple[Policy, Both]:
    """The policy and the parts with which a trajectory is played."""
    return (learner.policy, acting) if read is None else (read.policy, read.acting)


class Maddpg:
    """Losses and updates of policies and critic; knows neither rule nor interpreter."""

    def __init__(self, experiment: Experiment, team: Team) -> None:
        self.settings = experiment.learner
        self.team = team
        self.critic = methods.load(methods.CRITICS, experiment.critic)(experiment, team.sizes)
        self._policy_optimizer = _clipped_adam(
            self.settings.policy_learning_rate, self.settings.gradient_clip
        )
        self._critic_optimizer = _clipped_adam(
            self.settings.critic_learning_rate, self.settings.gradient_clip
        )

    def init(self, key: Key[Array, ""]) -> ActorCritic:
        """Fresh networks and optimisers."""
        policy_key, critic_key = jax.random.split(key)
        policy = self.team.init(policy_key)
        critic = self.critic.init(critic_key)
        return ActorCritic(
            policy=policy,
            critic=critic,
            policy_optimizer=self._policy_optimizer.init(policy),
            critic_optimizer=self._critic_optimizer.init(critic),
        )

    def td_target(self, target: Targets, window: Window, keys: Both) -> Float[Array, " B"]:
        """``r + gamma Q'(o', a')`` with a' by the target policy over the target gates' decisions (Eq. 1).

        Of several steps, their discounted rewards and the value after them. No mask at the episode's end: it is a time
        limit.
        """
        target = for_products(target)
        step = self._recall(target.policy, target.acting, window, window.after, keys, Mode.TARGET)
        value = self.critic.value(target.critic, window.end, step.action)
        return jax.lax.stop_gradient(window.reward + window.discount * value)

    def critic_loss(
        self, critic: PyTree, window: Window, target: Float[Array, " B"]
    ) -> Float[Array, ""]:
        """Mean squared TD error (Eq. 1)."""
        value = self.critic.value(for_products(critic), window.start, window.action)
        return jnp.mean(jnp.square(value - target))

    def policy_loss(
        self, policy: Policy, acting: Both, critic: PyTree, window: Window, keys: Both
    ) -> Float[Array, ""]:
        """``-sum_i mean Q(o, (pi_i, a_-i)) + penalty * mean(u^2)``, a_-i from the buffer (Eqs. 2 and 3).

        One joint forward pass: the gradient travels from a receiver's action back into the senders' encoders, never
        into other agents' actions. It reaches what the parts act with only where decisions or messages carry
        derivatives, and by the penalties of their own.
        """
        policy, acting, critic = for_products((policy, acting, critic))
        step = self._recall(policy, acting, window, window.before, keys, Mode.REPLAY)
        values = self.critic.counterfactual(
            jax.lax.stop_gradient(critic), window.start, window.action, step.action
        )
        penalty = self.settings.action_penalty * jnp.mean(jnp.square(step.unsquashed))
        own = self.team.parts.penalty(acting, step, partial(self.value, critic))
        return penalty - jnp.sum(jnp.mean(values, axis=-1)) + own

    def value(
        self,
        critic: PyTree,
        observation: Float[Array, "*batch N O"],
        action: Float[Array, "*batch N A"],
    ) -> Float[Array, "*batch"]:
        """Q of joint actions; data, as far as the critic's parameters go."""
        return self.critic.value(jax.lax.stop_gradient(critic), observation, action)

    def update_critic(
        self,
        learner: ActorCritic,
        target: Targets,
        window: Window,
        keys: Both,
        read: Reading | None = None,
    ) -> tuple[ActorCritic, Float[Array, ""]]:
        """One Adam step on the TD error.

        Args:
            read: the critic and `target` as products read them, if they are known already.
        """
        target, critic = (target, learner.critic) if read is None else (read.target, read.critic)
        y = self.td_target(target, window, keys)
        loss, slopes = jax.value_and_grad(self.critic_loss)(critic, window, y)
        gradient = as_before(slopes, learner.critic)
        updates, optimizer = self._critic_optimizer.update(gradient, learner.critic_optimizer)
        critic = optax.apply_updates(learner.critic, updates)
        return replace(learner, critic=critic, critic_optimizer=optimizer), loss

    def update_policy(
        self,
        learner: ActorCritic,
        acting: Both,
        window: Window,
        keys: Both,
        clock: Clock | None = None,
        read: Reading | None = None,
    ) -> tuple[ActorCritic, Both, Float[Array, ""]]:
        """One Adam step on the policies, unless they rest then; also the loss's gradient in what the parts act with.

        Args:
            read: the policies and `acting` as products read them, if they are known already.
        """
        online = learner.policy, acting
        inputs = online if read is None else (read.policy, read.acting)
        loss, found = jax.value_and_grad(self.policy_loss, argnums=(0, 1))(
            *inputs, learner.critic, window, keys
        )
        gradient, slopes = as_before(found, online)
        updates, optimizer = self._policy_optimizer.update(gradient, learner.policy_optimizer)
        policy = optax.apply_updates(learner.policy, updates)
        moved = replace(learner, policy=policy, policy_optimizer=optimizer)
        rests = None if clock is None else self.team.parts.rests(clock)
        if rests is not None:
            moved = jax.tree.map(lambda new, old: jnp.where(rests, old, new), moved, learner)
        return moved, slopes, loss

    def practise(
        self,
        learner: ActorCritic,
        acting: Both,
        target: Targets,
        draw: Callable[[Key[Array, ""]], Window],
        keys: Streams | None,
        clock: Clock,
    ) -> tuple[ActorCritic, Targets]:
        """Further updates of critic and policies after an episode, each with a window of its own, then of the targets.

        Args:
            draw: a window from the replay.
            keys: of each update, stacked; None for no update.
        """
        if keys is None:
            return learner, target

        def once(state: tuple[ActorCritic, Targets], keys: Streams) -> tuple[tuple, None]:
            learner, target = state
            window = draw(keys.replay)
            learner, _ = self.update_critic(learner, target, window, keys.targeting)
            learner, _, _ = self.update_policy(learner, acting, window, keys.replaying, clock)
            return (learner, self.track(target, learner, acting)), None

        return jax.lax.scan(once, (learner, target), keys)[0]

    def track(self, target: Targets, learner: ActorCritic, acting: Both) -> Targets:
        """Polyak: ``target <- target + rate (online - target)``."""
        return optax.incremental_update(
            followed(learner, acting), target, self.settings.target_rate
        )

    def _recall(
        self, policy: Policy, acting: Both, window: Window, part: slice, keys: Both, mode: Mode
    ) -> Step:
        """What the team does at the last of these steps of a window."""
        observation, begins = window.observation[:, part], window.begins[:, part]
        kept = jax.tree.map(lambda x: x[:, part], window.kept)
        tape = self.team.parts.tape(keys, begins.shape)
        return self.team.recall(policy, acting, observation, begins, kept, tape, mode)


def _clipped_adam(learning_rate: float, clip: float) -> optax.GradientTransformation:
    return optax.chain(clip_by_global_norm(clip), optax.adam(learning_rate))
