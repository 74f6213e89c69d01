"""The command, killed, interrupted, and out of space: nothing that was durable is ever lost."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from resume_cases import (
    ROOT,
    environment,
    finished,
    flags,
    mgtopo,
    same_run,
    same_state,
    state_of,
    tiny,
    told,
)

from purejax_mgtopo.checkpoints.stored import latest_steps
from purejax_mgtopo.records.record import Status, status
from purejax_mgtopo.records.run_data import load_run

METHOD = "none+commnet"
LONG = tiny(METHOD, episodes=160)
pytestmark = pytest.mark.timeout(1500)


def train(folder: Path, **changes: Any) -> subprocess.Popen[str]:
    return mgtopo("train", "--out", folder, *flags(tiny(METHOD, episodes=160, **changes)))


def until(process: subprocess.Popen[str], holds: Callable[[], bool], seconds: float = 240) -> bool:
    """Wait for it; False if the process ended before."""
    end = time.monotonic() + seconds
    while process.poll() is None:
        if holds():
            return True
        assert time.monotonic() < end
        time.sleep(0.002)
    return False


def wave(folder: Path) -> Path:
    return folder / "checkpoints" / "wave_0"


def has_checkpoint(folder: Path, least: int = 4) -> Callable[[], bool]:
    def holds() -> bool:
        steps = latest_steps(wave(folder))
        return bool(steps) and int(steps[0].name) >= least

    return holds


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The uninterrupted run; it also fills the compilation cache for those that are killed."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    code, _, err = finished(train(folder))
    assert code == 0, err
    return folder


def killed(process: subprocess.Popen[str], folder: Path, delay: float, within: bool) -> bool:
    """Kill -9, after one more checkpoint than there was; False if the run had ended by then."""
    before = latest_steps(wave(folder))[:1]

    def goes_on() -> bool:
        return latest_steps(wave(folder))[:1] != before

    def saves() -> bool:
        return any(wave(folder).glob("*.orbax-checkpoint-tmp*"))

    if not until(process, goes_on) or (within and not until(process, saves)):
        return False
    time.sleep(delay)
    process.kill()
    process.communicate()
    return process.returncode == -signal.SIGKILL


@pytest.mark.slow
def test_killed_at_twenty_instants_nothing_is_lost(whole: Path, tmp_path: Path) -> None:
    """Every other kill comes within a save. Each is resumed, some to be killed again, to the same end."""
    rng, kills, torn, runs = random.Random(0), 0, 0, 0
    while kills < 20:
        folder, runs = tmp_path / str(runs), runs + 1
        process = train(folder)
        while kills < 20:
            within = kills % 2 == 1
            if not killed(process, folder, rng.random() * (0.05 if within else 0.5), within):
                break
            kills += 1
            torn += any(wave(folder).glob("*.orbax-checkpoint-tmp*"))
            process = mgtopo("resume", folder)
        code, _, err = finished(process)
        assert code == 0, err
        assert status(folder) is Status.FINISHED and "not used" not in err, err
        same_run(whole, folder)
        left = [path.name for path in wave(folder).iterdir() if not path.name[0].isdigit()]
        assert left == [] and not list(wave(folder).glob("*tmp*"))
    print(f"{kills} kills in {runs} runs, {torn} of them left a half-written checkpoint")
    assert torn >= 5


KILLED_IN_WAVE_1 = """
import os, signal, sys
from purejax_mgtopo.checkpoints.checkpoints import Checkpoints
from purejax_mgtopo.cli.main import main

save = Checkpoints.save
def kill(self, state, score):
    if self.folder.name == "wave_1":
        os.kill(os.getpid(), signal.SIGKILL)
    save(self, state, score)
Checkpoints.save = kill
sys.exit(main(sys.argv[1:]))
"""
"""The command, which gets a kill -9 where the second wave is evaluated and not saved."""


@pytest.mark.slow  # a program of its own, twice; the same without one is in test_run_goes_on.py
def test_killed_between_evaluation_and_checkpoint_of_a_later_wave(tmp_path: Path) -> None:
    """Each of three waves is evaluated once, at the same episode."""
    once = flags(
        tiny(METHOD, episodes=4, lanes=1, devices=1, **{"evaluation.every": 4, "chunk_episodes": 4})
    )
    code, _, err = finished(mgtopo("train", "--out", tmp_path / "a", *once))
    assert code == 0, err
    words = [sys.executable, "-c", KILLED_IN_WAVE_1, "train", "--out", str(tmp_path / "b"), *once]
    killed = subprocess.run(words, env=environment(), cwd=ROOT, timeout=280, capture_output=True)
    assert killed.returncode == -signal.SIGKILL
    assert len(told(tmp_path / "b", ["evaluation"])) == 4  # with both waves' untrained teams
    code, _, err = finished(mgtopo("resume", tmp_path / "b"))
    assert code == 0, err
    same_run(tmp_path / "a", tmp_path / "b", waves=3)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_what_a_scheduler_sends_saves_and_exits_with_0(
    whole: Path, tmp_path: Path, number: signal.Signals
) -> None:
    folder = tmp_path / "run"
    process = train(folder)
    assert until(process, lambda: len(told(folder, ["evaluation"])) >= 3)
    process.send_signal(number)
    code, _, err = finished(process)
    assert code == 0, err
    assert f"go on by: mgtopo resume {folder}" in err
    stopped = dict(told(folder, ["interrupted"])[-1])["episode"]
    assert latest_steps(wave(folder))[0].name == str(stopped)
    code, out, err = finished(mgtopo("resume", folder))
    assert code == 0 and f"results  {folder}" in out, err
    same_run(whole, folder)


@pytest.mark.slow
def test_ctrl_c_saves_and_a_second_one_quits_at_once(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "once"
    process = train(folder)
    assert until(process, has_checkpoint(folder))
    process.send_signal(signal.SIGINT)
    code, _, err = finished(process)
    assert code == 130 and f"mgtopo resume {folder}" in err, err
    assert status(folder) is Status.UNFINISHED

    twice = tmp_path / "twice"
    process = train(twice)
    assert until(process, has_checkpoint(twice))
    process.send_signal(signal.SIGINT)
    time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    code, _, err = finished(process, 20)
    assert code == 130 and "mgtopo resume" in err, err
    for stopped in (folder, twice):
        code, _, err = finished(mgtopo("resume", stopped))
        assert code == 0, err
        same_run(whole, stopped)


@pytest.mark.slow
def test_a_run_in_use_is_left_alone(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    process = train(folder)
    try:
        assert until(process, has_checkpoint(folder))
        for words in (("resume", folder), ("train", "--out", folder, *flags(LONG))):
            code, _, err = finished(mgtopo(*words))
            assert code == 1 and err.count("\n") == 1, err
            assert "in use by another mgtopo" in err or "a run in progress" in err
    finally:
        code, _, err = finished(process)
    assert code == 0, err
    same_run(whole, folder)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of six megabytes."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(disk)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("there is no mount command")
    if done.returncode:
        pytest.skip(f"mounting is not allowed here: {done.stderr.strip()}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def fill(disk: Path, leave: int) -> Path:
    """Leave so many bytes free."""
    filler = disk / "filler"
    free = shutil.disk_usage(disk).free
    filler.write_bytes(b"\0" * max(0, free - leave))
    return filler


@pytest.mark.slow
def test_a_full_disk_ends_the_run_clearly_and_costs_nothing(whole: Path, small_disk: Path) -> None:
    folder = small_disk / "run"
    process = train(folder)
    assert until(process, has_checkpoint(folder, 8))
    filler = fill(small_disk, leave=100_000)
    code, _, err = finished(process)
    assert code == 1, err
    errors = [line for line in err.splitlines() if line.startswith("mgtopo: error:")]
    assert len(errors) == 1 and "No space left" in errors[0] and "mgtopo resume" in errors[0], err
    assert "Traceback" not in err
    assert not list(wave(folder).glob("*tmp*"))
    assert all(has.is_dir() for has in latest_steps(wave(folder)))
    filler.unlink()
    code, _, err = finished(mgtopo("resume", folder))
    assert code == 0 and "not used" not in err, err
    same_run(whole, folder)


@pytest.mark.slow
def test_a_full_disk_may_be_survived(whole: Path, small_disk: Path) -> None:
    """With on_error = continue the checkpoints fail one by one, until there is space again."""
    folder = small_disk / "run"
    process = train(folder, **{"checkpoint.on_error": "continue"})
    assert until(process, has_checkpoint(folder, 8))
    filler = fill(small_disk, leave=150_000)
    before = len(told(folder, ["chunk"]))
    assert until(process, lambda: len(told(folder, ["chunk"])) > before + 12)
    filler.unlink()
    code, _, err = finished(process)
    assert code == 0, err
    assert "No space left" in err and "training goes on" in err and "Traceback" not in err
    assert not list(wave(folder).glob("*tmp*"))
    same_state(state_of(whole), state_of(folder))
    for name, column in load_run(whole).columns.items():
        assert column.tobytes() == load_run(folder).columns[name].tobytes(), name


@pytest.mark.slow
def test_a_read_only_folder_is_told(whole: Path, small_disk: Path) -> None:
    folder = small_disk / "run"
    process = train(folder)
    assert until(process, has_checkpoint(folder))
    process.send_signal(signal.SIGTERM)
    assert finished(process)[0] == 0
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    for words in (("resume", folder), ("train", "--out", small_disk / "new", *flags(LONG))):
        code, _, err = finished(mgtopo(*words))
        assert code == 1 and "Read-only file system" in err, err
        assert sum(line.startswith("mgtopo: error:") for line in err.splitlines()) == 1
        assert "Traceback" not in err
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    assert finished(mgtopo("resume", folder))[0] == 0
    same_run(whole, folder)


BAD_INPUT = [
    (["--seeds", "0"], "seeds must be at least 1"),
    (["--task", "navigation_N3_l5"], "l must be from 1 to 3, not 5"),
    (["--task", "navigatoin_N3_l3"], "unknown task"),
    (["--updates-per-iteration", "0"], "updates_per_iteration (K) must be at least 1"),
    (["--learner.batch-size", "200001", "--learner.replay-transitions", "2000"], "exceeds"),
]


@pytest.mark.parametrize(("words", "says"), BAD_INPUT, ids=[" ".join(w) for w, _ in BAD_INPUT])
def test_what_cannot_be_is_one_line_and_leaves_nothing(
    words: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from purejax_mgtopo.cli.main import main

    assert main(["train", "--out", str(tmp_path / "run"), *words]) == 2
    shown = capsys.readouterr().err
    assert says in shown and shown.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_folder_of_another_run_is_refused_and_untouched(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from purejax_mgtopo.cli.main import main

    folder = tmp_path / "run"
    (folder / "checkpoints" / "wave_0" / "8").mkdir(parents=True)
    before = sorted(folder.rglob("*"))
    assert main(["train", "--out", str(folder), *flags(LONG)]) == 1
    shown = capsys.readouterr().err
    assert "already holds" in shown and shown.count("\n") == 1
    assert sorted(folder.rglob("*")) == before
    assert main(["resume", str(folder)]) == 1
    assert "is not a run: it has no config.json" in capsys.readouterr().err
    assert main(["verify", str(folder)]) == 1
