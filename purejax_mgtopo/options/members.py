"""What single members of the grid can be told: a class of settings for each that has any, and all of them together.

Free of JAX. A member reads its own settings and no others.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from purejax_mgtopo.errors import require


@dataclass(frozen=True)
class DialConfig:
    """The interpreter dial: bits that carry derivatives in training."""

    bits: int = 8
    """Bits of a message.
    (ours, because four symbols need two, and the rest is room)"""
    noise: float = 2.0
    """Standard deviation of the channel's noise in training, which drives messages apart until they are bits.
    (ours, because DIAL's publication takes 2)"""
    window: int = 5
    """Consecutive steps through which the policy's gradient travels back; the first starts from stored messages.
    (ours, because longer windows cost as many times more)"""

    def __post_init__(self) -> None:
        require(self.bits >= 1, "member.dial.bits must be at least 1")
        require(self.noise >= 0, "member.dial.noise must not be negative")
        require(self.window >= 1, "member.dial.window must be at least 1")


@dataclass(frozen=True)
class RialConfig:
    """The interpreter rial: symbols chosen by their own Q-values."""

    symbols: int = 4
    """Symbols to choose from.
    (ours, because the toys have four goals)"""
    epsilon: float = 0.05
    """Probability, in training, that a symbol is drawn at random.
    (ours, because RIAL's publication takes 0.05)"""
    learning_rate: float = 5e-4
    """Learning rate of the symbols' Q-values (RMSprop).
    (ours, because RIAL's publication takes 5e-4)"""
    memory_episodes: int = 250
    """How many of the latest episodes the Q-values learn from.
    (ours, because symbols mean what they meant lately)"""

    def __post_init__(self) -> None:
        require(self.symbols >= 2, "member.rial.symbols must be at least 2")
        require(0 <= self.epsilon <= 1, "member.rial.epsilon must lie in [0, 1]")
        require(self.learning_rate > 0, "member.rial.learning_rate must be positive")
        require(self.memory_episodes >= 1, "member.rial.memory_episodes must be at least 1")


@dataclass(frozen=True)
class TalkConfig:
    """The rule ic3net: to talk to all, or to nobody."""

    gate_input: Literal["feature", "heard"] = "feature"
    """The gate reads what an agent makes of its observation, or what it had made of messages in the step before.
    (ours, because gate and message belong to one step here; the original's gate reads its state after hearing)"""
    mute_silent: bool = False
    """Who does not talk does not hear either, as in the released code.
    (ours, because the publication's equation lets it hear)"""


@dataclass(frozen=True)
class PruningConfig:
    """The rule gated_acml: senders whose messages are worth enough."""

    pruning: float = 0.5
    """Share of messages to be held back.
    (ours, because Gated-ACML's publication prunes between a fifth and nearly all)"""
    open_share: float = 0.2
    """Share of the training, at its start, in which everybody sends.
    (ours, because labels mean nothing before messages do)"""

    def __post_init__(self) -> None:
        require(0 <= self.pruning <= 1, "member.gated_acml.pruning must lie in [0, 1]")
        require(0 <= self.open_share <= 1, "member.gated_acml.open_share must lie in [0, 1]")


@dataclass(frozen=True)
class CombinerConfig:
    """The interpreter vbc: what is heard is added to actions."""

    penalty: float = 0.1
    """Weight in the policy loss of the standard deviation of what arrives, over its components.
    (ours, because the publication leaves it open; its code's loss comes to 0.06 to 0.12 here)"""

    def __post_init__(self) -> None:
        require(self.penalty >= 0, "member.vbc.penalty must not be negative")


@dataclass(frozen=True)
class PriorConfig:
    """The rule i2c: asking those whose actions matter."""

    percentile: float = 60.0
    """Percentile of remembered effects above which one counts; the original has 40 for predator and prey.
    (ours, because I2C's released code has 60 in navigation)"""
    candidates: int = 8
    """Actions of an agent that are compared: what it does, and uniform draws.
    (ours, because critics here judge continuous actions, and pairs of them cost 8 x 8 values)"""
    sharpness: float = 8.0
    """How strongly the better of two standardised values is preferred.
    (ours, because I2C's released code has 8)"""
    relabel_every: int = 20
    """Updates between two labellings of states.
    (ours, because labels cost as much as ten updates and age slowly)"""
    regulariser: float = 0.01
    """Weight in the policy loss of the distance from what the critic prefers; 0 saves its evaluations.
    (ours, because I2C's released code has 0.01)"""
    order: Literal["published", "released"] = "published"
    """Which way the KL is taken: from the conditional distribution to the marginal one, or as released code has it.
    (ours, because the publication says so)"""

    def __post_init__(self) -> None:
        require(0 <= self.percentile <= 100, "member.i2c.percentile must lie in [0, 100]")
        require(self.candidates >= 2, "member.i2c.candidates must be at least 2")
        require(self.sharpness > 0, "member.i2c.sharpness must be positive")
        require(self.relabel_every >= 1, "member.i2c.relabel_every must be at least 1")
        require(self.regulariser >= 0, "member.i2c.regulariser must not be negative")


@dataclass(frozen=True)
class GroupConfig:
    """Rule and interpreter atoc: groups that talk for a while."""

    persistence: int = 5
    """Steps that groups stay (rule).
    (ours, because ATOC's 15 would leave two decisions in an episode)"""
    collaborators: int = 3
    """Others whom an initiator takes along, at most (rule).
    (ours, because larger groups say little more, and N is at most 6 in the paper)"""
    initiation: float = 0.1
    """Probability, in training, that an agent initiates a group whatever its attention says (rule).
    (ours, because only those who initiate are told what it was worth)"""
    stop_thoughts: bool = False
    """Keep derivatives from the senders of thoughts (interpreter).
    (ours, because ATOC's publication lets them through)"""

    def __post_init__(self) -> None:
        require(1 <= self.persistence <= 127, "member.atoc.persistence must lie in [1, 127]")
        require(self.collaborators >= 1, "member.atoc.collaborators must be at least 1")
        require(0 <= self.initiation <= 1, "member.atoc.initiation must lie in [0, 1]")


@dataclass(frozen=True)
class GraphConfig:
    """The rule commformer: one graph for all states."""

    share: float = 0.4
    """Senders of each agent, as a share of N, rounded down; one at least.
    (ours, because CommFormer's publication has 0.4)"""
    learning_rate: float = 1e-4
    """Learning rate of the graph (Adam).
    (ours, because CommFormer's code has 1e-4)"""
    every: int = 5
    """One update in so many is the graph's, and the policies rest in it.
    (ours, because CommFormer's code has 5)"""
    freeze_after: float = 1.0
    """Share of the training after which the graph stays as it is.
    (ours, because freezing is an option of the publication)"""

    def __post_init__(self) -> None:
        require(0 < self.share <= 1, "member.commformer.share must lie in (0, 1]")
        require(self.learning_rate > 0, "member.commformer.learning_rate must be positive")
        require(self.every >= 1, "member.commformer.every must be at least 1")
        require(0 <= self.freeze_after <= 1, "member.commformer.freeze_after must lie in [0, 1]")


@dataclass(frozen=True)
class PairConfig:
    """The rule magic: edges told from pairs of agents."""

    second_graph: bool = False
    """The second round of messages has edges of its own, decided from the same encoding by another network; what
    is told of probabilities (`gate_entropy`) is of the first.
    (ours, because one graph for both rounds is the lesser claim, and MAGIC's released code has either)"""


@dataclass(frozen=True)
class SignatureConfig:
    """The interpreter tarmac: attention by signatures."""

    score_scale: float = 4.0
    """Scores are divided by it; a build near the authors has 11.3, the root of 128.
    (ours, because TarMAC's publication takes the root of a signature's 16 numbers)"""

    def __post_init__(self) -> None:
        require(self.score_scale > 0, "member.tarmac.score_scale must be positive")


@dataclass(frozen=True)
class AttentionConfig:
    """The interpreter gat: graph attention."""

    normalise: bool = True
    """Weights of open edges sum to one; else closed edges stay in the denominator, as in the authors' code.
    (ours, because what is not heard should not make quieter what is)"""


@dataclass(frozen=True)
class RelayConfig:
    """The interpreter relay: messages that pass on what was heard."""

    window: int = 5
    """Consecutive steps through which replayed messages travel, from an empty memory.
    (ours, because longer windows cost as many times more, and news cross the paper's teams in three steps)"""
    auxiliary: float = 0.1
    """Weight in the policy loss of the error with which what all agents see is told from a message; 0 leaves it out.
    (ours, because ExpoComm's publication has 0.1)"""

    def __post_init__(self) -> None:
        require(self.window >= 1, "member.relay.window must be at least 1")
        require(self.auxiliary >= 0, "member.relay.auxiliary must not be negative")


@dataclass(frozen=True)
class UniversalConfig:
    """The rule universal: a frozen update rule."""

    file: str = ""
    """A file of `mgtopo meta-train` in place of the rule that is shipped.
    (ours, because the paper leaves a rule for every task open)"""


@dataclass(frozen=True)
class MemberConfig:
    """Settings of single members of the grid, each read by the member of its name alone."""

    dial: DialConfig = field(default_factory=DialConfig)
    """The interpreter dial: bits that carry derivatives in training."""
    rial: RialConfig = field(default_factory=RialConfig)
    """The interpreter rial: symbols chosen by their own Q-values."""
    ic3net: TalkConfig = field(default_factory=TalkConfig)
    """The rule ic3net: to talk to all, or to nobody."""
    gated_acml: PruningConfig = field(default_factory=PruningConfig)
    """The rule gated_acml: senders whose messages are worth enough."""
    i2c: PriorConfig = field(default_factory=PriorConfig)
    """The rule i2c: asking those whose actions matter."""
    vbc: CombinerConfig = field(default_factory=CombinerConfig)
    """The interpreter vbc: what is heard is added to actions."""
    atoc: GroupConfig = field(default_factory=GroupConfig)
    """Rule and interpreter atoc: groups that talk for a while."""
    commformer: GraphConfig = field(default_factory=GraphConfig)
    """The rule commformer: one graph for all states."""
    magic: PairConfig = field(default_factory=PairConfig)
    """The rule magic: edges told from pairs of agents."""
    tarmac: SignatureConfig = field(default_factory=SignatureConfig)
    """The interpreter tarmac: attention by signatures."""
    gat: AttentionConfig = field(default_factory=AttentionConfig)
    """The interpreter gat: graph attention."""
    relay: RelayConfig = field(default_factory=RelayConfig)
    """The interpreter relay: messages that pass on what was heard."""
    universal: UniversalConfig = field(default_factory=UniversalConfig)
    """The rule universal: a frozen update rule."""
