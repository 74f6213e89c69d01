"""The base learner: a centralised critic for one team reward, deterministic policies, target networks (Eqs. 1-3)."""

from __future__ import annotations

from dataclasses import replace

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key

from purejax_mgtopo.algorithm.networks import Critic, apply
from purejax_mgtopo.algorithm.team import Policy, Team
from purejax_mgtopo.algorithm.types import Mode, PyTree, Window, random_tape
from purejax_mgtopo.config import Experiment


@flax.struct.dataclass
class Targets:
    """Delayed copies, by Polyak averaging."""

    policy: Policy
    gates: PyTree
    critic: PyTree


@flax.struct.dataclass
class ActorCritic:
    """theta_pi and theta_Q with their optimisers' states."""

    policy: Policy
    critic: PyTree
    policy_optimizer: PyTree
    critic_optimizer: PyTree


class Maddpg:
    """Losses and updates of policies and critic; knows neither rule nor interpreter."""

    def __init__(
        self, config: Experiment, team: Team, observation_size: int, action_size: int
    ) -> None:
        self.settings = config.learner
        self.team = team
        self.num_agents, self.sizes = team.num_agents, (observation_size, action_size)
        self.critic = Critic(config.learner.hidden, team.num_agents * sum(self.sizes))
        self._policy_optimizer = _clipped_adam(
            config.learner.policy_learning_rate, config.learner.gradient_clip
        )
        self._critic_optimizer = _clipped_adam(
            config.learner.critic_learning_rate, config.learner.gradient_clip
        )

    def init(self, key: Key[Array, ""]) -> ActorCritic:
        """Fresh networks and optimisers."""
        policy_key, critic_key = jax.random.split(key)
        policy = self.team.init(policy_key)
        example = (jnp.zeros((self.num_agents, size)) for size in self.sizes)
        critic = self.critic.init(critic_key, *example)
        return ActorCritic(
            policy=policy,
            critic=critic,
            policy_optimizer=self._policy_optimizer.init(policy),
            critic_optimizer=self._critic_optimizer.init(critic),
        )

    def td_target(self, target: Targets, window: Window, key: Key[Array, ""]) -> Float[Array, " B"]:
        """``r + gamma Q'(o', a')`` with a' by the target policy over the target gates' decisions (Eq. 1).

        No mask at the episode's end: it is a time limit.
        """
        tape = self._tape(window, key)
        step = self.team.recall(
            target.policy,
            target.gates,
            window.observation[:, 1:],
            window.begins[:, 1:],
            tape,
            Mode.TARGET,
        )
        value = apply(self.critic, target.critic, window.observation[:, -1], step.action)
        return jax.lax.stop_gradient(window.reward + self.settings.discount * value)

    def critic_loss(
        self, critic: PyTree, window: Window, target: Float[Array, " B"]
    ) -> Float[Array, ""]:
        """Mean squared TD error (Eq. 1)."""
        value = apply(self.critic, critic, window.observation[:, -2], window.action)
        return jnp.mean(jnp.square(value - target))

    def policy_loss(
        self, policy: Policy, gates: PyTree, critic: PyTree, window: Window, key: Key[Array, ""]
    ) -> Float[Array, ""]:
        """``-sum_i mean Q(o, (pi_i, a_-i)) + penalty * mean(u^2)``, a_-i from the buffer (Eqs. 2 and 3).

        One joint forward pass: the gradient travels from a receiver's action back into the senders' encoders, never
        into other agents' actions. It reaches the gates only where a rule's decisions carry derivatives.
        """
        step = self.team.recall(
            policy,
            gates,
            window.observation[:, :-1],
            window.begins[:, :-1],
            self._tape(window, key),
            Mode.REPLAY,
        )
        values = apply(
            self.critic,
            jax.lax.stop_gradient(critic),
            window.observation[:, -2],
            window.action,
            step.action,
            method="counterfactual",
        )
        penalty = self.settings.action_penalty * jnp.mean(jnp.square(step.unsquashed))
        return penalty - jnp.sum(jnp.mean(values, axis=-1))

    def update_critic(
        self, learner: ActorCritic, target: Targets, window: Window, key: Key[Array, ""]
    ) -> tuple[ActorCritic, Float[Array, ""]]:
        """One Adam step on the TD error."""
        y = self.td_target(target, window, key)
        loss, gradient = jax.value_and_grad(self.critic_loss)(learner.critic, window, y)
        updates, optimizer = self._critic_optimizer.update(gradient, learner.critic_optimizer)
        critic = optax.apply_updates(learner.critic, updates)
        return replace(learner, critic=critic, critic_optimizer=optimizer), loss

    def update_policy(
        self, learner: ActorCritic, gates: PyTree, window: Window, key: Key[Array, ""]
    ) -> tuple[ActorCritic, PyTree, Float[Array, ""]]:
        """One Adam step on the policies; also the loss's gradient in the gates, for rules that learn from it."""
        loss, (gradient, gate_gradient) = jax.value_and_grad(self.policy_loss, argnums=(0, 1))(
            learner.policy, gates, learner.critic, window, key
        )
        updates, optimizer = self._policy_optimizer.update(gradient, learner.policy_optimizer)
        policy = optax.apply_updates(learner.policy, updates)
        return replace(learner, policy=policy, policy_optimizer=optimizer), gate_gradient, loss

    def track(self, target: Targets, learner: ActorCritic, gates: PyTree) -> Targets:
        """Polyak: ``target <- target + rate (online - target)``."""
        online = Targets(policy=learner.policy, gates=gates, critic=learner.critic)
        return optax.incremental_update(online, target, self.settings.target_rate)

    def _tape(self, window: Window, key: Key[Array, ""]) -> Float[Array, "B L ..."]:
        batch, length = window.begins.shape
        return random_tape(key, (batch, length - 1, *self.team.rule.tape_shape))


def _clipped_adam(learning_rate: float, clip: float) -> optax.GradientTransformation:
    return optax.chain(_clip_by_global_norm(clip), optax.adam(learning_rate))


def _clip_by_global_norm(limit: float) -> optax.GradientTransformation:
    """As optax's, but scaled by one factor: what that divides, XLA stores for the moments that read it."""

    def update(updates: PyTree, state: optax.EmptyState, params: PyTree = None) -> tuple:
        del params
        scale = limit / jnp.maximum(optax.tree.norm(updates), limit)
        return jax.tree.map(lambda g: scale * g, updates), state

    return optax.GradientTransformation(lambda _: optax.EmptyState(), update)
