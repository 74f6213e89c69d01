"""The grid of methods, and the only table of names: topology rule (axis A) x message interpreter (axis B) x critic.

Each name stands with a sentence, and with the class behind it by its import path, so that listing them starts no JAX.
To add one, write the class and add a line here: training, resuming, evaluation, export, report, pictures and `fit` then
know it. One that lives elsewhere is registered (`purejax_mgtopo.plugins`), and known no less.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from purejax_mgtopo.errors import ConfigError

_BLACK, _GREY, _BLUE, _SKY = "#000000", "#7f7f7f", "#0072B2", "#56B4E9"
_GREEN, _ORANGE, _RED, _PURPLE = "#009E73", "#E69F00", "#D55E00", "#CC79A7"
_DASH, _DOT, _MIX = (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (5, 1.5, 1.2, 1.5))

Style = tuple[str, Any, str]
"""Colour, line style and marker, as Matplotlib takes them."""

# Okabe and Ito's colour-blind-safe palette, grey for its yellow, which is unreadable on white.
SPARE_COLOURS = (_GREEN, _PURPLE, _BLUE, _ORANGE, _SKY, _BLACK, _RED, _GREY)
SPARE_LINES = ("-", _DASH, _MIX)
SPARE_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
"""Lines and markers of methods without a style of their own; `SPARE_COLOURS` are their colours."""


@dataclass(frozen=True)
class AxisEntry:
    """A member of one of the axes: a topology rule, a message interpreter or a critic."""

    name: str
    about: str
    path: str
    """Where the member's class is: ``package.module:Class``."""
    files: tuple[str, ...] = ()
    """Settings of the member that name a file, by their dotted names: what is in it is part of what is computed."""
    found: Any = None
    """The class itself, where it was registered as such; it need not be importable then."""


@dataclass(frozen=True)
class Method:
    """A preset: a named point of the grid.

    Line style and marker repeat what the colour says for print in grey: methods of one colour differ in both.
    """

    name: str
    topology: str
    messages: str
    share_parameters: bool
    about: str
    style: Style
    settings: tuple[tuple[str, Any], ...] = ()
    """What the method asks of other settings, by their dotted names."""

    @property
    def source(self) -> str:
        """Where it was published, and when; nothing for a control of our own."""
        return _SOURCES.get(self.name, "")


def _table(*entries: AxisEntry) -> dict[str, AxisEntry]:
    return {entry.name: entry for entry in entries}


_RULES = "purejax_mgtopo.algorithm.topology"
_MESSAGES = "purejax_mgtopo.algorithm.messages"
_CRITICS = "purejax_mgtopo.algorithm.critics"

TOPOLOGIES = _table(
    AxisEntry(
        "none", "nobody receives anything; plain MADDPG-style learning", f"{_RULES}.fixed:Nobody"
    ),
    AxisEntry("full", "everybody receives from everybody", f"{_RULES}.fixed:Full"),
    AxisEntry(
        "reinforce",
        "edge gates learned by REINFORCE with a learned baseline (Eq. 4)",
        f"{_RULES}.reinforce:Reinforce",
    ),
    AxisEntry(
        "stgs",
        "edge gates learned through straight-through Gumbel-softmax",
        f"{_RULES}.straight_through:StraightThrough",
    ),
    AxisEntry(
        "meta",
        "edge gates learned by a meta-learned update rule (Eqs. 5-9)",
        f"{_RULES}.meta:MetaGradient",
        files=("meta.start",),
    ),
    AxisEntry(
        "universal",
        "edge gates learned by one frozen update rule, meta-learned over many tasks and sizes",
        f"{_RULES}.edgewise.frozen:Universal",
        files=("member.universal.file",),
    ),
    AxisEntry(
        "ic3net",
        "each agent talks to all or to nobody, by score function (Singh et al. 2019)",
        f"{_RULES}.ic3net:BroadcastGates",
    ),
    AxisEntry(
        "magic",
        "edges told from pairs of features, straight-through (Niu et al. 2021)",
        f"{_RULES}.magic:PairGates",
    ),
    AxisEntry(
        "exponential",
        "i receives from i+1, i+2, i+4, ...; nothing is learned (ExpoComm, Li et al. 2025)",
        f"{_RULES}.exponential:Exponential",
    ),
    AxisEntry(
        "gated_acml",
        "each agent sends to all where its message is worth enough to the critic (Mao et al. 2020)",
        f"{_RULES}.labelled.gated_acml:PrunedMessages",
    ),
    AxisEntry(
        "i2c",
        "each agent asks those whose actions matter for its own, by the critic (Ding et al. 2020)",
        f"{_RULES}.labelled.i2c:CausalPrior",
    ),
    AxisEntry(
        "vbc",
        "who is unsure asks, whose message varies answers; in training all do (Zhang et al. 2019)",
        f"{_RULES}.labelled.vbc:RequestAndReply",
    ),
    AxisEntry(
        "atoc",
        "initiators gather groups that talk for a while (Jiang & Lu 2018)",
        f"{_RULES}.labelled.atoc:AttentionGroups",
    ),
    AxisEntry(
        "commformer",
        "one graph for all states, learned beside the policies (CommFormer, Hu et al. 2024)",
        f"{_RULES}.commformer:LearnedGraph",
    ),
    AxisEntry(
        "right",
        "exactly the edges that the task calls right, all where it does not say: a control",
        f"{_RULES}.fixed:Right",
    ),
    AxisEntry(
        "random",
        "every edge open with a set probability: the control at equal cost",
        f"{_RULES}.random:Random",
    ),
)

MESSAGES = _table(
    AxisEntry(
        "lstm",
        "an LSTM reads the received observations (the paper's policy)",
        f"{_MESSAGES}.lstm:ObservationLSTM",
    ),
    AxisEntry(
        "commnet",
        "hidden states are averaged and exchanged for several rounds (Sukhbaatar et al. 2016)",
        f"{_MESSAGES}.commnet:CommNet",
    ),
    AxisEntry(
        "tarmac",
        "receivers attend to signed messages for several rounds (Das et al. 2019)",
        f"{_MESSAGES}.tarmac:TarMAC",
    ),
    AxisEntry(
        "gat",
        "two rounds of graph attention over hidden states (MAGIC, Niu et al. 2021)",
        f"{_MESSAGES}.gat:GraphAttention",
    ),
    AxisEntry(
        "dial",
        "bits that carry derivatives in training, read in the next step (Foerster et al. 2016)",
        f"{_MESSAGES}.dial:Dial",
    ),
    AxisEntry(
        "rial",
        "symbols chosen by Q-values of their own, read in the next step (Foerster et al. 2016)",
        f"{_MESSAGES}.rial:Rial",
    ),
    AxisEntry(
        "acml",
        "a coordinator reads all messages and answers each agent (ACML, Mao et al. 2019)",
        f"{_MESSAGES}.acml:Coordinated",
    ),
    AxisEntry(
        "atoc",
        "a bidirectional LSTM integrates the thoughts of a group (Jiang & Lu 2018)",
        f"{_MESSAGES}.atoc:IntegratedThoughts",
    ),
    AxisEntry(
        "vbc",
        "what is heard is added to the own action, and has to vary for a reason (Zhang et al. 2019)",
        f"{_MESSAGES}.vbc:Combined",
    ),
    AxisEntry(
        "relay",
        "messages pass on what was heard, carried by a GRU (ExpoComm, Li et al. 2025)",
        f"{_MESSAGES}.relay:Relay",
    ),
)

CRITICS = _table(
    AxisEntry(
        "mlp",
        "a multilayer perceptron of all observations and actions (the paper's critic)",
        f"{_CRITICS}.mlp:MLPCritic",
    ),
    AxisEntry(
        "pic",
        "a graph network that does not know the agents' order (PIC, Liu et al. 2019)",
        f"{_CRITICS}.pic:PermutationInvariantCritic",
    ),
    AxisEntry(
        "factored",
        "values of the state, of each agent's action and of pairs, added up (after FACMAC, Peng et al. 2021)",
        f"{_CRITICS}.factored:FactoredCritic",
    ),
)

TASKS: dict[str, AxisEntry] = {}
"""Tasks from elsewhere; `jax_mpe` knows its own."""

_PRESETS = (
    Method("none", "none", "lstm", False, "no communication (MADDPG with a team critic)", (_GREY, _DASH, "s")),
    Method("full", "full", "lstm", False, "full communication", (_BLACK, _DOT, "D")),
    Method("reinforce", "reinforce", "lstm", False, "topology by policy gradient", (_SKY, _MIX, "^")),
    Method("stgs", "stgs", "lstm", False, "topology by straight-through Gumbel-softmax", (_ORANGE, _DASH, "v")),
    Method("meta", "meta", "lstm", False, "topology by meta-gradients: the paper's method", (_RED, "-", "o")),
    Method("universal", "universal", "lstm", False, "topology by one frozen rule for all tasks", (_BLACK, "-", "*")),
    Method("commnet", "full", "commnet", True, "CommNet: full communication, shared parameters", (_BLUE, _MIX, "P")),
    Method("meta_commnet", "meta", "commnet", True, "meta-gradient topology over CommNet", (_PURPLE, "-", "*")),
    Method(
        "ic3net", "ic3net", "commnet", True, "IC3Net: talk to all or to nobody, over CommNet",
        (_GREEN, _DASH, "X"), (("message.aggregate", "others"),),
    ),
    Method("tarmac", "full", "tarmac", True, "TarMAC: full communication, signed messages", (_GREEN, "-", "<")),
    Method(
        "dial", "full", "dial", True, "DIAL: full communication, bits that carry derivatives",
        (_BLUE, "-", "d"), (("message.latency", 1),),
    ),
    Method(
        "rial", "full", "rial", True, "RIAL: full communication, symbols chosen by Q-learning",
        (_BLUE, _DASH, "h"), (("message.latency", 1),),
    ),
    Method(
        "gated_acml", "gated_acml", "acml", False, "Gated-ACML: messages worth sending, over a coordinator",
        (_ORANGE, "-", "H"),
    ),
    Method("i2c", "i2c", "lstm", True, "I2C: asking those whose actions matter", (_ORANGE, _MIX, "d")),
    Method("atoc", "atoc", "atoc", True, "ATOC: groups by attention, integrated thoughts", (_GREEN, _MIX, "D")),
    Method("vbc", "vbc", "vbc", True, "VBC: requests of the unsure, replies of those with news", (_SKY, "-", "8")),
    Method("magic", "magic", "gat", True, "MAGIC: pairwise gates over graph attention", (_PURPLE, _DASH, ">")),
    Method("commformer", "commformer", "gat", True, "CommFormer: one learned graph", (_RED, _DASH, "s")),
    Method(
        "expocomm", "exponential", "relay", True, "ExpoComm: the exponential graph, messages that pass on news",
        (_SKY, _DOT, "X"), (("message.latency", 1),),
    ),
    Method("random", "random", "lstm", False, "random topology, the control at equal cost", (_GREY, _DOT, "p")),
)  # fmt: skip
_SOURCES = {
    "none": "Lowe et al., NeurIPS 2017",
    "full": "Zhang & Chen 2021",
    "reinforce": "Williams 1992; Zhang & Chen 2021",
    "stgs": "Jang et al., ICLR 2017; Zhang & Chen 2021",
    "meta": "Zhang & Chen 2021",
    "commnet": "Sukhbaatar et al., NeurIPS 2016",
    "meta_commnet": "Zhang & Chen 2021; Sukhbaatar et al. 2016",
    "ic3net": "Singh et al., ICLR 2019",
    "tarmac": "Das et al., ICML 2019",
    "dial": "Foerster et al., NeurIPS 2016",
    "rial": "Foerster et al., NeurIPS 2016",
    "gated_acml": "Mao et al., AAAI 2020",
    "i2c": "Ding et al., NeurIPS 2020",
    "atoc": "Jiang & Lu, NeurIPS 2018",
    "vbc": "Zhang et al., NeurIPS 2019",
    "magic": "Niu et al., AAMAS 2021",
    "commformer": "Hu et al., ICLR 2024",
    "expocomm": "Li et al., ICLR 2025",
}
METHODS = {method.name: method for method in _PRESETS}
ALIASES = {"maddpg": "none"}
METHODS |= {alias: METHODS[name] for alias, name in ALIASES.items()}
SILENT, YARDSTICKS = "none", ("full", "reinforce", "stgs")
"""Against whom a rule for every task is held: where nobody hears anything it scores 0, the best of the others is 1."""


def load(table: Mapping[str, AxisEntry], name: str) -> Any:
    """The class behind a name. Raises ConfigError, in one line, where that of a plug-in cannot be had."""
    entry = table[name]
    if entry.found is not None:
        return entry.found
    module, _, attribute = entry.path.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"{name!r} is {entry.path}, which cannot be imported ({error}): go to the folder of that module, or "
            "put it in PYTHONPATH"
        ) from error


def named(topology: str, messages: str, critic: str, share_parameters: bool) -> str:
    """A grid point's name: its preset's, else its axes joined by plus signs, without the paper's critic."""
    paper = next(iter(CRITICS))
    for method in METHODS.values():
        point = (method.topology, method.messages, paper, method.share_parameters)
        if point == (topology, messages, critic, share_parameters):
            return method.name
    return "+".join([topology, messages, *([critic] if critic != paper else [])])
