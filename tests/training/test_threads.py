"""Threads of one process: one of them trains, and no two import at once what begins with JAX."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_population import FakePopulation, FakeStore, Notes, small
from resume_cases import ROOT, environment
from stand_ins import train

from purejax_mgtopo.errors import RunError
from purejax_mgtopo.plugins import registry
from purejax_mgtopo.training import run as runner
from purejax_mgtopo.training import sweep as sweeps
from purejax_mgtopo.training.recipe import parse_recipe
from purejax_mgtopo.universal import training
from purejax_mgtopo.universal.recipe import load_meta_recipe

BUSY = "another run is under way in this process"


@contextlib.contextmanager
def elsewhere(taken: Any) -> Iterator[None]:
    """Within, another thread is in that context."""
    inside, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with taken:
            inside.set()
            leave.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    inside.wait(60)
    try:
        yield
    finally:
        leave.set()
        thread.join()


def too_far(*_: object, **__: object) -> None:
    raise AssertionError("JAX would be imported by now")


def resume(folder: Path) -> None:
    config, store = small(), FakeStore({})
    train(config, folder / "run", reporter=Notes(), population=FakePopulation, store=store)
    with elsewhere(runner.alone()):
        runner.resume(folder / "run", reporter=Notes())


def sweep(folder: Path) -> None:
    recipe = parse_recipe({"tasks": ["toy_public"], "methods": ["meta"]}, folder / "recipe.toml")
    with elsewhere(runner.alone()):
        sweeps.sweep(recipe, folder / "out", reporter=Notes())


def meta_train(folder: Path) -> None:
    file = folder / "meta_train.toml"
    file.write_text('tasks = ["toy_follow_holder"]\nconfig.seeds = 2\n[meta_train]\nsteps = 6\n')
    with elsewhere(runner.alone()):
        training.meta_train(load_meta_recipe(file), folder / "out", Notes())


@pytest.mark.parametrize("begin", [resume, sweep, meta_train])
def test_a_second_thread_is_refused_before_it_imports_anything(
    begin: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "_refuse_unless_resumable", too_far)
    monkeypatch.setattr(sweeps, "_check_files", too_far)
    monkeypatch.setattr(training, "_start", too_far)
    with pytest.raises(RunError, match=BUSY):
        begin(tmp_path)
    assert not (tmp_path / "out").exists()


def test_a_run_within_a_run_is_refused_too(tmp_path: Path) -> None:
    with runner._one_run(), pytest.raises(RunError, match=BUSY):
        runner.train(small().experiment, tmp_path)
    with runner.alone(), runner._one_run():
        pass


def test_a_plug_in_waits_until_another_thread_has_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "waiting_plugin.py").write_text("")
    thread = threading.Thread(target=registry.import_plugin, args=("waiting_plugin", "--import"))
    with elsewhere(registry.IMPORTING):
        thread.start()
        thread.join(0.3)
        assert thread.is_alive() and "waiting_plugin" not in sys.modules
    thread.join(60)
    assert sys.modules.pop("waiting_plugin")


@pytest.mark.slow
def test_two_threads_that_resume_at_once_are_one_run_and_one_line(tmp_path: Path) -> None:
    """In a process that has not imported JAX: its modules would be found half made."""
    script = f"""
import threading
from purejax_mgtopo import RunError, resume
said = []
def go():
    try: resume({str(tmp_path)!r})
    except BaseException as error: said.append(type(error).__name__ + ": " + str(error))
threads = [threading.Thread(target=go) for _ in range(2)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(sorted(said))
"""
    train(small(), tmp_path, reporter=Notes(), population=FakePopulation, store=FakeStore({}))
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment(1),
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    assert f"RunError: {BUSY}" in done.stdout and "finished run" in done.stdout, done.stdout
