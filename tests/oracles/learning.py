"""The learning core once more, by plain loops; shares no code with the package.

Functions of parameters that take an array module `xp` can be differentiated by JAX as well.
"""

from __future__ import annotations

import copy
from typing import Any

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


def in_parts(params: Any, inputs: int) -> Any:
    """The message LSTM's one kernel as `lstm_step` takes it: the inputs' rows, and the hidden state's."""
    kernel = params["kernel"]
    return {
        "input": {"kernel": kernel[:inputs], "bias": params["bias"]},
        "recurrent": kernel[inputs:],
    }


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


def credit(eta: Any, gates: list[Any], tau: Any, discount: float, cost: float) -> np.ndarray:
    """What eta says of each step's edges, [T, N(N-1)], edges in the order (i, j)."""
    steps, agents = tau["decision"].shape[:2]
    units = eta["lstm"]["recurrent"].shape[0]
    hidden, cell = np.zeros(units), np.zeros(units)
    said = [np.empty(0)] * steps
    for t in reversed(range(steps)):
        reward = tau["reward"][t] - cost * tau["decision"][t].sum()
        probability = [sigmoid(mlp(gates[i], tau["observation"][t, i])) for i in range(agents)]
        x = np.concatenate([[reward, 1.0 * (t == steps - 1), discount], *probability])
        hidden, cell = lstm_step(eta["lstm"], hidden, cell, x)
        said[t] = dense(eta["head"], np.maximum(dense(eta["body"], hidden), 0))
    return np.stack(said)


def score_gradient(
    gates: list[Any], weight: np.ndarray, tau: dict[str, Any], bonus: float = 0.0
) -> list[Any]:
    """Of ``(1/T) sum_t sum_ij log c(I_t^ij | o_t^i) weight_t^ij``, by backpropagation by hand.

    With `bonus` times the entropy of every edge: its slope in a logit is -logit p (1 - p).
    """
    steps, agents = tau["decision"].shape[:2]
    gradient = []
    for i in range(agents):
        layers = [gates[i][name] for name in sorted(gates[i])]
        total = [{name: np.zeros(np.shape(x)) for name, x in layer.items()} for layer in layers]
        for t in range(steps):
            inputs = [tau["observation"][t, i]]
            for layer in layers[:-1]:
                inputs.append(np.maximum(dense(layer, inputs[-1]), 0))
            logit = dense(layers[-1], inputs[-1])
            p = sigmoid(logit)
            edges = slice(i * (agents - 1), (i + 1) * (agents - 1))
            delta = (tau["decision"][t, i] - p) * weight[t, edges] / steps
            delta = delta - bonus * logit * p * (1 - p) / steps
            for at in reversed(range(len(layers))):
                total[at]["kernel"] += np.outer(inputs[at], delta)
                total[at]["bias"] += delta
                delta = (layers[at]["kernel"] @ delta) * (inputs[at] > 0)
        gradient.append(dict(zip(sorted(gates[i]), total, strict=True)))
    return gradient


def rmsprop(gates: list, nu: list, gradient: list, rate: float, decay: float, eps: float) -> tuple:
    """One step up the gradient, epsilon inside the root: new parameters and nu."""
    new_gates, new_nu = copy.deepcopy(gates), copy.deepcopy(nu)
    for agent, slopes in enumerate(gradient):
        for layer, name in [(key, name) for key in slopes for name in slopes[key]]:
            g = slopes[layer][name]
            v = decay * nu[agent][layer][name] + (1 - decay) * g**2
            new_nu[agent][layer][name] = v
            new_gates[agent][layer][name] = gates[agent][layer][name] + rate * g / np.sqrt(v + eps)
    return new_gates, new_nu


def meta_objective(
    eta: Any,
    gates: list[Any],
    nu: list[Any],
    taus: list[dict[str, Any]],
    advantages: np.ndarray,
    *,
    discount: float,
    rate: float,
    decay: float,
    epsilon: float,
    beta: float,
    cost: float,
    blend: bool,
    bonus: float = 0.0,
) -> float:
    """J(eta), Eqs. 5 to 9; `gates` and `nu` hold one tree for each agent."""
    values = []
    for k in range(1, len(taus)):
        said = credit(eta, gates, taus[k - 1], discount, cost)
        gradient = score_gradient(gates, said, taus[k - 1], bonus)
        gates, nu = rmsprop(gates, nu, gradient, rate, decay, epsilon)
        steps, agents, senders = taus[k]["decision"].shape
        total = 0.0
        for t, i, j in np.ndindex(steps, agents, senders):
            p = sigmoid(mlp(gates[i], taus[k]["observation"][t, i]))[j]
            log_c = np.log(p) if taus[k]["decision"][t, i, j] else np.log(1 - p)
            entropy = -p * np.log(p) - (1 - p) * np.log(1 - p)
            total += log_c * advantages[k - 1][t] + beta * entropy
        values.append(total / steps)
    return float(np.mean(values)) if blend else values[-1]
