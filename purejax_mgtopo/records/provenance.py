"""Where a run came from: versions, device, commit, command and start time."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import purejax_mgtopo

PACKAGES = ("jax", "jaxlib", "flax", "optax", "jumanji", "numpy")


def provenance(command: str | None = None) -> dict[str, Any]:
    """What config.json says beside the configuration, ready for JSON."""
    return {
        "versions": versions(),
        "device": device(),
        "git": git(Path(purejax_mgtopo.__file__).parent),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command_line() if command is None else command,
    }


def command_line() -> str:
    """What was typed, under the command's own name however it was started."""
    script, *words = sys.argv
    own = Path(script).name in ("mgtopo", "__main__.py")
    return shlex.join(["mgtopo" if own else script, *words])


def versions() -> dict[str, str | None]:
    """Versions of Python, of this package and of those that decide numbers; None where one is missing."""
    found: dict[str, str | None] = {
        "python": platform.python_version(),
        "purejax_mgtopo": purejax_mgtopo.__version__,
    }
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = None
    return found


def device() -> dict[str, Any] | None:
    """The devices JAX runs on; None when nothing has started JAX, which a record never does."""
    jax = sys.modules.get("jax")
    if jax is None:
        return None
    from purejax_mgtopo.machine.compiler import vector_bits

    devices = jax.devices()
    return {
        "platform": devices[0].platform,
        "kind": devices[0].device_kind,
        "count": len(devices),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "vector_bits": vector_bits() if devices[0].platform == "cpu" else None,
    }


def device_kind() -> str:
    """What the program runs on, as far as its arithmetic goes."""
    found = device() or {}
    names = ("platform", "kind", "machine", "vector_bits")
    return " ".join(str(found[name]) for name in names if found.get(name) is not None)


def git(folder: Path) -> dict[str, Any] | None:
    """The commit of the checkout around `folder`, and whether tracked files differ from it."""

    # Git's own variables, which its hooks set, point to another repository than the one that is asked about.
    environment = {name: x for name, x in os.environ.items() if not name.startswith("GIT_")}

    def ask(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(folder), *words],
            check=True,
            capture_output=True,
            text=True,
            timeout=10,
            env=environment,
        ).stdout.strip()

    try:
        # An installed copy may lie within somebody else's repository; only a tracked one counts.
        ask("ls-files", "--error-unmatch", "config.py")
        return {
            "commit": ask("rev-parse", "HEAD"),
            "dirty": bool(ask("status", "--porcelain", "--untracked-files=no")),
        }
    except (OSError, subprocess.SubprocessError):
        return None
