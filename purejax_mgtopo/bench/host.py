"""What the figures of a benchmark were measured on."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import platform
from pathlib import Path
from typing import Any


def machine() -> dict[str, Any]:
    """What the figures were measured on, and how busy it was before."""
    from purejax_mgtopo.machine.startup import cores

    model = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        lines = information.read_text().splitlines()
        names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
        model = next(names, model)
    versions = {}
    for package in ("jax", "jaxlib", "torch", "jaxmarl"):
        if importlib.util.find_spec(package) is not None:
            versions[package] = importlib.metadata.version(package)
    return {"cpu": model, "cores": cores(), "load": os.getloadavg()[0], "versions": versions}


def describe(found: dict[str, Any]) -> str:
    """The machine in one line."""
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    line = f"{found['cpu']}, {found['cores']} cores, {versions}; load before: {found['load']:.1f}"
    if found["load"] > 0.5:
        line += " (other programs run: absolute figures will be too low)"
    return line


def make_ready(*paths: Path | None) -> None:
    """Refuse, before hours are measured, modes of JAX that forbid it and files that cannot be written.

    Raises ConfigError and RunError.
    """
    from purejax_mgtopo.machine.startup import refuse_strict_modes
    from purejax_mgtopo.records.files import make_ready_for

    refuse_strict_modes()
    for path in paths:
        if path is not None:
            make_ready_for(path)


def keep(path: Path | None, results: dict[str, Any], part: str, found: Any) -> None:
    """Write all numbers that there are, so that nothing is lost should something fail."""
    results[part] = found
    if path is not None:
        beside = path.with_name(f"{path.name}.part")
        beside.write_text(json.dumps(results, indent=2, default=str) + "\n")
        os.replace(beside, path)
