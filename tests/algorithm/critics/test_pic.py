"""The permutation-invariant critic: by loops, whatever the order, and one agent's action replaced at a time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from core_cases import jit, scattered, sizes, small

from purejax_mgtopo import methods

AGENTS, WIDTH, BATCH = 4, 3, 5


def made(name="pic"):
    critic = methods.load(methods.CRITICS, name)(small("full"), sizes(AGENTS, WIDTH))
    return critic, scattered(jit(critic.init)(jax.random.key(0)), 1)


def drawn(seed=2):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(BATCH, AGENTS, w)).astype(np.float32) for w in (WIDTH, 2, 2))


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
    critic, params = made()
    observation, action, proposal = drawn()
    value = jit(critic.value)(params, observation, action)
    host = jax.tree.map(np.asarray, params)
    expected = [by_hand(host, o, a) for o, a in zip(observation, action, strict=True)]
    np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-6)
    assert np.std(expected) > 1e-3
    counterfactual = np.asarray(jit(critic.counterfactual)(params, observation, action, proposal))
    assert counterfactual.shape == (AGENTS, BATCH)
    for i in range(AGENTS):
        replaced = action.copy()
        replaced[:, i] = proposal[:, i]
        expected = [by_hand(host, o, a) for o, a in zip(observation, replaced, strict=True)]
        np.testing.assert_allclose(counterfactual[i], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("name", "invariant"), [("pic", True), ("mlp", False)])
def test_the_agents_order_matters_to_the_papers_critic_alone(name, invariant):
    critic, params = made(name)
    observation, action, _ = drawn()
    order = np.array([2, 0, 3, 1])
    straight = jit(critic.value)(params, observation, action)
    renamed = jit(critic.value)(params, observation[:, order], action[:, order])
    assert np.allclose(renamed, straight, rtol=1e-5, atol=1e-6) == invariant


def test_derivatives_reach_every_agents_action():
    critic, params = made()
    observation, action, _ = (jnp.asarray(x) for x in drawn())
    slope = jax.grad(lambda a: jnp.sum(critic.value(params, observation, a)))(action)
    assert np.all(np.abs(slope).sum((0, 2)) > 0)
