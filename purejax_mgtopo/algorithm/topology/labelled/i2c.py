"""I2C (Ding, Huang & Lu 2020, arXiv 2006.06455): agents learn to ask those whose actions matter for their own."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import ClassVar

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from purejax_mgtopo.algorithm.edges import drop_diagonal, random_tape
from purejax_mgtopo.algorithm.networks import MLP, apply, init_per_agent, per_agent
from purejax_mgtopo.algorithm.part import Announced, Context, Learned, Moment, Value
from purejax_mgtopo.algorithm.team import Step
from purejax_mgtopo.algorithm.topology.gates import EdgeGates
from purejax_mgtopo.algorithm.topology.labelled.labels import cross_entropy
from purejax_mgtopo.algorithm.types import Gates, PyTree, Seen, Sizes, Trajectory
from purejax_mgtopo.config import Experiment

STATES, ROUNDS = 64, 32
"""States that are labelled at a time, and how many such labellings are remembered."""
WIDTH = 0.2
"""Standard deviation of the Gaussian around a policy's action, for the regulariser."""


@flax.struct.dataclass
class PriorState:
    """The prior network, RMSprop's nu, states with the effects of others on each agent, and what effect counts."""

    gates: PyTree
    nu: PyTree
    observation: Float[Array, "R S N O"]
    effect: Float[Array, "R S N N-1"]
    threshold: Float[Array, ""]


class CausalPrior(EdgeGates):
    """i asks j where the prior network's ``b(o_i, j)`` exceeds one half; j's message comes in the same step.

    The label is whether j's action has an effect on i's: the KL from ``P(a_i | a_-i)`` to ``P(a_i | a_-ij)``, its mean
    over a_j, is above the 60th percentile of those remembered. P goes by ``exp(8 Q)``, Q the critic's standardised
    values of eight candidates for each of the two: what was done, and uniform draws. Every twentieth update labels
    states from the replay; every update is a step of cross-entropy on remembered ones, both labels weighing the same.

    The policy loss has ``0.01 sum_b P(b) |pi_i - b|^2 / (2 0.2^2)`` added, which pulls policies to the candidates that
    the critic prefers: the original's KL to P, for a narrow Gaussian around a deterministic action. Differences from
    the original: candidates stand for all discrete actions (``aux`` is the drawn ones); b is a logistic of o_i and of
    j's number, where released code has a softmax of two and j's relative position; to ask costs no bits.
    """

    measures: ClassVar[Announced] = {
        "label_rate": "share of remembered pairs whose effect exceeds the threshold, and is labelled so",
        "label_loss": "cross-entropy between the prior network and its labels, both labels weighing the same",
        "causal_effect": "by how much j's action moves the distribution of i's, in nats, mean over remembered pairs",
        "threshold": "which effect counts: a percentile of those remembered, in nats",
    }

    def __init__(self, experiment: Experiment, sizes: Sizes) -> None:
        super().__init__(experiment, sizes)
        self.prior = experiment.member.i2c
        self.batch_size = experiment.learner.batch_size
        self.tape_shape = (sizes.agents, self.prior.candidates - 1, sizes.action)
        hidden = experiment.learner.hidden
        self._pairs = MLP((hidden, hidden, 1))

    def init_gates(self, key: Key[Array, ""]) -> PyTree:
        """Parameters of the prior network, stacked over agents (one alone if shared)."""

        def one(agent_key: Key[Array, ""]) -> PyTree:
            return self._pairs.init(
                agent_key, jnp.zeros(self.sizes.observation + self.sizes.agents)
            )

        return init_per_agent(one, key, self.sizes.agents, self.shared)

    def init(self, key: Key[Array, ""]) -> PriorState:
        """A fresh network, and nothing labelled."""
        gates, sizes = self.init_gates(key), self.sizes
        return PriorState(
            gates=gates,
            nu=jax.tree.map(jnp.zeros_like, gates),
            observation=jnp.zeros((ROUNDS, STATES, sizes.agents, sizes.observation)),
            effect=jnp.zeros((ROUNDS, STATES, sizes.agents, sizes.agents - 1)),
            threshold=jnp.zeros(()),
        )

    def remembered(self, state: PriorState) -> PyTree:
        """Labelled states, the effects in them, and what effect counts."""
        return state.observation, state.effect, state.threshold

    def logits(
        self, gates: PyTree, observation: Float[Array, "*batch N O"]
    ) -> Float[Array, "*batch N N-1"]:
        """Log-odds that i asks each other agent, told from what i sees and who that is."""
        agents = self.sizes.agents
        names = jnp.broadcast_to(jnp.eye(agents), (agents, agents, agents))
        names = jnp.moveaxis(drop_diagonal(jnp.moveaxis(names, -1, 0)), 0, -1)
        names = jnp.broadcast_to(names, (*observation.shape[:-1], agents - 1, agents))
        seen = jnp.broadcast_to(
            observation[..., None, :], (*names.shape[:-1], observation.shape[-1])
        )

        def one(
            params: PyTree, x: Float[Array, "*batch others X"]
        ) -> Float[Array, "*batch others"]:
            return apply(self._pairs, params, x)[..., 0]

        asked = per_agent(one, self.shared, axes=-3)
        return asked(gates, jnp.concatenate([seen, names], axis=-1))

    def gate(self, acting: PyTree, seen: Seen, moment: Moment) -> tuple[Gates, PyTree]:
        """A threshold in every mode; data to whoever differentiates."""
        logits = jax.lax.stop_gradient(self.logits(acting, seen.observation))
        probability = jax.nn.sigmoid(logits)
        decision = (probability > 0.5).astype(probability.dtype)
        return Gates(probability, decision, aux=2 * moment.tape - 1), moment.carry

    def learn(self, state: PriorState, trajectory: Trajectory, context: Context) -> Learned:
        """New labels when it is time, and one RMSprop step down the cross-entropy."""
        del trajectory
        label_key, batch_key = jax.random.split(context.key)
        episode, every = context.clock.episode, self.prior.relabel_every
        # The clock is common to all seeds, so this stays a branch.
        state = jax.lax.cond(
            episode % every == 0,
            partial(self.labelled, context=context, key=label_key),
            lambda state: state,
            state,
        )
        filled = jnp.minimum(episode // every + 1, ROUNDS)
        drawn = random_tape(batch_key, (2, self.batch_size))
        places = (drawn[0] * filled).astype(jnp.int32), (drawn[1] * STATES).astype(jnp.int32)
        effect = state.effect[places]
        label = (effect > state.threshold).astype(effect.dtype)
        loss, slope = jax.value_and_grad(self.loss)(state.gates, state.observation[places], label)
        gates, nu = self.ascend(state.gates, state.nu, jax.tree.map(jnp.negative, slope))
        measures = {
            "label_rate": jnp.mean(label),
            "label_loss": loss,
            "causal_effect": jnp.mean(effect),
            "threshold": state.threshold,
        }
        return Learned(replace(state, gates=gates, nu=nu), measures)

    def labelled(self, state: PriorState, context: Context, key: Key[Array, ""]) -> PriorState:
        """The state with the effects of more states, from the replay, and the percentile of all of them."""
        window, episode = context.window, context.clock.episode
        rows = jnp.arange(STATES) % window.action.shape[0]
        observation, action = window.start[rows], window.action[rows]
        draws = 2 * random_tape(key, (STATES, *self.tape_shape)) - 1
        found = self.effects(context.value, observation, self.candidates(action, draws))
        cursor = (episode // self.prior.relabel_every) % ROUNDS
        observations, effects = (
            jax.lax.dynamic_update_index_in_dim(ring, row, cursor, 0)
            for ring, row in ((state.observation, observation), (state.effect, found))
        )
        filled = jnp.minimum(episode // self.prior.relabel_every + 1, ROUNDS)
        known = jnp.where((jnp.arange(ROUNDS) < filled)[:, None, None, None], effects, jnp.nan)
        threshold = jnp.nanpercentile(known, self.prior.percentile)
        return replace(state, observation=observations, effect=effects, threshold=threshold)

    def candidates(
        self, action: Float[Array, "S N A"], draws: Float[Array, "S N drawn A"]
    ) -> Float[Array, "S N L A"]:
        """What each agent might do: what it does, and draws."""
        return jnp.concatenate([action[..., None, :], draws], axis=-2)

    def effects(
        self,
        value: Value,
        observation: Float[Array, "S N O"],
        candidates: Float[Array, "S N L A"],
    ) -> Float[Array, "S N N-1"]:
        """By how much j's action moves the distribution of i's; data."""
        action = candidates[..., 0, :]
        shape = (*observation.shape[:1], *(candidates.shape[2],) * 2, *observation.shape[1:])
        everywhere = jnp.broadcast_to(observation[:, None, None], shape)

        def of(i: Float[Array, " N"], j: Float[Array, " N"]) -> Float[Array, " S"]:
            mine, theirs = (jnp.einsum("n,snla->sla", who, candidates) for who in (i, j))
            rest = action * (1 - jnp.maximum(i, j))[:, None]
            joint = (
                rest[:, None, None]
                + i[:, None] * mine[:, :, None, None]
                + j[:, None] * theirs[:, None, :, None]
            )
            return self.divergence(value(everywhere, joint))

        agents = jnp.eye(self.sizes.agents, dtype=action.dtype)
        # A pair of an agent with itself means nothing and goes with the diagonal.
        pairs = jax.vmap(
            jax.vmap(of, in_axes=(None, 0), out_axes=-1), in_axes=(0, None), out_axes=-2
        )
        return jax.lax.stop_gradient(drop_diagonal(pairs(agents, agents)))

    def divergence(self, values: Float[Array, "S L L"]) -> Float[Array, " S"]:
        """The KL between the distribution of the first agent's candidates given what the second does, which is its
        candidate 0, and their distribution whatever the second does."""
        score = self.prior.sharpness * standardised(values, axes=(-2, -1))
        given = jax.nn.log_softmax(score[..., 0], axis=-1)
        joint = score - jax.nn.logsumexp(score, axis=(-2, -1), keepdims=True)
        whatever = jax.nn.logsumexp(joint, axis=-1)
        if self.prior.order == "released":
            given, whatever = whatever, given
        return jnp.sum(jnp.exp(given) * (given - whatever), axis=-1)

    def loss(
        self, gates: PyTree, observation: Float[Array, "B N O"], label: Float[Array, "B N N-1"]
    ) -> Float[Array, ""]:
        """The cross-entropy, its means over both labels weighing the same."""
        error = cross_entropy(self.logits(gates, observation), label)

        def mean(chosen: Array) -> Array:
            return jnp.sum(chosen * error) / jnp.maximum(jnp.sum(chosen), 1.0)

        return (mean(label) + mean(1 - label)) / 2

    def penalty(self, acting: PyTree, step: Step, value: Value) -> Float[Array, ""] | float:
        """How far policies are from what the critic prefers."""
        del acting
        if not self.prior.regulariser:
            return 0.0
        action = jax.lax.stop_gradient(step.action)
        candidates = self.candidates(action, step.gates.aux)
        seen = step.seen.observation
        everywhere = jnp.broadcast_to(
            seen[:, None], (seen.shape[0], candidates.shape[2], *seen.shape[1:])
        )

        def of(i: Float[Array, " N"]) -> Float[Array, "B L"]:
            mine = jnp.einsum("n,bnla->bla", i, candidates)
            joint = (action * (1 - i)[:, None])[:, None] + i[:, None] * mine[:, :, None]
            score = self.prior.sharpness * standardised(value(everywhere, joint), axes=(-1,))
            return jax.nn.softmax(score, axis=-1)

        preferred = jax.vmap(of, out_axes=1)(jnp.eye(self.sizes.agents, dtype=action.dtype))
        away = jnp.sum(jnp.square(step.action[..., None, :] - candidates), axis=-1)
        pull = jnp.sum(jax.lax.stop_gradient(preferred) * away, axis=-1) / (2 * WIDTH**2)
        return self.prior.regulariser * jnp.mean(jnp.sum(pull, axis=-1))


def standardised(values: Float[Array, "*batch"], axes: tuple[int, ...]) -> Float[Array, "*batch"]:
    """Less their mean, divided by their standard deviation."""
    centred = values - jnp.mean(values, axis=axes, keepdims=True)
    return centred / (jnp.std(values, axis=axes, keepdims=True) + 1e-6)
