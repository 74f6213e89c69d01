"""Requests to stop: heard from before a run is built until its last picture is drawn, and between two runs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_population import FakePopulation, FakeStore, Notes, small
from stand_ins import resume, stand_ins, sweep, train

from purejax_mgtopo.analysis import curves
from purejax_mgtopo.cli import main as cli
from purejax_mgtopo.cli import running
from purejax_mgtopo.config import Config
from purejax_mgtopo.records.record import Status, read_events, status
from purejax_mgtopo.training import loop
from purejax_mgtopo.training.recipe import parse_recipe
from purejax_mgtopo.training.stop import Stopped

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP]
ROOT = Path(__file__).parents[3]
RECIPE = {
    "tasks": ["toy_public"],
    "methods": ["none", "full", "meta"],
    "seeds": 3,
    "config": {"episodes": 40, "chunk_episodes": 10, "evaluation": {"every": 20}},
}


def sent(number: int, at: int) -> Callable[[int], None]:
    """A signal while chunk `at` is computed."""

    def send(chunk: int) -> None:
        if chunk == at:
            os.kill(os.getpid(), number)

    return send


@pytest.fixture(autouse=True)
def deadly() -> Any:
    """A signal that nobody hears ends the tests clearly, not the process."""

    def fail(number: int, *_: Any) -> None:
        raise AssertionError(f"nobody heard {signal.Signals(number).name}")

    before = {number: signal.signal(number, fail) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.quick_cases(3)
@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("at", [0, 1, 3])
def test_any_signal_in_any_chunk_ends_a_sweep(number: int, at: int, tmp_path: Path) -> None:
    """The last chunk of a run, too: it finishes, and no other begins."""
    recipe, store = parse_recipe(RECIPE, tmp_path / "recipe.toml"), FakeStore({})
    built: list[str] = []

    def first_is_stopped(config: Config) -> FakePopulation:
        built.append(config.experiment.method)
        return FakePopulation(config, before_chunk=sent(number, at))

    result = sweep(recipe, reporter=Notes(), population=first_is_stopped, store=store)
    assert built == ["none"] and result.stopped_by == number
    assert (result.interrupted is None) == (at == 3)
    assert [summary.method for summary in result.summaries] == (["none"] if at == 3 else [])
    again = sweep(recipe, reporter=Notes(), population=FakePopulation, store=store)
    assert again.stopped_by is None and len(again.summaries) == 3


def test_in_the_last_run_nothing_is_left_to_stop(tmp_path: Path) -> None:
    recipe = parse_recipe(RECIPE | {"methods": ["none"]}, tmp_path / "recipe.toml")

    def stopped(config: Config) -> FakePopulation:
        return FakePopulation(config, before_chunk=sent(signal.SIGTERM, 3))

    result = sweep(recipe, reporter=Notes(), population=stopped, store=FakeStore({}))
    assert result.stopped_by is None and result.interrupted is None and result.figure is not None


@pytest.mark.parametrize("number", SIGNALS)
def test_before_training_begins_nothing_is_written(number: int, tmp_path: Path) -> None:
    def build(config: Config) -> FakePopulation:
        os.kill(os.getpid(), number)
        return FakePopulation(config)

    with pytest.raises(Stopped) as stopped:
        train(small(), tmp_path / "run", reporter=Notes(), population=build, store=FakeStore({}))
    assert stopped.value.signal == number and not (tmp_path / "run").exists()
    recipe = parse_recipe(RECIPE, tmp_path / "recipe.toml")
    result = sweep(recipe, tmp_path / "s", reporter=Notes(), population=build, store=FakeStore({}))
    assert (result.stopped_by, result.summaries) == (number, ())


def test_a_resumed_run_that_is_stopped_at_once_stays_what_it_was(tmp_path: Path) -> None:
    store = FakeStore({})

    def after_two(config: Config) -> FakePopulation:
        return FakePopulation(config, before_chunk=sent(signal.SIGTERM, 1))

    def build(config: Config) -> FakePopulation:
        os.kill(os.getpid(), signal.SIGTERM)
        return FakePopulation(config)

    train(small(), tmp_path, reporter=Notes(), population=after_two, store=store)
    before = (tmp_path / "events.jsonl").read_bytes()
    with pytest.raises(Stopped):
        resume(tmp_path, reporter=Notes(), population=build, store=store)
    assert (tmp_path / "events.jsonl").read_bytes() == before
    assert not resume(
        tmp_path, reporter=Notes(), population=FakePopulation, store=store
    ).interrupted


def test_a_signal_in_the_last_chunk_of_a_wave_ends_before_the_next(tmp_path: Path) -> None:
    def stopped(config: Config) -> FakePopulation:
        return FakePopulation(config, before_chunk=sent(signal.SIGTERM, 3), lanes=2)

    store = FakeStore({})
    result = train(small(), tmp_path, reporter=Notes(), population=stopped, store=store)
    assert result.interrupted and result.episode == 40
    assert [e["wave"] for e in read_events(tmp_path) if e["event"] == "chunk"] == [0] * 4
    done = resume(
        tmp_path,
        reporter=Notes(),
        population=lambda config: FakePopulation(config, lanes=2),
        store=store,
    )
    assert not done.interrupted and done.episode == 80


@pytest.mark.parametrize("number", SIGNALS)
def test_while_pictures_are_drawn_all_is_finished(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def draw(*args: Any, **options: Any) -> Path | None:
        os.kill(os.getpid(), number)
        return curves.try_to_draw(*args, **options)

    monkeypatch.setattr(loop, "try_to_draw", draw)
    result = train(
        small(), tmp_path, reporter=Notes(), population=FakePopulation, store=FakeStore({})
    )
    assert not result.interrupted and result.figure is not None
    assert status(tmp_path) is Status.FINISHED


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("command", ["train", "sweep"])
def test_the_command_hears_them_before_anything_else(
    number: int,
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """While JAX starts and tasks are looked up."""
    (tmp_path / "recipe.toml").write_text('tasks = ["toy_public"]\nmethods = ["none"]')
    monkeypatch.setattr(running, "check_tasks", lambda configs: os.kill(os.getpid(), number))
    words = {
        "train": ["train", "--out", str(tmp_path / "run")],
        "sweep": ["sweep", str(tmp_path)],
    }[command]
    with stand_ins(population=FakePopulation, store=FakeStore({})):
        code = cli.main([*words, "--no-cache"])
    assert code == (130 if number == signal.SIGINT else 0)
    assert "mgtopo: stopped" in capsys.readouterr().err
    assert not list(tmp_path.rglob("config.json"))


def test_who_ignores_one_has_it_ignored(tmp_path: Path) -> None:
    """As nohup does with SIGHUP."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def stopped(config: Config) -> FakePopulation:
        return FakePopulation(config, before_chunk=sent(signal.SIGHUP, 1))

    result = train(small(), tmp_path, reporter=Notes(), population=stopped, store=FakeStore({}))
    assert not result.interrupted


def test_a_second_ctrl_c_quits_before_training_too(tmp_path: Path) -> None:
    script = textwrap.dedent(f"""
        import os, signal, sys, time
        sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "tests" / "support")!r}]
        from fake_population import FakePopulation, FakeStore, small
        from stand_ins import train

        def build(config):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.2)
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(60)

        train(small(), {str(tmp_path / "run")!r}, population=build, store=FakeStore({{}}))
    """)
    words = [sys.executable, "-c", script]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.returncode == 130, done.stderr
    assert "press Ctrl-C again" in done.stderr and "quit" in done.stderr
