"""What results depend on besides the settings, by name: written down with a run and with each of its checkpoints.

Two that are equal promise the same bits. Where they differ, a run goes on only with a word about it, or not at all if
its state would be taken for what it is not.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from purejax_mgtopo.config import Config, Experiment
from purejax_mgtopo.machine.paths import expanded
from purejax_mgtopo.methods import CRITICS, MESSAGES, TOPOLOGIES, AxisEntry
from purejax_mgtopo.records.provenance import device_kind, versions
from purejax_mgtopo.settings import differences, flatten

PACKAGES = ("purejax_mgtopo", "jax_mpe")
"""Packages whose code, and whatever lies beside it, is part of a program."""
LIBRARIES = (
    "jax-cuda12-plugin",
    "jax-cuda13-plugin",
    "nvidia-cublas-cu12",
    "nvidia-cudnn-cu12",
    "nvidia-cublas",
    "nvidia-cudnn-cu13",
)
"""Libraries of accelerators that sum in their own order; where none is installed it is none in both."""
VARIABLES = (
    "LIBTPU_INIT_ARGS",
    "NVIDIA_TF32_OVERRIDE",
    "CUBLAS_WORKSPACE_CONFIG",
    "DNNL_MAX_CPU_ISA",
    "ONEDNN_MAX_CPU_ISA",
)
"""Variables beside XLA_FLAGS that change how numbers are computed; JAX's own are among its settings."""
SETTINGS = (
    "enable_x64",
    "explicit_x64_dtypes",
    "default_prng_impl",
    "enable_custom_prng",
    "threefry_partitionable",
    "threefry_gpu_kernel_lowering",
    "random_seed_offset",
    "default_matmul_precision",
    "numpy_dtype_promotion",
    "disable_jit",
    "disable_most_optimizations",
    "optimization_level",
    "exec_time_optimization_effort",
    "memory_fitting_effort",
    "memory_fitting_level",
    "compiler_enable_remat_pass",
    "high_dynamic_range_gumbel",
    "softmax_custom_jvp",
    "allow_f16_reductions",
    "enable_pgle",
    "use_direct_linearize",
    "use_magma",
    "use_shardy_partitioner",
)
"""JAX's settings that decide numbers or their types, without ``jax_``."""
ESSENTIAL = ("JAX_ENABLE_X64", "JAX_DEFAULT_PRNG_IMPL", "JAX_ENABLE_CUSTOM_PRNG")
"""A state made under other values of these is of other types; going on would not be going on."""
_FILE = "file "
_IRRELEVANT = ("--xla_force_host_platform_device_count", "--xla_dump")

Fingerprint = Mapping[str, Any]


def fingerprint(experiment: Experiment, started: bool = True) -> dict[str, Any]:
    """All by name, ready for JSON; what only JAX can tell is left out while it has not been imported.

    Args:
        started: whether it may be asked for its devices, which starts it.
    """
    found: dict[str, Any] = {f"version of {name}": value for name, value in versions().items()}
    found |= {f"version of {name}": value for name, value in _libraries().items()}
    found |= {f"code of {name}": code_digest(name) for name in _modules(experiment)}
    found["XLA_FLAGS"] = _flags(os.environ.get("XLA_FLAGS", ""))
    found |= {name: os.environ.get(name, "") for name in VARIABLES}
    found |= {f"{_FILE}{file}": _digest_of([file]) for file in files_of(experiment)}
    jax = sys.modules.get("jax")
    if jax is not None:
        values = {name: getattr(jax.config, f"jax_{name}", None) for name in SETTINGS}
        found |= {f"JAX_{name.upper()}": str(value) for name, value in values.items()}
        if started:
            found["device"] = device_kind()
    return found


def in_common(configs: Sequence[Config], **more: object) -> dict[str, str]:
    """What all processes of a run, or of a sweep, must have in common: settings, fingerprints, and whatever `more`."""
    found = {name.replace("_", " "): str(value) for name, value in more.items()}
    found["number of runs"] = str(len(configs))
    for number, config in enumerate(configs, start=1):
        of = f" of run {number}" if len(configs) > 1 else ""
        facts = flatten(config) | fingerprint(config.experiment, started=False)
        found |= {f"{name}{of}": str(value) for name, value in facts.items()}
    return found


def recorded(config: Path) -> dict[str, Any]:
    """What the results of a run depended on when it was begun, by its description; empty where that does not say."""
    try:
        found = json.loads(config.read_text(encoding="utf-8-sig")).get("fingerprint")
    except (OSError, ValueError, AttributeError):
        return {}
    return found if isinstance(found, dict) else {}


def changed(old: Fingerprint, new: Fingerprint) -> list[str]:
    """What differs, each as ``name old -> new``; what only one of them tells is no difference."""
    both = [name for name in old if name in new]
    return differences({name: old[name] for name in both}, {name: new[name] for name in both})


def to_rounding(changes: str) -> str:
    """What it means for what is gone on with under such changes."""
    return (
        f"not all is as it was ({changes}): where the same is computed, from here on results equal an uninterrupted "
        "run's to rounding, not bit for bit"
    )


def unfit(old: Fingerprint, new: Fingerprint) -> str | None:
    """Why a state of the one cannot go on as a state of the other, with what to do; None where it can."""
    for name in (name for name in old if name in new and old[name] != new[name]):
        if name in ESSENTIAL:
            return f"{name} was {old[name]} when it was begun, and is {new[name]}: set it as it was"
        if name.startswith(_FILE):
            return f"{name.removeprefix(_FILE)} is not the file that it was begun with: put that one back"
    return None


def files_of(experiment: Experiment) -> list[Path]:
    """The files whose contents are part of what is computed: prey that the task names, and what its parts read."""
    prey = experiment.task.partition("@")[2]
    return rule_files_of(experiment) + ([expanded(prey)] if prey.endswith(".npz") else [])


def rule_files_of(experiment: Experiment) -> list[Path]:
    """Those that its rule, interpreter or critic begins with."""
    settings = flatten(experiment)
    named = [settings[name] for entry in _parts(experiment) for name in entry.files]
    return [expanded(word) for word in named if word]


def _parts(experiment: Experiment) -> list[AxisEntry]:
    """The entries of its rule, interpreter and critic; those of a plug-in only once that is registered."""
    chosen = (
        (TOPOLOGIES, experiment.topology),
        (MESSAGES, experiment.messages),
        (CRITICS, experiment.critic),
    )
    return [table[name] for table, name in chosen if name in table]


@functools.cache
def code_digest(package: str) -> str | None:
    """A digest of all files of a package, or of a module; None where it cannot be found.

    It is what was there when first asked: a program that runs does not change with its files.
    """
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return None
    if spec is None or spec.origin is None:
        return None
    origin = Path(spec.origin)
    if spec.submodule_search_locations is None:
        return _digest_of([origin])
    kinds = (".py", ".npz", ".json")
    files = sorted(path for path in origin.parent.rglob("*") if path.suffix in kinds)
    return _digest_of(files, origin.parent)


def _digest_of(files: Iterable[Path], beneath: Path | None = None) -> str | None:
    digest = hashlib.sha256()
    try:
        for file in files:
            name = file.name if beneath is None else file.relative_to(beneath).as_posix()
            content = file.read_bytes()
            digest.update(f"{name} {len(content)}\n".encode() + content)
    except OSError:
        return None
    return digest.hexdigest()[:16]


def _modules(experiment: Experiment) -> list[str]:
    """The packages, and the modules of rules that come from elsewhere."""
    homes = [entry.path.partition(":")[0] for entry in _parts(experiment)]
    foreign = [home for home in homes if home.partition(".")[0] not in PACKAGES]
    return [*PACKAGES, *dict.fromkeys(foreign)]


@functools.cache
def _libraries() -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for library in LIBRARIES:
        try:
            found[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            found[library] = None
    return found


def _flags(text: str) -> str:
    """XLA's flags in one order, the last of each counting, without those that leave numbers alone."""
    if text and not text.lstrip().startswith("-"):  # XLA reads them from a file then
        try:
            text = Path(text).read_text(encoding="utf-8-sig", errors="replace")
        except OSError:
            return text
    try:
        words = shlex.split(text)
    except ValueError:
        words = text.split()
    last = {word.partition("=")[0]: word for word in words}
    return " ".join(last[name] for name in sorted(last) if not name.startswith(_IRRELEVANT))
