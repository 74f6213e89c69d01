"""The grid of methods by name: topology rule (axis A), message interpreter (B), critic (C), and its presets.

Names and one-line descriptions only, free of JAX: the command line lists them without starting it. The objects
behind the names stand in ``topology/__init__.py`` and ``messages/__init__.py``; a test holds the tables together.
"""

from __future__ import annotations

from dataclasses import dataclass

TOPOLOGIES = {
    "none": "nobody receives anything; plain MADDPG-style learning",
    "full": "everybody receives from everybody",
    "reinforce": "edge gates learned by REINFORCE with a learned baseline (Eq. 4)",
    "stgs": "edge gates learned through straight-through Gumbel-softmax",
    "meta": "edge gates learned by a meta-learned update rule (Eqs. 5-9)",
}

MESSAGES = {
    "lstm": "an LSTM reads the received observations (the paper's policy)",
    "commnet": "hidden states are averaged and exchanged for several rounds (Sukhbaatar et al. 2016)",
}

CRITICS = {
    "mlp": "a network over the observations and actions of all agents, in their order (the paper's)",
}


@dataclass(frozen=True)
class Method:
    """A preset: a named point of the grid."""

    name: str
    topology: str
    messages: str
    share_parameters: bool
    summary: str


METHODS = {
    method.name: method
    for method in (
        Method("none", "none", "lstm", False, "no communication (MADDPG with a team critic)"),
        Method("full", "full", "lstm", False, "full communication"),
        Method("reinforce", "reinforce", "lstm", False, "topology by policy gradient"),
        Method("stgs", "stgs", "lstm", False, "topology by straight-through Gumbel-softmax"),
        Method("meta", "meta", "lstm", False, "topology by meta-gradients: the paper's method"),
        Method(
            "commnet", "full", "commnet", True, "CommNet: full communication, shared parameters"
        ),
        Method("meta_commnet", "meta", "commnet", True, "meta-gradient topology over CommNet"),
    )
}
METHODS["maddpg"] = METHODS["none"]
