"""Small networks whose rule judges edges, and made-up answers of such a rule."""

from __future__ import annotations

import dataclasses
import functools

import jax
import numpy as np

from purejax_mgtopo.algorithm.algorithm import Algorithm
from purejax_mgtopo.algorithm.topology.edgewise.inputs import NAMES, EdgeInputs
from purejax_mgtopo.algorithm.topology.edgewise.said import Said
from purejax_mgtopo.algorithm.types import Both
from purejax_mgtopo.config import Experiment, LearnerConfig, override, with_method
from purejax_mgtopo.report.rule.summary import RuleSaid, summarised
from purejax_mgtopo.trained.load import Networks

TASK = "toy_follow_holder"
LEARNER = LearnerConfig(hidden=8, batch_size=8, warmup_episodes=2, replay_transitions=100)
PRICE = {"gates.edge_cost": 0.04}
EDGE = {"meta.architecture": "edge", "meta.hidden": 8}
UPDATES = 6


def experiment(method: str, **changes) -> Experiment:
    base = with_method(Experiment(task=TASK, episodes=1000, learner=LEARNER), method)
    return override(base, PRICE | ({"meta.hidden": 8} | changes if method == "meta" else {}))


@functools.cache
def trained(method: str, edge: bool = True) -> tuple[Algorithm, Networks]:
    algorithm = Algorithm(experiment(method, **(EDGE if edge else {})))
    learner_key, *keys = jax.random.split(jax.random.key(0), 3)
    parts = algorithm.parts.init(Both(*keys))
    if method == "meta" and edge:  # what is born corrects nothing
        eta = jax.tree.map(
            lambda x: x + 0.1 * np.cos(np.arange(x.size)).reshape(x.shape), parts.rule.eta
        )
        parts = dataclasses.replace(parts, rule=dataclasses.replace(parts.rule, eta=eta))
    return algorithm, Networks(algorithm.maddpg.init(learner_key), parts)


AGENTS = 3


def made_up(seed: int, push=None) -> Said:
    """Answers in which each edge has a level of its own, for open and for closed."""
    rng, shape = np.random.default_rng(seed), (20, 10, AGENTS, AGENTS - 1)
    inputs = {name: rng.normal(size=shape) for name in NAMES}
    inputs["advantage"] = np.broadcast_to(rng.normal(size=(20, 10, 1, 1)), shape)
    inputs["progress"] = np.broadcast_to(np.arange(20).reshape(-1, 1, 1, 1) / 20, shape)
    inputs["decision"] = rng.integers(0, 2, shape).astype(float)
    level = np.arange(6).reshape(3, 2) / 10 + seed
    f = np.where(inputs["decision"] > 0, level, 2 * level) + 0.01 * rng.normal(size=shape)
    return Said(EdgeInputs(**inputs), f if push is None else push(inputs))


def summary_of(one: Said, prices=None, sizes=None, **changes) -> RuleSaid:
    prices, sizes = prices or [(0.1, one)], sizes or [(3, one)]
    told = {"seed": 1, "updates": 20, "episodes": 1000, "price": 0.04, "agents": AGENTS} | changes
    return summarised(one, prices, sizes, **told)
