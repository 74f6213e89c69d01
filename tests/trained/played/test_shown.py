"""What methods show of an episode besides who hears whom."""

from __future__ import annotations

from types import SimpleNamespace

import jax
import numpy as np
import pytest
from core_cases import algorithm, jit, scattered

from purejax_mgtopo.algorithm.types import Both, Mode
from purejax_mgtopo.trained.play import Episode, play_episode

TASK, STEPS, AGENTS = "toy_follow_holder", 25, 3
NAMES = {
    "tarmac": {"attention"},
    "magic": {"attention"},
    "commformer": {"attention", "graph"},
    "expocomm": {"attention"},
    "dial": {"bits"},
    "rial": {"symbol"},
    "ic3net": {"talks"},
    "vbc": {"asks", "answers"},
    "atoc": {"groups"},
    "meta": set(),
    "none+tarmac": set(),
}


def played(method: str) -> Episode:
    made = algorithm(method, TASK)
    policy = scattered(jit(made.team.init)(jax.random.key(0)), 1, 0.5)
    parts = jit(made.parts.init)(Both(*jax.random.split(jax.random.key(1))))
    learner = SimpleNamespace(policy=policy)
    networks = SimpleNamespace(learner=learner, parts=parts)
    return play_episode(made, networks, 3, Mode.EVAL_SAMPLED)


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize("method", NAMES)
def test_each_method_shows_what_is_its_own(method: str) -> None:
    """Attention is nothing over closed edges and sums to one; who talks, asks or is in a group fits the edges."""
    episode = played(method)
    shown = episode.shown
    assert set(shown.agents) | set(shown.pairs) == NAMES[method]
    masks = np.asarray(episode.masks)
    if method == "commformer":  # all alike, as it is before it has learned
        graph = shown.pairs.pop("graph")
        np.testing.assert_allclose(graph, np.broadcast_to((1 - np.eye(AGENTS)) / 2, graph.shape))
    for weight in shown.pairs.values():
        assert weight.shape == (STEPS, AGENTS, AGENTS)
        silent = 1 if method == "expocomm" else 0  # nothing arrives in its first step
        np.testing.assert_array_equal(weight[:silent], 0)
        np.testing.assert_allclose(weight[silent:].sum(-1), 1, rtol=1e-5)
        assert np.all(weight[(masks == 0) & ~np.eye(AGENTS, dtype=bool)] == 0)
        if method == "tarmac":
            assert np.all(weight > 0)
    if method == "expocomm":  # all of two others, and not itself
        others = np.broadcast_to(1 - np.eye(AGENTS), shown.pairs["attention"][1:].shape) > 0
        assert np.all((shown.pairs["attention"][1:] > 0) == others)
    for value in shown.agents.values():
        assert value.shape[:2] == (STEPS, AGENTS)
    off = 1 - np.eye(AGENTS)
    if method == "dial":
        assert shown.agents["bits"].shape == (STEPS, AGENTS, 8)
        assert set(np.unique(shown.agents["bits"])) <= {0.0, 1.0}
    if method == "rial":
        assert set(np.unique(shown.agents["symbol"])) <= {0.0, 1.0, 2.0, 3.0}
    if method == "ic3net":
        np.testing.assert_array_equal(masks, off * shown.agents["talks"][:, None, :])
    if method == "vbc":
        asks, answers = (np.asarray(shown.agents[name]) for name in ("asks", "answers"))
        np.testing.assert_array_equal(masks, off * asks[:, :, None] * answers[:, None, :])
    if method == "atoc":
        groups = np.asarray(shown.agents["groups"])
        together = np.einsum("tag,tbg->tab", groups, groups) > 0
        np.testing.assert_array_equal(masks, off * together)
