"""The learning core once more, from the specification and with plain loops; shares no code with the package.

Functions of parameters are written with the array module that they are given, so that JAX can
differentiate what NumPy can run.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def sigmoid(x: Any, xp: Any = np) -> Any:
    return 1 / (1 + xp.exp(-x))


def dense(layer: Any, x: Any) -> Any:
    return x @ layer["kernel"] + layer["bias"]


def mlp(params: Any, x: Any, xp: Any = np) -> Any:
    """ReLU between the layers ``Dense_0``, ``Dense_1``, ..."""
    layers = [params[name] for name in sorted(params)]
    for layer in layers[:-1]:
        x = xp.maximum(dense(layer, x), 0)
    return dense(layers[-1], x)


def lstm_step(params: Any, hidden: Any, cell: Any, x: Any, xp: Any = np) -> tuple[Any, Any]:
    """One step; gates in the order input, forget, cell, output."""
    gates = dense(params["input"], x) + hidden @ params["recurrent"]
    i, f, g, o = xp.split(gates, 4, axis=-1)
    cell = sigmoid(f, xp) * cell + sigmoid(i, xp) * xp.tanh(g)
    return sigmoid(o, xp) * xp.tanh(cell), cell


def lstm_over(params: Any, sequence: list[np.ndarray]) -> np.ndarray:
    """The last hidden state; zeros for an empty sequence."""
    units = params["recurrent"].shape[0]
    hidden, cell = np.zeros(units), np.zeros(units)
    for x in sequence:
        hidden, cell = lstm_step(params, hidden, cell, x)
    return hidden


def n_step_return(reward: Any, value: Any, discount: float, n: int) -> np.ndarray:
    """Sum n rewards, stop at the end of the episode, bootstrap where the sum stopped."""
    steps = len(reward)
    result = np.zeros(steps)
    for t in range(steps):
        k = 0
        while k < n and t + k < steps:
            result[t] += discount**k * reward[t + k]
            k += 1
        result[t] += discount**k * value[t + k]
    return result


def credit(eta: Any, gates: list[Any], tau: dict[str, Any], discount: float, cost: float) -> list:
    """What eta says of each step's edges: T vectors, edges in the order (i, j)."""
    steps, agents = tau["decision"].shape[:2]
    units = eta["lstm"]["recurrent"].shape[0]
    hidden, cell = jnp.zeros(units), jnp.zeros(units)
    said = [None] * steps
    for t in reversed(range(steps)):
        reward = tau["reward"][t] - cost * tau["decision"][t].sum()
        probability = [
            sigmoid(mlp(gates[i], tau["observation"][t, i], jnp), jnp) for i in range(agents)
        ]
        x = jnp.concatenate([jnp.stack([reward, 1.0 * (t == steps - 1), discount]), *probability])
        hidden, cell = lstm_step(eta["lstm"], hidden, cell, x, jnp)
        said[t] = dense(eta["head"], jnp.maximum(dense(eta["body"], hidden), 0))
    return said


def log_chance(logit: Any, decision: float) -> Any:
    p = sigmoid(logit, jnp)
    return jnp.log(p) if decision else jnp.log(1 - p)


def score(gates: list[Any], weight: list, tau: dict[str, Any]) -> Any:
    """(1/T) sum_t sum_ij log c(I_t^ij | o_t^i) weight_t^ij."""
    steps, agents = tau["decision"].shape[:2]
    total = 0.0
    for t in range(steps):
        for i in range(agents):
            logits = mlp(gates[i], tau["observation"][t, i], jnp)
            for j in range(agents - 1):
                chance = log_chance(logits[j], tau["decision"][t, i, j])
                total = total + chance * weight[t][i * (agents - 1) + j]
    return total / steps


def mean_entropy(gates: list[Any], tau: dict[str, Any]) -> Any:
    """(1/T) sum_t sum_ij H(P_t^ij)."""
    steps, agents = tau["decision"].shape[:2]
    total = 0.0
    for t in range(steps):
        for i in range(agents):
            p = sigmoid(mlp(gates[i], tau["observation"][t, i], jnp), jnp)
            total = total - jnp.sum(p * jnp.log(p) + (1 - p) * jnp.log(1 - p))
    return total / steps


def meta_objective(
    eta: Any,
    gates: list[Any],
    nu: list[Any],
    taus: list[dict[str, Any]],
    advantages: Any,
    *,
    discount: float,
    rate: float,
    decay: float,
    epsilon: float,
    beta: float,
    cost: float,
    blend: bool,
) -> Any:
    """J(eta) of the method's specification, section 2.5; `gates` and `nu` hold one tree for each agent."""
    values = []
    for k in range(1, len(taus)):
        said = credit(eta, gates, taus[k - 1], discount, cost)
        gradient = jax.grad(score)(gates, said, taus[k - 1])
        nu = jax.tree.map(lambda v, g: decay * v + (1 - decay) * g**2, nu, gradient)
        gates = jax.tree.map(
            lambda p, g, v: p + rate * g / jnp.sqrt(v + epsilon), gates, gradient, nu
        )
        edges = taus[k]["decision"][0].size
        shared = [[advantage] * edges for advantage in advantages[k - 1]]
        values.append(score(gates, shared, taus[k]) + beta * mean_entropy(gates, taus[k]))
    return sum(values) / len(values) if blend else values[-1]
