"""Experts of tasks whose best answer is known: the reference task and the toys."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from ..reference import ACCELERATION, Reference, ReferenceState
from ..toys import CrossedGoals, FollowHolder, HolderState, RiddleState, SwitchRiddle, corner
from .lookahead import Controller
from .steering import approach


def reference(task: Reference) -> Controller:
    """Each agent goes straight to its own target; on each axis no way is faster."""

    def control(state: ReferenceState) -> Float[Array, "N 2"]:
        goal = state.landmark_position[state.target]
        return approach(goal - state.agent_position, state.agent_velocity, ACCELERATION)

    return control


def goals(task: CrossedGoals) -> Controller:
    """Each agent names its own goal."""
    return lambda state: corner(state.goal)


def holder(task: FollowHolder) -> Controller:
    """All others name their corners, and agent 0 the holder's, or the middle between two holders'."""

    def control(state: HolderState) -> Float[Array, "N 2"]:
        own = corner(state.corner)
        return jnp.concatenate([task.followed(own, state.holder - 1)[None], own])

    return control


def riddle(task: SwitchRiddle) -> Controller:
    """Who is in the room tells if all have been there by then, and waits else."""

    def control(state: RiddleState) -> Float[Array, "3 2"]:
        here = jnp.arange(len(state.been)) == state.room
        told = 2.0 * jnp.min(jnp.maximum(state.been, here)) - 1
        return jnp.full((len(state.been), 2), told)

    return control
