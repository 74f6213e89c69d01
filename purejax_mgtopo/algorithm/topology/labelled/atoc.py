"""ATOC (Jiang & Lu 2018, arXiv 1805.07733): attention says who initiates a group, whose members talk for a while."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import ClassVar

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from purejax_mgtopo.algorithm.edges import drop_diagonal
from purejax_mgtopo.algorithm.networks import MLP, apply
from purejax_mgtopo.algorithm.part import Announced, Context, Learned, Moment, Shown
from purejax_mgtopo.algorithm.topology.gates import EdgeGates
from purejax_mgtopo.algorithm.topology.labelled.labels import worth
from purejax_mgtopo.algorithm.types import Gates, Groups, Mode, PyTree, Seen, Sizes, Trajectory
from purejax_mgtopo.config import Experiment


@flax.struct.dataclass
class AttentionState:
    """The attention unit and RMSprop's nu."""

    gates: PyTree
    nu: PyTree


@flax.struct.dataclass
class Standing:
    """Groups, and for how many more steps they stay."""

    member: Float[Array, "*batch N N"]
    left: Int[Array, "*batch"]


class AttentionGroups(EdgeGates):
    """Every fifth step each agent with ``p(h_i) > 0.5``, h_i its feature, initiates a group with up to three others:
    first those whom nobody has chosen, then those who were, then other initiators, the nearest first. Until next time,
    members of a group receive from one another, and nobody else does.

    The attention unit p, one MLP of two layers for all, learns by cross-entropy alone, from initiators: the label is by
    how much the critic's value falls if the group's members hear nothing, scaled to [0, 1] between the least and the
    most of the episode, and ``0.9 p + 0.05`` stands for p. In training an agent initiates with probability 0.1 whatever
    p says, as only initiators have labels. ``aux`` is the groups, in the order in which they are to be processed.
    Differences from the original: the team's critic instead of local ones, groups that last 5 of 25 steps, not 15, and
    a view without bounds.
    """

    measures: ClassVar[Announced] = {
        "label_loss": "cross-entropy between the attention and its labels, mean over initiators",
        "group_worth": "by how much the critic's value falls if a group hears nothing, mean over initiators",
        "initiator_rate": "share of steps in which a group stands that the agent initiated, mean over agents",
        "member_rate": "share of steps in which the agent is in some group, mean over agents",
    }

    def __init__(self, experiment: Experiment, sizes: Sizes) -> None:
        super().__init__(experiment, sizes)
        self.groups = experiment.member.atoc
        self.tape_shape = (sizes.agents,)
        self.collaborators = min(self.groups.collaborators, sizes.agents - 1)
        self._attention = MLP((experiment.learner.hidden, 1))

    def init(self, key: Key[Array, ""]) -> AttentionState:
        """A fresh attention unit."""
        gates = self._attention.init(key, jnp.zeros(self.sizes.feature))
        return AttentionState(gates, jax.tree.map(jnp.zeros_like, gates))

    def initial_carry(self, batch: tuple[int, ...]) -> Standing:
        """No group, and time to decide."""
        agents = self.sizes.agents
        return Standing(jnp.zeros((*batch, agents, agents)), jnp.zeros(batch, jnp.int32))

    def kept(self, carry: Standing) -> Standing:
        """The groups: replayed steps may come from anywhere in an episode."""
        return jax.tree.map(lambda x: x.astype(jnp.int8), carry)

    def recalled(self, carry: Standing, kept: Standing) -> Standing:
        """The groups that were kept."""
        return jax.tree.map(lambda new, old: new.astype(old.dtype), kept, carry)

    def attention(
        self, gates: PyTree, feature: Float[Array, "*batch N F"]
    ) -> Float[Array, "*batch N"]:
        """p; no gradient passes from it into the feature."""
        logits = apply(self._attention, gates, jax.lax.stop_gradient(feature))[..., 0]
        return jax.nn.sigmoid(logits)

    def gate(self, acting: PyTree, seen: Seen, moment: Moment) -> tuple[Gates, PyTree]:
        """Groups as they stand, or new ones where it is time; data to whoever differentiates."""
        before: Standing = moment.carry
        initiates = jax.lax.stop_gradient(self.attention(acting, seen.feature)) > 0.5
        if moment.mode is Mode.ROLLOUT:
            initiates = initiates | (moment.tape < self.groups.initiation)
        forming = before.left == 0
        member = jnp.where(
            forming[..., None, None], self.formed(initiates, seen.near), before.member
        )
        left = jnp.where(forming, self.groups.persistence, before.left) - 1
        together = jnp.einsum("...ga,...gb->...ab", member, member) > 0
        edges = drop_diagonal(together.astype(member.dtype))
        initiator = initiates & forming[..., None]
        groups = Groups(member, initiator.astype(member.dtype))
        return Gates(edges, edges, aux=groups), Standing(member, left)

    def formed(
        self, initiates: Bool[Array, "*batch N"], near: Float[Array, "*batch N N"]
    ) -> Float[Array, "*batch N N"]:
        """The group of each initiator, in a row; other rows are zeros."""
        agents = range(self.sizes.agents)
        myself = jnp.eye(self.sizes.agents, dtype=bool)
        closeness = near / (1 + near)  # in [0, 1): less than what sets classes apart
        chosen = jnp.zeros_like(initiates)
        rows = []
        for i in agents:
            rank = jnp.where(initiates, 2.0, chosen.astype(near.dtype)) + closeness[..., i, :]
            rank = jnp.where(myself[i], jnp.inf, rank)
            ahead = (rank[..., None, :] < rank[..., :, None]) | (
                (rank[..., None, :] == rank[..., :, None]) & jnp.tri(len(agents), k=-1, dtype=bool)
            )
            picks = (jnp.sum(ahead, axis=-1) < self.collaborators) & ~myself[i]
            picks = picks & initiates[..., i : i + 1]
            chosen = chosen | picks
            rows.append(picks | (myself[i] & initiates[..., i : i + 1]))
        return jnp.stack(rows, axis=-2).astype(near.dtype)

    def learn(self, state: AttentionState, trajectory: Trajectory, context: Context) -> Learned:
        """One RMSprop step down the cross-entropy on the newest trajectory."""
        gain, groups = self.gain(trajectory, context), trajectory.gates.aux
        loss, slope = jax.value_and_grad(self.loss)(
            state.gates, trajectory.feature, gain, groups.initiator
        )
        gates, nu = self.ascend(state.gates, state.nu, jax.tree.map(jnp.negative, slope))
        decided = jnp.maximum(jnp.sum(groups.initiator), 1.0)
        measures = {
            "label_loss": loss,
            "group_worth": jnp.sum(gain * groups.initiator) / decided,
            "initiator_rate": jnp.mean(jnp.max(groups.member, axis=-1)),
            "member_rate": jnp.mean(jnp.max(groups.member, axis=-2)),
        }
        return Learned(AttentionState(gates, nu), measures)

    def shown(self, params: PyTree, trajectory: Trajectory, seen: Seen) -> Shown:
        """In whose groups each agent is: 1 for agent 0's, then for agent 1's, and so on."""
        del params, seen
        return Shown(agents={"groups": jnp.swapaxes(trajectory.gates.aux.member, -1, -2)})

    def gain(self, trajectory: Trajectory, context: Context) -> Float[Array, "T N"]:
        """By how much the value falls if the members of an agent's group hear nothing."""
        seen, gates = context.seen(trajectory), trajectory.gates
        as_it_was = worth(context, seen, gates)

        @partial(jax.vmap, in_axes=1, out_axes=-1)
        def of(member: Float[Array, "T N"]) -> Float[Array, " T"]:
            closed = replace(gates, decision=gates.decision * (1 - member[..., None]))
            return as_it_was - worth(context, seen, closed)

        return of(gates.aux.member)

    def loss(
        self,
        gates: PyTree,
        feature: Float[Array, "T N F"],
        gain: Float[Array, "T N"],
        initiator: Float[Array, "T N"],
    ) -> Float[Array, ""]:
        """Mean over initiators of the cross-entropy; nothing where all groups are worth the same."""
        known = initiator > 0
        low = jnp.min(jnp.where(known, gain, jnp.inf))
        span = jnp.max(jnp.where(known, gain, -jnp.inf)) - low
        differ = known & (span > 0) & jnp.isfinite(span)
        label = jnp.where(differ, (gain - low) / jnp.where(span > 0, span, 1.0), 0.0)
        p = 0.9 * self.attention(gates, feature) + 0.05
        error = -label * jnp.log(p) - (1 - label) * jnp.log(1 - p)
        return jnp.sum(jnp.where(differ, error, 0.0)) / jnp.maximum(jnp.sum(differ), 1)
