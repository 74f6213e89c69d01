"""Axis C: what the loop asks of a critic."""

from __future__ import annotations

from typing import Protocol

from jaxtyping import Array, Float, Key

from purejax_mgtopo.algorithm.types import PyTree


class Critic(Protocol):
    """The team's value Q(o, a), as pure functions of parameters; an instance holds sizes and settings only.

    Made as ``Critic(experiment, sizes)``.
    """

    def init(self, key: Key[Array, ""]) -> PyTree:
        """Fresh parameters."""
        ...

    def value(
        self,
        params: PyTree,
        observation: Float[Array, "*batch N O"],
        action: Float[Array, "*batch N A"],
    ) -> Float[Array, "*batch"]:
        """Q of joint actions."""
        ...

    def counterfactual(
        self,
        params: PyTree,
        observation: Float[Array, "B N O"],
        action: Float[Array, "B N A"],
        proposal: Float[Array, "B N A"],
    ) -> Float[Array, "N B"]:
        """Q with agent i's action replaced by its proposal and all others' kept, for each i (Eq. 2)."""
        ...
