"""Training from Python, in a process that has started JAX already."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def python(script: str, **more: str) -> str:
    plain = {
        name: value
        for name, value in os.environ.items()
        if name not in ("XLA_FLAGS", "JAX_NUM_CPU_DEVICES", "JAX_COMPILATION_CACHE_DIR")
    }
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env=plain | {"JAX_PLATFORMS": "cpu"} | more,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


SAY = """
import jax; jax.devices()
from purejax_mgtopo.config import Means
from purejax_mgtopo.machine import startup
startup.cores = lambda: 4
startup.configure_platform(Means())
print(startup.unused_cores(Means(DEVICES)))
"""


def test_cores_that_idle_are_told() -> None:
    line = python(SAY.replace("DEVICES", ""))
    assert line.startswith("training uses 1 of 4 cores") and "JAX_NUM_CPU_DEVICES=4" in line
    assert python(SAY.replace("DEVICES", "devices=1")) == "None"
    assert python(SAY.replace("DEVICES", ""), JAX_NUM_CPU_DEVICES="1") == "None"  # as was asked


def test_where_jax_is_told_in_time_nothing_is_said() -> None:
    assert python(SAY.replace("import jax; jax.devices()\n", "").replace("DEVICES", "")) == "None"


def test_compiled_programs_are_kept_though_jax_runs(tmp_path: Path) -> None:
    script = (
        "import jax; jax.devices(); from purejax_mgtopo.machine.startup import use_cache; use_cache(True); "
        "print(jax.config.jax_compilation_cache_dir)"
    )
    assert python(script, MGTOPO_CACHE_DIR=str(tmp_path)) == str(tmp_path)
    theirs = python(script, MGTOPO_CACHE_DIR=str(tmp_path), JAX_COMPILATION_CACHE_DIR="/theirs")
    assert theirs == "/theirs"
