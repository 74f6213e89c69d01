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
"""Lines of methods without a style of their own; `SPARE_COLOURS` are their colours."""


@dataclass(frozen=True)
class AxisEntry:
    """A member of one of the axes: a topology rule, a message interpreter or a critic."""

    name: str
    about: str
    path: str
    """Where the member's class is: ``package.module:Class``."""
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
)

TASKS: dict[str, AxisEntry] = {}
"""Tasks from elsewhere; `jax_mpe` knows its own."""

_PRESETS = (
    Method("none", "none", "lstm", False, "no communication (MADDPG with a team critic)", (_GREY, _DASH, "s")),
    Method("full", "full", "lstm", False, "full communication", (_BLACK, _DOT, "D")),
    Method("reinforce", "reinforce", "lstm", False, "topology by policy gradient", (_SKY, _MIX, "^")),
    Method("stgs", "stgs", "lstm", False, "topology by straight-through Gumbel-softmax", (_ORANGE, _DASH, "v")),
    Method("meta", "meta", "lstm", False, "topology by meta-gradients: the paper's method", (_RED, "-", "o")),
    Method("commnet", "full", "commnet", True, "CommNet: full communication, shared parameters", (_BLUE, _MIX, "P")),
    Method("meta_commnet", "meta", "commnet", True, "meta-gradient topology over CommNet", (_PURPLE, "-", "*")),
    Method(
        "ic3net", "ic3net", "commnet", True, "IC3Net: talk to all or to nobody, over CommNet",
        (_GREEN, _DASH, "X"), (("message.aggregate", "others"),),
    ),
    Method("tarmac", "full", "tarmac", True, "TarMAC: full communication, signed messages", (_GREEN, "-", "<")),
    Method("magic", "magic", "gat", True, "MAGIC: pairwise gates over graph attention", (_PURPLE, _DASH, ">")),
    Method("random", "random", "lstm", False, "random topology, the control at equal cost", (_GREY, _DOT, "p")),
)  # fmt: skip
METHODS = {method.name: method for method in _PRESETS}
ALIASES = {"maddpg": "none"}
METHODS |= {alias: METHODS[name] for alias, name in ALIASES.items()}


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
