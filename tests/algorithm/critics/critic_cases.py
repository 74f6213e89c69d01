"""Critics of four agents, inputs for them, and the comparison with a definition that is computed by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from core_cases import jit, scattered, sizes, small

from purejax_mgtopo import methods

AGENTS, WIDTH, BATCH = 4, 3, 5


def made(name: str) -> tuple[Any, Any]:
    """A critic and weights of it, none of them zero."""
    critic = methods.load(methods.CRITICS, name)(small("full"), sizes(AGENTS, WIDTH))
    return critic, scattered(jit(critic.init)(jax.random.key(0)), 1)


def drawn(seed: int = 2) -> Iterator[np.ndarray]:
    """Observations, actions and proposals."""
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(BATCH, AGENTS, w)).astype(np.float32) for w in (WIDTH, 2, 2))


def check_definition(name: str, by_hand: Callable[..., float]) -> None:
    """Both values and those with each agent's action replaced equal `by_hand`, of weights and one row of the batch."""
    critic, params = made(name)
    observation, action, proposal = drawn()
    host = jax.tree.map(np.asarray, params)

    def expected(action: np.ndarray) -> list[float]:
        return [by_hand(host, o, a) for o, a in zip(observation, action, strict=True)]

    value = jit(critic.value)(params, observation, action)
    np.testing.assert_allclose(value, expected(action), rtol=1e-5, atol=1e-6)
    assert np.std(expected(action)) > 1e-3
    counterfactual = np.asarray(jit(critic.counterfactual)(params, observation, action, proposal))
    assert counterfactual.shape == (AGENTS, BATCH)
    for i in range(AGENTS):
        replaced = action.copy()
        replaced[:, i] = proposal[:, i]
        np.testing.assert_allclose(counterfactual[i], expected(replaced), rtol=1e-5, atol=1e-6)
