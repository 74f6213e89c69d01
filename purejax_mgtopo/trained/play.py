"""One episode of trained networks, played again for looking at: states, edges, rewards."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax_mpe import Snapshot
from jaxtyping import Array, Float, Key

from purejax_mgtopo.algorithm.algorithm import Algorithm
from purejax_mgtopo.algorithm.edges import fill_diagonal
from purejax_mgtopo.algorithm.part import Shown
from purejax_mgtopo.algorithm.rollout import rollout
from purejax_mgtopo.algorithm.types import Mode, Purpose, PyTree, Streams
from purejax_mgtopo.machine.compiler import matmul_precision

if TYPE_CHECKING:
    from purejax_mgtopo.trained.load import Networks


@dataclass(frozen=True)
class Episode:
    """T steps of N agents, in NumPy. Entry t is step t: seen in state t, decided, acted, rewarded."""

    states: Any
    """The task's own state, every leaf [T+1, ...]; the last one is where the episode ends."""
    masks: Float[np.ndarray, "T N N"]
    """1 at [t, i, j] where agent i receives from j, 1/2 where in one round of two; zeros on the diagonal."""
    actions: Float[np.ndarray, "T N A"]
    rewards: Float[np.ndarray, " T"]
    """The team's; their sum is the return."""
    shown: Shown = Shown()
    """What the parts have to show besides, each [T, N, ...]; nothing where no method plays."""


def play_episode(
    algorithm: Algorithm,
    networks: Networks,
    episode_seed: int,
    mode: Mode = Mode.EVAL_SAMPLED,
    precision: str = "auto",
) -> Episode:
    """Play one episode without exploration noise.

    The same arguments play the same episode again; another seed of training meets the same start. Episodes are not
    those of the evaluation. The program is compiled once for an `algorithm` and a mode.

    Args:
        algorithm: what the networks were trained by.
        networks: of one seed, no leading axis of seeds.
        episode_seed: picks the start, and the gates' samples; from 0 to 2**32 - 1.
        mode: `EVAL_SAMPLED` or `EVAL_GREEDY`.
        precision: how exactly to multiply matrices, as `Means.precision`.
    """
    key = Purpose.WATCHING.key(episode_seed)
    acting = algorithm.parts.acting(networks.parts)
    with matmul_precision(precision):
        parts = _play(algorithm, networks.learner.policy, acting, key, mode)
    return Episode(*jax.tree.map(np.asarray, parts))


@partial(jax.jit, static_argnames=("algorithm", "mode"))
def _play(
    algorithm: Algorithm, policy: PyTree, acting: PyTree, key: Key[Array, ""], mode: Mode
) -> tuple[PyTree, Array, Array, Array, Shown]:
    env = algorithm.env
    played = rollout(env, algorithm.team, policy, acting, Streams.split(key), mode)

    def restore(moving: Array, step: Array) -> Any:
        state = env.restore(Snapshot(moving, played.fixed), step)
        return state.replace(key=jax.random.key_data(state.key))  # NumPy has no typed keys

    states = jax.vmap(restore)(played.moving, jnp.arange(env.horizon + 1))
    shown = algorithm.team.shown(policy, played)
    return states, fill_diagonal(played.open_edges), played.action, played.reward, shown
