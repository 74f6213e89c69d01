"""The two kinds of parts that a communication method is made of, and what the loop asks of them.

A topology rule (axis A) decides who receives from whom at each step; a message interpreter (axis B) decides what is
sent, and turns what arrives into the policy's input. Either may have parameters and optimisers of its own, remember
things within an episode, store things in the replay, and add to the policy loss. Every default here does nothing, so
that a part defines only what it has.

Parts are pure functions of a state; an instance holds sizes and settings only.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from jaxtyping import Array, Bool, Float, Key

from purejax_mgtopo.algorithm.types import (
    Clock,
    Edges,
    Gates,
    Measures,
    Mode,
    PyTree,
    Seen,
    Sizes,
    Trajectory,
    Window,
)
from purejax_mgtopo.config import Experiment

if TYPE_CHECKING:
    from purejax_mgtopo.algorithm.team import Step

FLOAT_BITS = 32
"""Bits of a number in a message."""

Value = Callable[[Float[Array, "*batch N O"], Float[Array, "*batch N A"]], Float[Array, "*batch"]]
"""A critic's value of joint actions."""


@dataclass(frozen=True)
class Moment:
    """What a part gets at one step besides what there is to see."""

    carry: PyTree
    """The part's own memory, from the step before."""
    tape: Float[Array, "*batch ..."]
    """The part's own uniform random numbers, of its `tape_shape`; all the randomness there is."""
    mode: Mode
    """Why the team is asked."""


class Shown(NamedTuple):
    """What there is to see of a part in an episode, by name."""

    agents: dict[str, Float[Array, "T N ..."]] = {}
    """Numbers of each agent at each step: one, or several side by side."""
    pairs: dict[str, Float[Array, "T N N"]] = {}
    """Numbers from 0 to 1 of each receiver (row) and sender (column) at each step."""


@dataclass(frozen=True)
class Context:
    """What a part may learn from, besides the newest trajectory."""

    key: Key[Array, ""]
    clock: Clock
    progress: Float[Array, ""]
    """Share of the training that is done, from 0 to 1."""
    window: Window
    """The transitions that critic and policies have just learned from."""
    policy_gradient: PyTree
    """The policy loss's gradient in the parameters that the part acts with: exactly zero unless decisions or messages
    carry derivatives."""
    shared: PyTree
    """What the part shares with all other seeds."""
    seen: Callable[[Trajectory], Seen]
    """What the team saw at each step of a trajectory, [T, ...]."""
    shown: Callable[[Trajectory], Shown]
    """What both parts have to show of a trajectory, by the current policies."""
    act: Callable[[Seen, Gates], Float[Array, "*batch N A"]]
    """The current policies' actions, given what is seen and who may talk to whom; memories are as at the start."""
    value: Value
    """The current critic's value of joint actions; data, without derivatives in the critic."""


class Learned(NamedTuple):
    """What comes of one update after a trajectory."""

    state: Any
    measures: Measures = {}
    """Every one of the part's `measures`."""
    trace: PyTree = ()
    """What the outer update wants to know of it."""


class Outer(NamedTuple):
    """What comes of one update after K inner ones."""

    state: Any
    measures: Measures = {}
    """Every one of the part's `outer_measures`."""
    update: PyTree = ()
    """A direction for what all seeds share, of its structure."""


Announced = Mapping[str, str] | tuple[str, ...]
"""Names of scalars, each with a sentence that says what it is; or the names alone."""


class Part:
    """What rules and interpreters have in common.

    Attributes:
        memory: steps before the current one that must be run again to rebuild what a step depends on (0: none).
        tape_shape: shape of the uniform random numbers that one step uses up.
        tosses: whether it uses up those numbers in greedy evaluation too; an exported team then acts with a key only.
        scheduled: whether what it does and learns depends on how long the whole training is to be.
        measures: names of the scalars that `learn` tells, `outer_measures` of those of `outer`, with their sentences.
            They reach the records, W&B and the report under these names. Sentences are read from the source, where no
            class is imported: write them out, in a dictionary.
    """

    memory: int = 0
    tape_shape: tuple[int, ...] = (0,)
    tosses: bool = False
    scheduled: bool = False
    measures: ClassVar[Announced] = ()
    outer_measures: ClassVar[Announced] = ()

    def __init__(self, experiment: Experiment, sizes: Sizes) -> None:
        self.experiment = experiment
        self.sizes = sizes

    def init(self, key: Key[Array, ""]) -> Any:
        """The state before learning."""
        del key
        return ()

    def init_shared(self, key: Key[Array, ""]) -> PyTree:
        """What all seeds of a population share, before learning; not part of any seed's state."""
        del key
        return ()

    def acting(self, state: Any) -> PyTree:
        """The parameters that the part acts with, of which the loop keeps a target copy."""
        del state
        return ()

    def remembered(self, state: Any) -> PyTree:
        """What of the state is neither a parameter nor an optimiser's, for `fit` to count apart from them.

        Leaves of the state as they are; it may hold shapes in place of arrays.
        """
        del state
        return ()

    def initial_carry(self, batch: tuple[int, ...]) -> PyTree:
        """What the part remembers within an episode, at its start."""
        del batch
        return ()

    def kept(self, carry: PyTree) -> PyTree:
        """What the replay is to store of a step, of the carry that it ended with."""
        del carry
        return ()

    def recalled(self, carry: PyTree, kept: PyTree) -> PyTree:
        """The carry with which a replayed step begins, given what was `kept` of the step before it."""
        del kept
        return carry

    def penalty(self, acting: PyTree, step: Step, value: Value) -> Float[Array, ""] | float:
        """A term to add to the policy loss, of the steps at which it is taken; `value` is as in `Context`."""
        del acting, step, value
        return 0.0

    def shown(self, params: PyTree, trajectory: Trajectory, seen: Seen) -> Shown:
        """What is to be seen of an episode in reports, besides who hears whom.

        Args:
            params: an interpreter's share of the policy.
            trajectory: the episode.
            seen: what the team saw in it, [T, ...].
        """
        del params, trajectory, seen
        return Shown()

    def rests(self, clock: Clock) -> Bool[Array, ""] | None:
        """Whether the policies are to stay as they are in this update; None: never."""
        del clock
        return None

    def learn(self, state: Any, trajectory: Trajectory, context: Context) -> Learned:
        """One update after a trajectory (Algorithm 1, line 9)."""
        del trajectory, context
        return Learned(state)

    def outer(
        self, shared: PyTree, before: Any, state: Any, trajectories: Trajectory, trace: PyTree
    ) -> Outer:
        """One update after K inner ones (lines 12 and 13).

        Args:
            shared: what all seeds share.
            before: the state before the K updates.
            state: the state after them.
            trajectories: tau(0), ..., tau(K) along a leading axis.
            trace: what the K updates told, likewise.
        """
        del shared, before, trajectories, trace
        return Outer(state)

    def apply(self, shared: PyTree, update: PyTree) -> PyTree:
        """What is shared, moved by the mean of the seeds' updates."""
        del update
        return shared


class Rule(Part, abc.ABC):
    """Axis A: who receives from whom at each step, and how that decision learns.

    Attributes:
        edges: what an interpreter may take for granted, for speed.
    """

    edges: ClassVar[Edges] = Edges.ANY
    listens: bool = False
    """Whether the rule wants `Seen.heard`."""
    judges: ClassVar[bool] = False
    """Whether the rule judges the decision on every edge and step, by a ``judged(state, trajectory)``."""

    @classmethod
    def of(cls, experiment: Experiment) -> type[Rule]:
        """The class that an experiment's settings ask for, where several go by one name."""
        del experiment
        return cls

    @abc.abstractmethod
    def gate(self, acting: PyTree, seen: Seen, moment: Moment) -> tuple[Gates, PyTree]:
        """Probabilities and decisions of one step, and the new carry."""


class Encoded(NamedTuple):
    """What an interpreter makes of an observation before anything is heard."""

    feature: Float[Array, "*batch N F"]
    message: Float[Array, "*batch N M"]
    carry: PyTree = ()


class Heard(NamedTuple):
    """What an interpreter makes of what arrives."""

    z: Float[Array, "*batch N H"] | None
    """The policy's input besides the observation; None for zeros."""
    carry: PyTree = ()
    offset: Float[Array, "*batch N A"] | float = 0.0
    """Added to the action before it is squashed."""
    message: Float[Array, "*batch N M"] | None = None
    """What is sent after all, where that depends on what was heard; with latency 1 only."""
    edges: Float[Array, "*batch N N-1"] | None = None
    """The edges that delivered, where they are not the rule's."""


class Resumed(NamedTuple):
    """How an interpreter goes on in the middle of an episode."""

    carry: PyTree
    message: Float[Array, "*batch N M"]
    """What was sent in the step before."""


class Interpreter(Part, abc.ABC):
    """Axis B: what is sent, and how what arrives is read.

    Its main parameters belong to the policy and learn from the policy loss; parameters and optimisers of its own are in
    its state, of which `acting` names those that it acts with.

    Attributes:
        feature_size: F, the width of a feature.
        message_size: M, the width of a message.
        heard_size: width of the policy's input besides the observation, by default H.
        latency: 0 if a message is read in the step in which it is sent, 1 if in the next step.
        graphs: how many rounds may have edges of their own (`Gates.second`).
        beside: how many other episodes are played beside each, because they are heard in it.
        rounds: how often messages are exchanged within a step.
        edge_bits: bits that pass over an open edge in one step, by default those of messages of floats.
    """

    feature_size: int
    message_size: int
    rounds: int = 1
    graphs: ClassVar[int] = 1
    beside: ClassVar[int] = 0

    def __init__(self, experiment: Experiment, sizes: Sizes, edges: Edges = Edges.ANY) -> None:
        super().__init__(experiment, sizes)
        self.edges = edges
        self.latency: int = experiment.message.latency
        self.heard_size: int = experiment.learner.hidden
        self.memory = self.latency

    @property
    def edge_bits(self) -> int:
        """Bits that pass over an open edge in one step: a message in each round, or one for all that arrives later."""
        return FLOAT_BITS * self.message_size * (1 if self.latency else self.rounds)

    @abc.abstractmethod
    def init_params(self, key: Key[Array, ""]) -> PyTree:
        """Fresh parameters of the policy's share."""

    @abc.abstractmethod
    def encode(
        self,
        params: PyTree,
        acting: PyTree,
        observation: Float[Array, "*batch N O"],
        moment: Moment,
    ) -> Encoded:
        """Each agent's feature, which gates may read, and the message that it offers."""

    def resumed(self, kept: PyTree) -> Resumed | None:
        """With what a replayed window begins within an episode, of what was `kept` of the step before it.

        None where the steps of `memory` rebuild it from nothing.
        """
        del kept
        return None

    @abc.abstractmethod
    def hear(
        self, params: PyTree, acting: PyTree, seen: Seen, gates: Gates, moment: Moment
    ) -> Heard:
        """What each agent makes of the messages that the topology lets through; differentiable in the decisions.

        With all edges closed, whatever is delivered, it equals silence exactly.
        """


def arriving(gates: Gates, seen: Seen) -> Gates:
    """The gates as an interpreter has them: closed where nothing can arrive."""
    if isinstance(seen.arrives, tuple):
        return gates
    arrives = seen.arrives[..., None, None]
    later = gates.later if isinstance(gates.later, tuple) else gates.later * arrives
    return replace(gates, decision=gates.decision * arrives, later=later)
