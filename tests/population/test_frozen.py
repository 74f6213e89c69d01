"""Lanes whose numbers are finite no more: what stays of them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purejax_mgtopo.algorithm.algorithm import LearnerState
from purejax_mgtopo.algorithm.kernels.target import traced_for
from purejax_mgtopo.algorithm.maddpg import ActorCritic
from purejax_mgtopo.population.frozen import alive
from purejax_mgtopo.population.state import LaneState


@pytest.mark.parametrize(("platform", "target", "moments"), [("cpu", -1.0, 1.0), ("gpu", 1.0, 0.0)])
def test_a_frozen_lane_keeps_its_parameters_and_on_a_gpu_no_moments_nor_targets_of_its_own(
    platform: str, target: float, moments: float
) -> None:
    def lane(value: float) -> LearnerState:
        learner = ActorCritic(*(jnp.full(2, value) for _ in range(4)))
        return LearnerState((), learner, (), jnp.full(2, -value), (), ())

    before = LaneState(seed=lane(1.0), alive=jnp.ones((), bool), tally={})
    with traced_for(platform):
        frozen, going_on = (
            alive(before, lane(value), lambda state: state.learner.policy)
            for value in (np.nan, 2.0)
        )
    learner = frozen.seed.learner
    assert (bool(frozen.alive), bool(going_on.alive)) == (False, True)
    for kept in (learner.policy, learner.critic):
        np.testing.assert_array_equal(kept, 1.0)
    np.testing.assert_array_equal(frozen.seed.target, target)
    for moment in (learner.policy_optimizer, learner.critic_optimizer):
        np.testing.assert_array_equal(moment, moments)
    for x in jax.tree.leaves(going_on.seed.learner):
        np.testing.assert_array_equal(x, 2.0)
    np.testing.assert_array_equal(going_on.seed.target, -2.0)


def test_a_lane_that_was_frozen_once_stays_so() -> None:
    """Its parameters are finite again, being those of before, and so is what comes of them."""

    def lane(value: float) -> LearnerState:
        learner = ActorCritic(*(jnp.full(2, value) for _ in range(4)))
        return LearnerState((), learner, (), jnp.full(2, value), (), ())

    frozen = LaneState(seed=lane(1.0), alive=jnp.zeros((), bool), tally={})
    after = alive(frozen, lane(2.0), lambda state: state.target)
    assert not after.alive
    np.testing.assert_array_equal(after.seed.learner.policy, 1.0)
