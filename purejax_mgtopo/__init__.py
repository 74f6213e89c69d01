"""Learned communication topologies for cooperative multi-agent RL: many seeds, one XLA program.

The public API, and only that. Names resolve on first use, so that ``import purejax_mgtopo`` starts
no JAX and the command line answers ``--help`` at once.

    from purejax_mgtopo import Experiment, train, with_method
    train(with_method(Experiment(task="toy_follow_holder", episodes=2_000), "meta"), "results/meta")
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from purejax_mgtopo.config import (
        Config,
        Experiment,
        Means,
        flatten,
        override,
        with_learner,
        with_method,
    )
    from purejax_mgtopo.errors import ConfigError, RunError
    from purejax_mgtopo.methods import CRITICS, MESSAGES, METHODS, TOPOLOGIES
    from purejax_mgtopo.plugins.registry import (
        register_critic,
        register_interpreter,
        register_rule,
        register_task,
    )
    from purejax_mgtopo.population.population import Population
    from purejax_mgtopo.records.run_data import RunData, load_run
    from purejax_mgtopo.trained.load import load_trained
    from purejax_mgtopo.trained.policy import load_policy
    from purejax_mgtopo.training.recipe import Recipe, load_recipe
    from purejax_mgtopo.training.run import RunResult, resume, train
    from purejax_mgtopo.training.sweep import sweep

__version__ = "0.2.0"

_HOME = {
    "Config": "config",
    "ConfigError": "errors",
    "RunError": "errors",
    "Experiment": "config",
    "Means": "config",
    "flatten": "config",
    "override": "config",
    "with_learner": "config",
    "with_method": "config",
    "CRITICS": "methods",
    "MESSAGES": "methods",
    "METHODS": "methods",
    "TOPOLOGIES": "methods",
    "load_policy": "trained.policy",
    "Population": "population.population",
    "Recipe": "training.recipe",
    "load_recipe": "training.recipe",
    "RunData": "records.run_data",
    "load_run": "records.run_data",
    "register_critic": "plugins.registry",
    "register_interpreter": "plugins.registry",
    "register_rule": "plugins.registry",
    "register_task": "plugins.registry",
    "RunResult": "training.run",
    "resume": "training.run",
    "train": "training.run",
    "load_trained": "trained.load",
    "sweep": "training.sweep",
}

__all__ = [  # noqa: F822 - resolved by __getattr__
    "CRITICS",
    "MESSAGES",
    "METHODS",
    "TOPOLOGIES",
    "Config",
    "ConfigError",
    "Experiment",
    "Means",
    "Population",
    "Recipe",
    "RunData",
    "RunError",
    "RunResult",
    "flatten",
    "load_policy",
    "load_recipe",
    "load_run",
    "load_trained",
    "override",
    "register_critic",
    "register_interpreter",
    "register_rule",
    "register_task",
    "resume",
    "sweep",
    "train",
    "with_learner",
    "with_method",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
