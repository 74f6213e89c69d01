"""Rules to hold a learned one against: its answers on the wrong edges, a formula, noise for a network, and nothing.

They are not in the table of methods. A recipe has them by ``import = ["purejax_mgtopo.universal.controls"]``.
"""

from __future__ import annotations

from typing import ClassVar

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from flax.linen.initializers import lecun_normal
from jaxtyping import Array, Float, Int, Key

from purejax_mgtopo.algorithm.topology.edgewise.frozen import Universal
from purejax_mgtopo.algorithm.topology.edgewise.judged import JudgedState, Told
from purejax_mgtopo.algorithm.topology.edgewise.network import Memory
from purejax_mgtopo.algorithm.types import PyTree, Trajectory


class Misplaced(Universal):
    """A rule that gives each edge the correction of another, always the same one."""

    def correction(
        self, eta: PyTree, memory: Memory, trajectory: Trajectory, told: Told
    ) -> tuple[Float[Array, "T N N-1"], Memory]:
        """How f judges the decisions on other edges."""
        f, memory = super().correction(eta, memory, trajectory, told)
        return f.reshape(len(f), -1)[:, elsewhere(f[0].size)].reshape(f.shape), memory


def elsewhere(edges: int) -> Int[np.ndarray, " E"]:
    """Whose correction each edge gets, of two or more: a fixed order, in which none keeps its own."""
    rng = np.random.default_rng(0)
    order = rng.permutation(edges)
    while np.any(order == np.arange(edges)):
        order = rng.permutation(edges)
    return order


class Leaning(Universal):
    """One term in the network's place: at first edges go one way whatever they bring, later less and less."""

    eta: ClassVar[PyTree] = ()
    strength: ClassVar[float]
    """What the term is at the start, in running standard deviations of the advantage; above zero it opens."""

    def correction(
        self, eta: PyTree, memory: Memory, trajectory: Trajectory, told: Told
    ) -> tuple[Float[Array, "T N N-1"], Memory]:
        """``f_ij = strength (1 - progress) (2 I_ij - 1)``."""
        progress = told.inputs.progress[0, 0, 1]
        return self.strength * (1 - progress) * (2 * trajectory.gates.decision - 1), memory


class Closing(Leaning):
    """The shipped rule written down as one term: at first edges are closed."""

    strength: ClassVar[float] = -0.2


class Opening(Leaning):
    """The reverse of `Closing`: at first edges are opened, so that messages are heard while they gain a meaning."""

    strength: ClassVar[float] = 0.2


class Uncorrected(Universal):
    """No correction, f = 0: REINFORCE, by the same program as a rule that corrects."""

    eta: ClassVar[PyTree] = ()

    def correction(
        self, eta: PyTree, memory: Memory, trajectory: Trajectory, told: Told
    ) -> tuple[Float[Array, "T N N-1"], Memory]:
        """Zeros."""
        return jnp.zeros_like(trajectory.gates.decision), memory


@flax.struct.dataclass
class DrawnState(JudgedState):
    """What gate updates move, the baseline, and a network that nothing moves."""

    eta: PyTree


class Drawn(Universal):
    """A network with random weights, those of its last layer too, for each seed its own; it learns nothing."""

    eta: ClassVar[PyTree] = ()  # no file's

    def init(self, key: Key[Array, ""]) -> DrawnState:
        """Fresh gates and baseline, and the network."""
        key, eta_key, head_key = jax.random.split(key, 3)
        state, eta = super().init(key), self.init_eta(eta_key)
        head = eta["params"]["head"]
        kernel = lecun_normal()(head_key, head["kernel"].shape)
        eta = {"params": eta["params"] | {"head": head | {"kernel": kernel}}}
        return DrawnState(state.moving, state.baseline, eta)

    def network_of(self, state: JudgedState) -> PyTree:
        """The seed's own."""
        assert isinstance(state, DrawnState)
        return state.eta
