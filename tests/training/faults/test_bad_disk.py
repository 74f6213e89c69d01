"""The command on disks that fail and on disks that forget: it never hangs, says what is wrong, and loses nothing."""

from __future__ import annotations

import collections
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from resume_cases import ROOT, environment, finished, flags, mgtopo, tiny

pytestmark = [pytest.mark.slow, pytest.mark.timeout(5400)]
DISK = ROOT / "tests" / "support" / "disk"
ERRORS, CUTS = 100, 51


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("a disk is made bad by a library in C, for Linux")
    made = tmp_path_factory.mktemp("shim") / "bad_disk.so"
    words = ["-O1", "-shared", "-fPIC", "-o", str(made), str(DISK / "bad_disk.c")]
    subprocess.run([compiler, *words, "-ldl", "-lpthread"], check=True)
    return made


def trials(shim: Path, folder: Path, errors: int, cuts: int, seed: int) -> Iterator[dict[str, Any]]:
    path = os.pathsep.join([str(ROOT / "tests" / "support"), environment()["PYTHONPATH"]])
    words = [str(DISK / "trials.py"), str(folder), str(errors), str(cuts), str(seed)]
    env = environment(1, LD_PRELOAD=str(shim), PYTHONPATH=path)
    with subprocess.Popen(
        [sys.executable, *words], stdout=subprocess.PIPE, text=True, cwd=ROOT, env=env
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            yield json.loads(line)
    assert process.returncode == 0


def test_whatever_a_disk_does_costs_one_line(shim: Path, tmp_path: Path) -> None:
    tried: collections.Counter[str] = collections.Counter()
    wrong: dict[str, str] = {}
    last = {}
    for last in trials(shim, tmp_path, ERRORS, CUTS, 0):
        if "tried" in last:
            tried[last["category"]] += 1
            if last["wrong"] is not None:
                wrong[last["tried"]] = last["wrong"]
    for category, number in sorted(tried.items()):
        print(f"{category:32} {number:4} tried")
    assert last["category"] == "done" and not wrong, wrong
    assert sum(tried.values()) == ERRORS + CUTS


@pytest.mark.parametrize("going_on", [False, True])
@pytest.mark.parametrize("kind", ["mkdir", "sync", "rename"])
def test_a_process_whose_disk_refuses_ends_soon(
    kind: str, going_on: bool, shim: Path, tmp_path: Path
) -> None:
    """To its very end: threads of libraries that wait for what was refused are not waited for."""
    words = flags(tiny("none+commnet"))
    code, _, err = finished(mgtopo("train", "--out", tmp_path / "sound", *words))
    assert code == 0, err
    process = mgtopo(
        "train",
        "--out",
        tmp_path / "run",
        *words,
        *(["--checkpoint.on-error", "continue"] if going_on else []),
        env=environment(
            LD_PRELOAD=str(shim),
            BAD_DISK=str(tmp_path / "run" / "checkpoints" / "wave_0"),
            BAD_DISK_OPS=kind,
            BAD_DISK_AT="30",
            BAD_DISK_FOR="-1",
            BAD_DISK_ERRNO="28",
        ),
    )
    code, _, err = finished(process, 200)
    assert code == 1 and "Traceback" not in err, err
    (line,) = [line for line in err.splitlines() if line.startswith("mgtopo: error:")]
    assert "No space left on device" in line and "mgtopo resume" in line
    assert process.returncode != -signal.SIGKILL
    code, _, err = finished(mgtopo("resume", tmp_path / "run"))
    assert code == 0, err
