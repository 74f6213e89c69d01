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


def test_devices_that_are_asked_for_beat_the_variable_and_the_flag_of_xla_is_told() -> None:
    cold = SAY.replace("import jax; jax.devices()\n", "") + "import jax; print(jax.device_count())"
    two, any_number = cold.replace("DEVICES", "devices=2"), cold.replace("DEVICES", "")
    two = two.replace("configure_platform(Means())", "configure_platform(Means(devices=2))")
    assert python(two, JAX_NUM_CPU_DEVICES="1").split() == ["None", "2"]
    assert python(two, JAX_NUM_CPU_DEVICES="3").split() == ["None", "3"]  # two of them train
    assert python(any_number, JAX_NUM_CPU_DEVICES="1").split() == ["None", "1"]
    forced = "--xla_force_host_platform_device_count=1"
    line, count = python(two, XLA_FLAGS=forced).splitlines()
    assert count == "1" and line.startswith("training uses 1 of the 2 devices asked for: XLA_FLAGS")
    assert python(any_number, XLA_FLAGS=forced).split() == ["None", "1"]
    assert "JAX was running" in python(SAY.replace("DEVICES", "devices=2"), JAX_NUM_CPU_DEVICES="1")


def test_compiled_programs_are_kept_though_jax_runs(tmp_path: Path) -> None:
    script = (
        "import jax; jax.devices(); from purejax_mgtopo.machine.startup import use_cache; use_cache(True); "
        "print(jax.config.jax_compilation_cache_dir)"
    )
    assert python(script, MGTOPO_CACHE_DIR=str(tmp_path)) == str(tmp_path)
    theirs = python(script, MGTOPO_CACHE_DIR=str(tmp_path), JAX_COMPILATION_CACHE_DIR="/theirs")
    assert theirs == "/theirs"
