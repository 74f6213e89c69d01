"""What flows through the program, each axis stated once.

    S  seeds          B  batch of transitions      T  steps of an episode     K  updates of an iteration
    N  agents         O  width of an observation   A  width of an action      M  width of a message
    H  hidden units   F  width of a feature        D  moving part of a state  E  fixed part of a state

A topology is a mask ``[..., N, N]`` in {0, 1}: ``edges[i, j] = 1`` means that agent i *receives from* j. Diagonals
are zero, and stay out of every log-probability, entropy and rate. Per-edge quantities without the diagonal are
``[..., N, N-1]`` with senders in ascending index.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace
from typing import Any

import flax.struct
import jax
from jaxtyping import Array, Float, Int, Integer, Key

PyTree = Any
Measures = dict[str, Float[Array, ""]]
"""A part's own scalars by the names that it announces."""
MEASURES = ("train_return", "edge_rate", "gate_entropy", "critic_loss", "policy_loss")
"""What every method measures in training."""


class Mode(enum.Enum):
    """Why a team is asked to act; its parts may treat each case differently. Static: it never enters the program."""

    ROLLOUT = "sampled gates and the training channel, to collect a trajectory"
    REPLAY = "fresh samples from the current parameters, for the policy loss"
    TARGET = "fresh samples from the target parameters, for the TD target"
    EVAL_SAMPLED = "sampled gates and the execution channel"
    EVAL_GREEDY = "an edge is open where its probability exceeds one half"
    IMAGINED = "what would be done if other edges were open, for a rule to learn from"


class Edges(enum.Enum):
    """What may be taken for granted of a rule's decisions: a hint for speed, which changes no value."""

    ANY = "nothing: they may carry derivatives"
    DATA = "zeros and ones without derivatives, some of them zeros: what they close may be skipped"
    NEVER = "no edge is ever open, so that messages need not be read at all"


@dataclass(frozen=True)
class Sizes:
    """The widths of everything that a team is made of."""

    agents: int
    """Number N of agents."""
    observation: int
    """Width O of an observation."""
    action: int
    """Width A of an action."""
    feature: int = 0
    """F, known once the interpreter is made."""
    message: int = 0
    """Width M of a message, known once the interpreter is made."""
    heard: int = 0
    """Width H of what is made of messages, known once the interpreter is made."""
    horizon: int = 25
    """Steps T of an episode, for those who remember whole ones."""


@flax.struct.dataclass
class Both:
    """One thing of the topology rule, and one of the message interpreter."""

    rule: PyTree = ()
    interpreter: PyTree = ()


@flax.struct.dataclass
class Seen:
    """All that there is to decide on and to hear at one step."""

    observation: Float[Array, "*batch N O"]
    feature: Float[Array, "*batch N F"]
    """What the interpreter makes of it before anything is heard."""
    message: Float[Array, "*batch N M"]
    """What each agent offers at this step."""
    delivered: Float[Array, "*batch N M"]
    """What would arrive from each agent now: `message`, or with latency 1 that of the step before."""
    near: Float[Array, "*batch N N"]
    """Distances between agents."""
    arrives: Float[Array, "*batch"] | tuple[()] = ()
    """With latency 1, 0 at the start of an episode, when nothing was sent yet: then nothing arrives, not even over open
    edges."""
    heard: Float[Array, "*batch N H"] | tuple[()] = ()
    """What was made of messages in the step before, for rules that ask for it; zeros at the start."""


@flax.struct.dataclass
class Groups:
    """Who talks in which group."""

    member: Float[Array, "*batch K N"]
    """1 where an agent belongs to a group; they are processed in this order."""
    initiator: Float[Array, "*batch N"]
    """1 for who has initiated a group in this very step."""


@flax.struct.dataclass
class Gates:
    """A rule's answer at one step."""

    probability: Float[Array, "*batch N N-1"]
    """Probability that i receives from its j-th other agent, in the first round where rounds differ."""
    decision: Float[Array, "*batch N N-1"]
    """0 or 1 in value; may carry a derivative (straight-through)."""
    aux: PyTree = ()
    """Whatever else the interpreter is to know of the decision (groups, attention); kept in the trajectory."""
    later: Float[Array, "*batch N N-1"] | tuple[()] = ()
    """The decisions of the second round of messages, where they are not those of the first."""

    @property
    def second(self) -> Float[Array, "*batch N N-1"]:
        """The decisions of the second round."""
        return self.decision if isinstance(self.later, tuple) else self.later

    @property
    def opened(self) -> Float[Array, "*batch N N-1"]:
        """The share of the rounds in which an edge is open: 0 or 1, or 1/2 where two rounds differ."""
        return self.decision if isinstance(self.later, tuple) else (self.decision + self.later) / 2


def redirected(gates: Gates, edges: Float[Array, "*batch N N-1"] | tuple[()]) -> Gates:
    """The rule's answer with the edges that deliver in its place, groups and all else besides them left out; the answer
    itself where nothing is redirected."""
    if isinstance(edges, tuple):
        return gates
    return replace(gates, decision=edges, aux=(), later=())


@flax.struct.dataclass
class InFlight:
    """Messages that were sent in the step before and arrive in this one."""

    message: Float[Array, "*batch N M"]
    sent: Float[Array, "*batch"]
    """0 at the start of an episode, when nothing was sent yet."""


@flax.struct.dataclass
class Carry:
    """What a team remembers from one step of an episode to the next."""

    parts: Both
    """Each part's own memory, of any kind and dtype."""
    in_flight: InFlight | tuple[()]
    """Messages on their way; empty with latency 0."""
    heard: Float[Array, "*batch N H"] | tuple[()] = ()
    """What was made of messages, where the rule asks for it."""


@flax.struct.dataclass
class Trajectory:
    """One episode, as parts learn from it."""

    observation: Float[Array, "T+1 N O"]
    feature: Float[Array, "T N F"]
    message: Float[Array, "T N M"]
    """What was offered."""
    action: Float[Array, "T N A"]
    reward: Float[Array, " T"]
    gates: Gates
    """The rule's answers, [T, N, N-1] each."""
    kept: Both
    """What the parts ask the replay to store of each step, [T, ...]."""
    moving: Float[Array, "T+1 D"]
    """Physical states, as the replay stores them."""
    fixed: Float[Array, " E"]
    sent: Float[Array, "T N M"] | tuple[()] = ()
    """What was sent after all, where that depends on what was heard."""
    redirected: Float[Array, "T N N-1"] | tuple[()] = ()
    """The edges that delivered, where the channel does not follow the rule."""

    @property
    def open_edges(self) -> Float[Array, "*lead N N-1"]:
        """The edges over which messages went: the rule's, but where the channel does not follow it."""
        return self.gates.opened if isinstance(self.redirected, tuple) else self.redirected

    @property
    def delivering(self) -> Gates:
        """The rule's answers, the edges that delivered in their place where the channel does not follow it."""
        return redirected(self.gates, self.redirected)


@flax.struct.dataclass
class Window:
    """Observations drawn from the replay: those that lead to o, which was acted on, then those that lead to a later o'.

    With a memory of h steps these are h + 1 each, oldest first. Where o' is the next one after o they overlap, and what
    both have is there once: L = h + 2. Else L = 2 (h + 1). ``begins`` marks those that start an episode, before
    which nothing was sent.
    """

    observation: Float[Array, "B L N O"]
    begins: Float[Array, "B L"]
    action: Float[Array, "B N A"]
    reward: Float[Array, " B"]
    """``sum_k gamma^k r_{t+k}`` over the steps from o to o'."""
    discount: Float[Array, " B"]
    """By what the value of o' counts: gamma to the power of those steps."""
    kept: Both = Both()
    """What was stored of the step before each of these observations, [B, L, ...]; anything where one begins."""
    leading: int = flax.struct.field(pytree_node=False, default=1)
    """How many observations lead to o, itself included, and how many to o': h + 1."""

    @property
    def before(self) -> slice:
        """Where the observations lie that lead to o."""
        return slice(None, self.leading)

    @property
    def after(self) -> slice:
        """Where the observations lie that lead to o'."""
        return slice(-self.leading, None)

    @property
    def start(self) -> Float[Array, "B N O"]:
        """The observation o that was acted on."""
        return self.observation[:, self.leading - 1]

    @property
    def end(self) -> Float[Array, "B N O"]:
        """The observation o' from which on the critic is asked."""
        return self.observation[:, -1]


@flax.struct.dataclass
class Clock:
    """The counters that all seeds share; outside the seed axis, so that a buffer write stays a slice."""

    episode: Int[Array, ""]
    """Training episodes (updates) done, without the warm-up."""
    stored: Int[Array, ""]
    """Episodes ever added to the replay."""

    def advanced(self, episodes: int | Int[Array, ""] = 1) -> Clock:
        """The clock that many episodes later."""
        return Clock(episode=self.episode + episodes, stored=self.stored + episodes)


class Purpose(enum.IntEnum):
    """What a seed's key is used for besides training that seed: folded in first, lest its children be the streams of
    the training seed of that number."""

    EVALUATION = 2**31
    WATCHING = 2**31 + 1
    ASSESSMENT = 2**31 + 2
    SHARING = 2**31 + 3
    """What all seeds of a population share, before learning."""
    SELF_PLAY = 2**31 + 4
    """The pairs of predators and prey that train the prey."""
    CROSS_PLAY = 2**31 + 5
    """The episodes in which all pairs meet."""
    HUNT = 2**31 + 6
    """The episodes of straight hunters."""
    FINAL_EVALUATION = 2**31 + 7
    META_TRAINING = 2**31 + 8
    """The lifetimes over which a rule for every task is learned."""
    TRIAL = 2**31 + 9
    """The lifetimes by which such a rule is tried."""
    QUESTIONING = 2**31 + 11
    """The lifetimes in which a rule is asked what it says of edges."""

    def key(self, seed: int | Integer[Array, ""]) -> Key[Array, ""]:
        """The key of that number for this purpose."""
        return jax.random.fold_in(jax.random.key(seed), self.value)


@flax.struct.dataclass
class Streams:
    """One random stream for each purpose, so that another method leaves the environment's alone.

    New purposes go to the end: the keys of those before them stay what they were.
    """

    initial: Key[Array, ""]
    reset: Key[Array, ""]
    exploration: Key[Array, ""]
    gate: Key[Array, ""]
    replay: Key[Array, ""]
    replay_gate: Key[Array, ""]
    target_gate: Key[Array, ""]
    first_trajectory: Key[Array, ""]
    channel: Key[Array, ""]
    replay_channel: Key[Array, ""]
    target_channel: Key[Array, ""]
    rule_learning: Key[Array, ""]
    interpreter_learning: Key[Array, ""]
    beside: Key[Array, ""]

    @classmethod
    def split(cls, key: Key[Array, ""]) -> Streams:
        """The streams of one seed, or of one episode; `key` is used up."""
        names = cls.__dataclass_fields__
        return cls(**dict(zip(names, jax.random.split(key, len(names)), strict=True)))

    def at(self, moment: Int[Array, ""]) -> Streams:
        """The streams' keys for one moment of the clock; each moment is asked for once."""
        return jax.tree.map(lambda key: jax.random.fold_in(key, moment), self)

    def shared_out(self, updates: int) -> tuple[Streams, Streams | None]:
        """Keys for the first of so many updates, which are these if it is the only one, and for the others, stacked."""
        if updates == 1:
            return self, None
        keys = jax.tree.map(lambda key: jax.random.split(key, updates), self)
        return jax.tree.map(lambda x: x[0], keys), jax.tree.map(lambda x: x[1:], keys)

    @property
    def playing(self) -> Both:
        """The keys of both parts while an episode is played."""
        return Both(self.gate, self.channel)

    @property
    def replaying(self) -> Both:
        """The keys of both parts for the policy loss."""
        return Both(self.replay_gate, self.replay_channel)

    @property
    def targeting(self) -> Both:
        """The keys of both parts for the TD target."""
        return Both(self.target_gate, self.target_channel)

    @property
    def learning(self) -> Both:
        """The keys of both parts while they learn."""
        return Both(self.rule_learning, self.interpreter_learning)
