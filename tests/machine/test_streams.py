"""Training does not depend on whoever reads its log."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from purejax_mgtopo.machine.streams import Enduring
from purejax_mgtopo.records.record import Status, status

ROOT = Path(__file__).parents[2]
SCRIPT = f"""
import sys, time
sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "tests" / "support")!r}]
from fake_population import FakePopulation, FakeStore, small
from stand_ins import stand_ins
from purejax_mgtopo.cli import main as cli, running
from purejax_mgtopo.training import progress
running.check_tasks = lambda configs: None
progress.LineReporter.__init__.__defaults__ = (0.0, time.monotonic)  # every chunk is told
with stand_ins(population=FakePopulation, store=FakeStore({{}})):
    WHAT
"""
COMMAND = """sys.exit(cli.main(["train", "--no-cache", "--wandb", "off", "--seeds", "1",
        "--episodes", "400", "--evaluation.every", "200", "--out", sys.argv[1]]))"""
PYTHON = """import stand_ins; stand_ins.train(small(), sys.argv[1])"""


def started(what: str, folder: Path, **streams: Any) -> subprocess.Popen[bytes]:
    script = textwrap.dedent(SCRIPT).replace("WHAT", what)
    words = [sys.executable, "-c", script, str(folder)]
    if streams.pop("closed", False):
        words = ["sh", "-c", 'exec "$@" >&- 2>&-', "sh", *words]
    return subprocess.Popen(words, cwd=ROOT, **streams)


@pytest.fixture
def unread() -> Iterator[int]:
    """The writing end of a pipe that nobody reads any longer."""
    reading, writing = os.pipe()
    os.close(reading)
    yield writing
    os.close(writing)


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize(
    ("what", "log"),
    [
        (COMMAND, "pipe"),
        (COMMAND, "full"),
        (COMMAND, "closed"),
        (COMMAND, "both"),
        (PYTHON, "pipe"),
        (PYTHON, "closed"),
    ],
    ids=["pipe", "full", "closed", "both", "python", "python closed"],
)
def test_a_log_that_fails_costs_nothing(what: str, log: str, tmp_path: Path, unread: int) -> None:
    folder = tmp_path / "run"
    with open("/dev/full", "wb") as full:
        streams: dict[str, Any] = {
            "pipe": {"stderr": unread, "stdout": subprocess.DEVNULL},
            "full": {"stderr": full, "stdout": full},
            "closed": {"closed": True},
            "both": {"stderr": unread, "stdout": unread},
        }[log]
        process = started(what, folder, **streams)
        try:
            process.wait(120)
        finally:
            process.kill()
    assert status(folder) is Status.FINISHED
    assert process.returncode == (0 if what == COMMAND else process.returncode)
    assert (folder / "figures" / "curves.png").exists()


def test_a_result_that_nobody_reads_ends_quietly(unread: int) -> None:
    """Of commands that only tell something, the reader's leaving is the end."""
    words = [sys.executable, "-m", "purejax_mgtopo", "methods"]
    done = subprocess.run(words, cwd=ROOT, stdout=unread, stderr=subprocess.PIPE, timeout=60)
    assert (done.returncode, done.stderr) == (1, b"")


def test_what_can_be_written_is() -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as stream, os.fdopen(reading) as other:
        enduring = Enduring(stream)
        print("one", file=enduring, flush=True)
        assert other.readline() == "one\n" and not enduring.isatty()
        other.close()
        print("two", file=enduring, flush=True)
        print("three", file=enduring, flush=True)


def test_a_disk_that_has_room_again_is_written_to(tmp_path: Path) -> None:
    class Full:
        said: list[str] = []
        full = True

        def write(self, text: str) -> None:
            if self.full:
                raise OSError(28, "No space left on device")
            self.said.append(text)

        def flush(self) -> None: ...

    below = Full()
    enduring = Enduring(below)
    enduring.write("lost")
    below.full = False
    enduring.write("kept")
    assert below.said == ["kept"]


def test_a_thread_that_waits_does_not_keep_a_command_alive() -> None:
    """As Orbax's do after a folder was refused: they are joined when Python ends."""
    script = f"""
import sys, threading, time
sys.path[:0] = [{str(ROOT)!r}]
from purejax_mgtopo.cli import main as cli
cli.PATIENCE = 0.5
threading.Thread(target=lambda: time.sleep(100)).start()
sys.argv = ["mgtopo", "verify", "/nowhere"]
sys.exit(cli.main())
"""
    words = [sys.executable, "-c", script]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
