"""Axis B, message interpreters: what is sent, and how what arrives becomes the policy's input.

To add one: write a file beside these with a class that fits `Interpreter`, and add it to `INTERPRETERS`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from jaxtyping import Array, Float, Key

from purejax_mgtopo.algorithm.messages.commnet import CommNet
from purejax_mgtopo.algorithm.messages.lstm import ObservationLSTM
from purejax_mgtopo.algorithm.types import PyTree
from purejax_mgtopo.config import Experiment


@runtime_checkable
class Interpreter(Protocol):
    """Pure functions of parameters; an instance holds sizes only.

    Attributes:
        message_size: M, the width of a message.
        latency: 0 if a message is read in the step in which it is sent, 1 if in the next step.
    """

    message_size: int
    latency: int

    def init(self, key: Key[Array, ""], alone: bool = False) -> PyTree:
        """Fresh parameters; only those that `alone` uses if nothing will ever be heard."""
        ...

    def encode(
        self, params: PyTree, observation: Float[Array, "*batch N O"]
    ) -> tuple[Float[Array, "*batch N F"], Float[Array, "*batch N M"]]:
        """Each agent's feature, which gates may read, and the message that it offers."""
        ...

    def aggregate(
        self,
        params: PyTree,
        observation: Float[Array, "*batch N O"],
        feature: Float[Array, "*batch N F"],
        delivered: Float[Array, "*batch N M"],
        edges: Float[Array, "*batch N N-1"],
        selective: bool = False,
    ) -> Float[Array, "*batch N H"]:
        """What each agent makes of the messages that the topology lets through; differentiable in `edges`.

        If `selective`, the edges are data, zeros and ones, and many may be zeros: what they close may be skipped.
        """
        ...

    def alone(
        self,
        params: PyTree,
        observation: Float[Array, "*batch N O"],
        feature: Float[Array, "*batch N F"],
    ) -> Float[Array, "*batch N H"] | None:
        """`aggregate` when no edge is ever open, without the work of reading nothing; None for zeros."""
        ...


INTERPRETERS: dict[str, Callable[[Experiment, int, int], Interpreter]] = {
    "lstm": ObservationLSTM,
    "commnet": CommNet,
}


def make_interpreter(config: Experiment, num_agents: int, observation_size: int) -> Interpreter:
    """The interpreter that `config` names, sized for a task of N agents with observations of width O."""
    return INTERPRETERS[config.messages](config, num_agents, observation_size)
