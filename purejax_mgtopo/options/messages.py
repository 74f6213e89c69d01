"""Settings of messages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from purejax_mgtopo.errors import require


@dataclass(frozen=True)
class MessageConfig:
    """How messages travel and are read."""

    latency: Literal[0, 1] = 0
    """Steps that a message takes: 0 delivers it in the step it was sent, 1 in the next.
    (paper: 0)"""
    rounds: int = 2
    """Exchanges within one step (commnet and tarmac).
    (ours, because the paper has no CommNet; its article takes 2)"""
    share_hops: bool = False
    """The same weights in all exchanges, as in the released code, rather than each its own (commnet only).
    (ours, because the paper has no CommNet; its article writes one set for each exchange)"""
    aggregate: Literal["mean", "sum", "others"] = "mean"
    """A receiver takes the senders' average, their sum, or the sum over N - 1 as in IC3Net (commnet only).
    (ours, because the paper has no CommNet; its article averages)"""

    def __post_init__(self) -> None:
        require(self.rounds >= 1, "message.rounds must be at least 1")
