"""What every rule reports, so that the loop need not know which one it runs. NaN: the rule has no such thing."""

from __future__ import annotations

import flax.struct
import jax.numpy as jnp
from jaxtyping import Array, Float

_ABSENT = float("nan")


@flax.struct.dataclass
class RuleMetrics:
    """Scalars of one update; an inner update fills the first group, an outer update the second."""

    advantage_norm: Float[Array, ""] | float = _ABSENT
    """Root mean square of the advantage that moved the gates (A-hat of Eq. 5, or A of Eq. 4)."""
    gate_gradient_norm: Float[Array, ""] | float = _ABSENT
    gate_update_norm: Float[Array, ""] | float = _ABSENT
    baseline_loss: Float[Array, ""] | float = _ABSENT
    meta_objective: Float[Array, ""] | float = _ABSENT
    meta_gradient_norm: Float[Array, ""] | float = _ABSENT
    """Norm of the gradient in eta, before clipping."""
    eta_update_norm: Float[Array, ""] | float = _ABSENT
    reinforce_cosine: Float[Array, ""] | float = _ABSENT
    """Cosine of the step that eta asks for with the one that REINFORCE would take (`MetaGradient.reinforce_cosine`)."""

    def filled(self) -> RuleMetrics:
        """All fields as float arrays, so that two rules' metrics have one structure."""
        fields = self.__dataclass_fields__
        return RuleMetrics(
            **{name: jnp.asarray(getattr(self, name), jnp.float32) for name in fields}
        )

    def merged(self, outer: RuleMetrics) -> RuleMetrics:
        """This (inner) update's numbers where there are any, else those of the outer update."""
        fields = self.__dataclass_fields__
        merged = {}
        for name in fields:
            mine, theirs = getattr(self, name), getattr(outer, name)
            merged[name] = jnp.where(jnp.isnan(mine), theirs, mine)
        return RuleMetrics(**merged)
