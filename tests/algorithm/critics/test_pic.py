"""The permutation-invariant critic: by loops, whatever the order, and one agent's action replaced at a time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from core_cases import jit
from critic_cases import AGENTS, check_definition, drawn, made


def by_hand(params, observation, action):
    """Agent by agent: ``y_i <- (ReLU(sum over others of (y_j W + b) / N) + ReLU(y_i U + d)) / N``, twice; then the
    largest of each column."""
    net = params["params"]
    rows = [np.concatenate(pair) for pair in zip(observation, action, strict=True)]
    for layer in ("first", "second"):
        others, own = net[layer]["others"], net[layer]["own"]
        new = []
        for i, row in enumerate(rows):
            heard = sum(
                (y @ others["kernel"] + others["bias"] for j, y in enumerate(rows) if j != i),
                np.zeros(8),
            )
            mine = row @ own["kernel"] + own["bias"]
            new.append((np.maximum(heard / AGENTS, 0) + np.maximum(mine, 0)) / AGENTS)
        rows = new
    head = net["rest"]["Dense_0"]
    return float((np.max(rows, axis=0) @ head["kernel"] + head["bias"])[0])


def test_it_equals_the_definition_agent_by_agent():
    check_definition("pic", by_hand)


@pytest.mark.parametrize(("name", "invariant"), [("pic", True), ("mlp", False)])
def test_the_agents_order_matters_to_the_papers_critic_alone(name, invariant):
    critic, params = made(name)
    observation, action, _ = drawn()
    order = np.array([2, 0, 3, 1])
    straight = jit(critic.value)(params, observation, action)
    renamed = jit(critic.value)(params, observation[:, order], action[:, order])
    assert np.allclose(renamed, straight, rtol=1e-5, atol=1e-6) == invariant


def test_derivatives_reach_every_agents_action():
    critic, params = made("pic")
    observation, action, _ = (jnp.asarray(x) for x in drawn())
    slope = jax.grad(lambda a: jnp.sum(critic.value(params, observation, a)))(action)
    assert np.all(np.abs(slope).sum((0, 2)) > 0)
