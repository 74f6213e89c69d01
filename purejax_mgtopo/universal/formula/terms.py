"""Terms of which a formula for the correction f of an edge may consist."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from purejax_mgtopo.algorithm.topology.edgewise.inputs import EdgeInputs


@dataclass(frozen=True)
class Term:
    """A number that is known of each edge at each step."""

    unit: str
    """What its coefficient is for one of."""
    value: Callable[[EdgeInputs], Any]
    """The number, of NumPy's or JAX's arrays."""


def side(inputs: EdgeInputs) -> Any:
    """1 on open edges, -1 on closed ones."""
    return 2 * inputs.decision - 1


SIGNED_LOG = "unit of sign(x) log(1 + |x|)"
TERMS: Mapping[str, Term] = {
    "probability": Term("certainty that it is open", lambda e: e.probability),
    "decision": Term("open edge, against a closed one", lambda e: e.decision),
    "goes_on": Term("step that is not an episode's last", lambda e: e.goes_on),
    "reward": Term(SIGNED_LOG, lambda e: e.reward),
    "raw_advantage": Term(SIGNED_LOG, lambda e: e.raw_advantage),
    "advantage": Term("standard deviation", lambda e: e.advantage),
    "value": Term(SIGNED_LOG, lambda e: e.value),
    "next_value": Term(SIGNED_LOG, lambda e: e.next_value),
    "cost": Term("unit of reward for an open edge and step", lambda e: e.cost),
    "progress": Term("whole life", lambda e: e.progress),
    "length": Term("factor of 1,000 in gate updates", lambda e: e.length),
    "share": Term("whole team in one agent, 1/N", lambda e: e.share),
    "side * (1 - progress)": Term("whole life ahead", lambda e: side(e) * (1 - e.progress)),
    "side * progress": Term("whole life behind", lambda e: side(e) * e.progress),
    "side * cost": Term("unit of reward for an open edge and step", lambda e: side(e) * e.cost),
    "side * advantage": Term("standard deviation", lambda e: side(e) * e.advantage),
    "side * probability": Term("certainty that it is open", lambda e: side(e) * e.probability),
}
"""All of them by name: the network's inputs, and products of the decision, as 1 or -1, with some of them."""
