"""A tree of frozen dataclasses as flat settings, each by its dotted name, and back; checked by types and ranges."""

from __future__ import annotations

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Callable, Collection, Mapping
from numbers import Integral, Real
from typing import Any, Literal, TypeVar

from purejax_mgtopo.errors import ConfigError, require, unknown_name

Tree = TypeVar("Tree")

LARGEST = 2**31 - 1
"""The largest seed, and the largest whole number of any setting but the evaluation's random seed."""
LARGEST_RANDOM_SEED = 2**32 - 1
"""The largest random seed of episodes, which no table numbers."""
LARGEST_FLOAT = (2.0 - 2.0**-23) * 2.0**127
"""The largest finite number in 32 bits."""
_RANDOM_SEEDS = ("evaluation.seed",)

AUTO = ("lanes", "microbatch", "devices")
"""Numbers that settle themselves where they are 0, for which ``auto`` may be written."""

UNNAMED = {"unnamed": True}
"""Metadata of a field whose settings go without its name: the halves of a pair are one flat namespace."""


def flatten(config: Any, prefix: str = "") -> dict[str, Any]:
    """Every setting by its dotted name, e.g. ``learner.batch_size``."""
    flat: dict[str, Any] = {}
    for item in dataclasses.fields(config):
        value = getattr(config, item.name)
        if dataclasses.is_dataclass(value):
            flat |= flatten(value, _inside(item, prefix))
        else:
            flat[prefix + item.name] = value
    return flat


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """The settings in which two flat configurations differ, each as ``name: old -> new``."""
    return [
        f"{name} {old.get(name)} -> {new.get(name)}"
        for name in {**old, **new}
        if old.get(name) != new.get(name)
    ]


def completed(settings: Mapping[str, Any]) -> dict[str, Any]:
    """An older run's settings, with those that were not there yet: eta's RMSprop had the gates'."""
    early = {
        f"meta.{name}": settings[f"gates.{name}"]
        for name in ("rms_decay", "rms_epsilon")
        if f"gates.{name}" in settings
    }
    return early | dict(settings)


def override(config: Tree, changes: Mapping[str, Any]) -> Tree:
    """`config` with settings replaced by dotted name, all at once (so checks see only the result).

    Raises ConfigError for an unknown name (naming the nearest) or a value of the wrong type.
    """
    known = flatten(config)
    for name in changes:
        if name not in known:
            raise unknown_setting(name, known)
    return typing.cast(Tree, _override(config, changes, ""))


def unknown_setting(name: str, known: Collection[str]) -> ConfigError:
    """The error for a setting that does not exist, with those that its name can mean."""
    found = meant(name, known)
    if not found:
        return unknown_name("setting", name, known)
    return ConfigError(f"unknown setting {name!r}; did you mean {' or '.join(map(repr, found))}?")


def meant(name: str, known: Collection[str]) -> list[str]:
    """The settings that a name of another program's, or the end of a name of ours, can mean."""
    name = name.lower().replace("-", "_")
    others = [setting for setting in ELSEWHERE.get(name, ()) if setting in known]
    return others or [x for x in known if x.rpartition(".")[2] == name != x]


_RATES = ("learner.policy_learning_rate", "learner.critic_learning_rate", "gates.learning_rate")
_OTHER_NAMES = {
    _RATES: "lr",
    (*_RATES, "meta.learning_rate"): "learning_rate",
    _RATES[:1]: "actor_lr policy_lr pi_lr lr_actor lr_policy actor_learning_rate",
    _RATES[1:2]: "critic_lr q_lr value_lr lr_critic vf_lr q_learning_rate",
    _RATES[2:]: "gate_lr gates_lr topology_lr",
    ("meta.learning_rate",): "meta_lr eta_lr",
    ("learner.discount",): "gamma discount_factor",
    ("learner.target_rate",): "tau polyak soft_update target_update target_update_rate",
    (
        "learner.replay_transitions",
    ): "buffer_size buffer memory_size replay_size capacity buffer_capacity "
    "replay_capacity replay_buffer_size max_buffer_size",
    (
        "learner.hidden",
    ): "hidden_dim hidden_size hidden_units hidden_dims hidden_layers num_units units width "
    "layer_size net_arch",
    ("learner.batch_size",): "batch bs minibatch_size minibatch",
    ("learner.warmup_episodes",): "warmup learning_starts start_steps random_steps warmup_steps",
    ("learner.updates_per_episode",): "utd utd_ratio gradient_steps updates_per_step num_updates",
    ("learner.n_step", "baseline.n_step"): "nstep multi_step n_step_returns td_steps",
    ("learner.exploration_noise",): "noise sigma exploration action_noise noise_scale",
    (
        "learner.gradient_clip",
        "meta.gradient_clip",
    ): "grad_clip clip clip_norm max_grad_norm grad_norm_clip",
    ("gates.entropy", "meta.entropy"): "ent_coef entropy_coef entropy_cost",
    ("updates_per_iteration",): "k inner_steps inner_updates unroll",
    ("task",): "env env_name env_id environment scenario map game",
    ("method",): "algo alg algorithm model agent policy baseline_name",
    ("topology",): "rule gate",
    ("messages",): "interpreter channel_type comm communication",
    (
        "episodes",
    ): "steps timesteps total_timesteps epochs iterations n_steps num_steps max_steps total_steps "
    "n_episodes num_episodes max_episodes total_episodes n_iterations num_iterations train_steps",
    ("seeds",): "num_seeds n_seeds repeats num_runs n_runs runs repetitions",
    ("seeds", "first_seed"): "seed random_seed rng_seed",
    ("devices",): "gpu gpus device cuda num_devices num_gpus n_gpus cpu cpus cores n_jobs",
    (
        "out",
    ): "output outdir out_dir output_dir output_path save save_dir save_path logdir log_dir dir folder "
    "path results results_dir result_dir run_dir work_dir workdir o",
    ("wandb",): "wandb_mode track use_wandb",
    ("wandb_project",): "project project_name wandb_project_name",
    ("wandb off",): "no_wandb no_track disable_wandb",
    (
        "evaluation.every",
    ): "eval_every eval_interval eval_freq evaluate_every evaluation_interval test_interval "
    "eval_frequency",
    (
        "evaluation.episodes",
    ): "eval_episodes n_eval_episodes num_eval_episodes evaluation_episodes test_episodes",
    (
        "checkpoint.minutes",
    ): "checkpoint_every checkpoint_interval save_interval save_freq save_every checkpoint_freq",
    ("checkpoint.keep",): "keep_checkpoints max_checkpoints",
    ("precision",): "dtype float_precision",
    ("chunk_episodes",): "log_interval log_every print_every log_freq chunk",
}
ELSEWHERE = {name: ours for ours, names in _OTHER_NAMES.items() for name in names.split()}
"""What other programs call what is a setting here, or a flag of `mgtopo train`."""


def _override(node: Any, changes: Mapping[str, Any], prefix: str) -> Any:
    hints = _hints(type(node))
    replaced = {}
    for item in dataclasses.fields(node):
        name, value = prefix + item.name, getattr(node, item.name)
        if dataclasses.is_dataclass(value):
            replaced[item.name] = _override(value, changes, _inside(item, prefix))
        elif name in changes:
            replaced[item.name] = _checked(name, hints[item.name], changes[name])
    return dataclasses.replace(node, **replaced)


_hints: Callable[[Any], dict[str, Any]] = functools.cache(typing.get_type_hints)
"""A recipe of many runs asks thousands of times."""


def _inside(item: dataclasses.Field, prefix: str) -> str:
    return prefix if item.metadata.get("unnamed") else f"{prefix}{item.name}."


def _checked(name: str, hint: Any, value: Any) -> Any:
    """`value` if it fits the setting's type (an int may stand for a float)."""
    if typing.get_origin(hint) is Literal:
        options = typing.get_args(hint)
        if not any(value == option and type(value) is type(option) for option in options):
            raise ConfigError(
                f"{name} must be one of {', '.join(map(repr, options))}, not {value!r}"
            )
        return value
    if name in AUTO and value == "auto":
        return 0
    if hint is float and type(value) is int:
        return float(value)
    if isinstance(hint, types.UnionType) or type(value) is not hint:
        raise ConfigError(f"{name} must be of type {hint.__name__}, not {value!r}")
    return value


def check_numbers(settings: Any, prefix: str = "") -> None:
    """Raise ConfigError, by its dotted name, for a number in a tree of dataclasses that a program cannot hold."""
    for item in dataclasses.fields(settings):
        value, name = getattr(settings, item.name), prefix + item.name
        if dataclasses.is_dataclass(value):
            check_numbers(value, f"{name}.")
        elif name in _RANDOM_SEEDS:
            check_random_seed(name, value)
        elif isinstance(value, Integral):
            require(
                abs(int(value)) <= LARGEST,
                f"{name} must be at most {LARGEST}, not {_shown(value)}",
            )
        elif isinstance(value, Real):
            require(
                math.isfinite(value) and abs(float(value)) <= LARGEST_FLOAT,
                f"{name} must be a finite number of 32 bits, not {value}",
            )
    if hasattr(settings, "first_seed"):
        _check_seeds(settings.first_seed, settings.seeds)


def _check_seeds(first: int, count: int) -> None:
    """Raise ConfigError unless `count` seeds from `first` on are numbers from 0 to `LARGEST`."""
    require(first >= 0, "first_seed must not be negative")
    require(
        first + count - 1 <= LARGEST,
        f"the last of {count} seeds from first_seed {first} on is above {LARGEST}, the largest; "
        f"let first_seed be at most {LARGEST - count + 1}",
    )


def check_random_seed(name: str, seed: int) -> None:
    """Raise ConfigError for a random seed of episodes that is not one of 32 bits."""
    require(
        0 <= seed <= LARGEST_RANDOM_SEED,
        f"{name} must be from 0 to {LARGEST_RANDOM_SEED}, not {_shown(seed)}",
    )


def _shown(number: Any) -> str:
    """Python refuses to print a number of very many digits."""
    return str(number) if abs(number) < 10**30 else "a number of over thirty digits"
