"""Presets, and the form of the network that learns the rule."""

from __future__ import annotations

import jax
import numpy as np
from core_cases import (
    made_up_trajectory,
    make_rule,
    scattered,
)
from test_paper_values import small

from purejax_mgtopo.config import Experiment, with_method
from purejax_mgtopo.methods import METHODS


def test_presets_are_those_of_the_table() -> None:
    """Rule, interpreter, and whether agents share their parameters."""
    points = {
        "none": ("none", "lstm", False),
        "maddpg": ("none", "lstm", False),
        "full": ("full", "lstm", False),
        "reinforce": ("reinforce", "lstm", False),
        "stgs": ("stgs", "lstm", False),
        "meta": ("meta", "lstm", False),
        "commnet": ("full", "commnet", True),
        "meta_commnet": ("meta", "commnet", True),
        "ic3net": ("ic3net", "commnet", True),
        "tarmac": ("full", "tarmac", True),
        "magic": ("magic", "gat", True),
        "universal": ("universal", "lstm", False),
        "random": ("random", "lstm", False),
        "dial": ("full", "dial", True),
        "rial": ("full", "rial", True),
        "gated_acml": ("gated_acml", "acml", False),
        "vbc": ("vbc", "vbc", True),
        "i2c": ("i2c", "lstm", True),
        "atoc": ("atoc", "atoc", True),
        "commformer": ("commformer", "gat", True),
        "expocomm": ("exponential", "relay", True),
    }
    assert (
        with_method(Experiment(), "ic3net").message.aggregate == "others"
    )  # IC3Net divides by N - 1
    for late in ("dial", "rial", "expocomm"):
        assert with_method(Experiment(), late).message.latency == 1
    assert set(METHODS) == set(points)
    for name, point in points.items():
        chosen = with_method(Experiment(), name)
        shared = chosen.learner.share_parameters
        assert (chosen.topology, chosen.messages, shared) == point


def test_eta_is_an_lstm_read_backwards_then_two_layers() -> None:
    """In NumPy, from the last step to the first: LSTM, FC with ReLU, linear."""
    rule = make_rule(small(**{"learner.discount": 0.7}), 2, 3)
    key = jax.random.key(1)
    gates, eta = (
        scattered(tree, seed)
        for seed, tree in enumerate((rule.init_gates(key), rule.init_eta(key)))
    )
    tau = made_up_trajectory(4)
    steps = tau.reward.shape[0]
    probability = 1 / (1 + np.exp(-np.asarray(rule.logits(gates, tau.observation[:-1]), float)))
    done = np.arange(steps) == steps - 1
    reward = np.asarray(tau.reward, float)
    x = np.column_stack([reward, done, np.full(steps, 0.7), probability.reshape(steps, -1)])
    params = jax.tree.map(lambda p: np.asarray(p, float), eta["params"])
    lstm = params["lstm"]
    hidden = cell = np.zeros(4)
    expected = np.zeros((steps, 2))
    for t in reversed(range(steps)):
        joined = x[t] @ lstm["input"]["kernel"] + lstm["input"]["bias"] + hidden @ lstm["recurrent"]
        i, f, g, o = np.split(joined, 4)
        cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(g)
        hidden = sigmoid(o) * np.tanh(cell)
        body = np.maximum(hidden @ params["body"]["kernel"] + params["body"]["bias"], 0)
        expected[t] = body @ params["head"]["kernel"] + params["head"]["bias"]
    found = rule.advantage(eta, gates, tau)
    np.testing.assert_allclose(np.asarray(found).reshape(steps, 2), expected, atol=1e-5)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))
