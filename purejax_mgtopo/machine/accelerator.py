"""Whether the installed JAX can use the GPU of this machine, and the command that helps if not. Free of JAX."""

from __future__ import annotations

import importlib.metadata
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

PLUGINS = ("jax-cuda13-plugin", "jax-cuda12-plugin")
CUDNN = "nvidia-cudnn-cu12"
_TURING, _VOLTA = (7, 5), (7, 0)


@dataclass(frozen=True)
class Gpu:
    """One NVIDIA GPU, as its driver describes it."""

    name: str
    capability: tuple[int, int]
    """Compute capability, e.g. (7, 0) of a V100."""


def visible_gpus() -> tuple[Gpu, ...]:
    """What nvidia-smi lists; nothing where there is no such driver."""
    if shutil.which("nvidia-smi") is None:
        return ()
    query = ["nvidia-smi", "--query-gpu=name,compute_cap", "--format=csv,noheader"]
    try:
        listed = subprocess.run(
            query, check=True, capture_output=True, text=True, timeout=20
        ).stdout
        return parse_gpus(listed)
    except (OSError, subprocess.SubprocessError, ValueError):
        return ()


def parse_gpus(listed: str) -> tuple[Gpu, ...]:
    """The GPUs in lines such as ``Tesla V100-SXM2-16GB, 7.0``. Raises ValueError for others."""
    gpus = []
    for line in listed.strip().splitlines():
        name, _, capability = line.rpartition(",")
        major, minor = capability.strip().split(".")
        gpus.append(Gpu(name.strip(), (int(major), int(minor))))
    return tuple(gpus)


def installed() -> dict[str, str]:
    """Versions of the packages that decide which GPUs work."""
    found = {}
    for package in (*PLUGINS, CUDNN):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def advice(gpus: Sequence[Gpu], packages: Mapping[str, str]) -> str | None:
    """One line on what to install, with the command; None where all is well or there is no GPU.

    CUDA 13 needs compute capability 7.5 (Turing); cuDNN dropped Volta (7.0) with version 9.11.
    """
    if not gpus:
        return None
    gpu = min(gpus, key=lambda gpu: gpu.capability)
    here = f"{gpu.name} (compute capability {gpu.capability[0]}.{gpu.capability[1]})"
    volta = gpu.capability < _TURING
    extra = "v100" if volta else "cuda13"
    if not any(plugin in packages for plugin in PLUGINS):
        return f"{here} is idle, for JAX is installed for CPU only: pip install -e '.[{extra}]'"
    if gpu.capability < _VOLTA:
        return f"{here} is too old for these libraries; CUDA_VISIBLE_DEVICES= runs on the CPU"
    if volta and "jax-cuda13-plugin" in packages:
        return (
            f"{here} needs CUDA 12, and CUDA 13 is installed: pip uninstall -y jax-cuda13-plugin jax-cuda13-pjrt && "
            "pip install -e '.[v100]'"
        )
    if volta and _version(packages.get(CUDNN, "0")) >= (9, 11):
        return f"{here} needs cuDNN before 9.11: pip install -e '.[v100]'"
    return None


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")[:2] if part.isdigit())
