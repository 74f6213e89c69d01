"""Starting again and again: a program that hangs once in many starts would cost somebody a night."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

STARTS = 50


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_fifty_starts_of_training_on_all_cores_never_hang(tmp_path: Path) -> None:
    """Each a process of its own, with two host devices and a few chunks; the first one compiles for all."""
    for start in range(STARTS):
        words = (
            f"train --task navigation_N3_l3 --method meta --seeds 4 --devices 2 --episodes 40 --chunk-episodes 10 "
            f"--evaluation.every 20 --evaluation.episodes 2 --learner.hidden 32 --first-seed {4 * start} "
            f"--wandb off --out {tmp_path / str(start)}"
        )
        done = subprocess.run(
            [sys.executable, "-m", "purejax_mgtopo", *words.split()],
            capture_output=True,
            text=True,
            timeout=300 if start == 0 else 120,
            env=os.environ
            | {
                "PYTHONPATH": os.pathsep.join(sys.path),
                "MGTOPO_CACHE_DIR": str(tmp_path / "cache"),
                "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
                "XLA_FLAGS": "",
            },
        )
        assert done.returncode == 0, f"start {start}: {done.stderr[-1000:]}"
