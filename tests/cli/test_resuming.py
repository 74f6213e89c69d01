"""`mgtopo resume` of a sweep's results: run after run, as the sweep itself shows them."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from fake_population import FakePopulation, FakeStore, small
from stand_ins import stand_ins, train

from purejax_mgtopo.cli import running
from purejax_mgtopo.cli.main import main
from purejax_mgtopo.config import Config
from purejax_mgtopo.records.locks import lock
from purejax_mgtopo.records.record import Status, read_config, status
from purejax_mgtopo.records.run_data import load_run
from purejax_mgtopo.training.progress import SilentReporter

Make = Callable[[Config], FakePopulation]


def stopping(chunk: int, number: int = signal.SIGINT) -> Make:
    """A program that is asked to stop while it computes a chunk, of four."""

    def ask(now: int) -> None:
        if now == chunk:
            os.kill(os.getpid(), number)

    return lambda config: FakePopulation(config, before_chunk=ask)


def dead(config: Config) -> FakePopulation:
    return FakePopulation(config, broken_seed=config.experiment.first_seed)


@pytest.fixture
def study(tmp_path: Path, no_jax: None) -> Iterator[Callable[..., Path]]:
    """Makes a run of one seed by a program, in the same folder as others; checkpoints are kept in memory."""
    store = FakeStore({})

    def make(name: str, population: Make = FakePopulation, **changes: object) -> Path:
        config = small(seeds=1, wandb="off", **changes)
        options = {"reporter": SilentReporter(), "population": population}
        return train(config, tmp_path / "study" / name, **options).folder

    with stand_ins(store=store):
        yield make


def resumed(folder: Path, *words: str, population: Make = FakePopulation) -> int:
    with stand_ins(population=population):
        return main(["resume", "--no-cache", str(folder), *words])


@pytest.mark.usefixtures("no_jax")
def test_a_sweep_is_extended_with_a_total_and_its_picture_is_drawn_again(
    recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = recipe / "results"
    with stand_ins(population=FakePopulation, store=FakeStore({})):
        assert main(["sweep", str(recipe), "--wandb", "off", "--no-cache"]) == 0
        picture = results / "figures" / "curves.png"
        before = picture.read_bytes()
        for method in ("none", "meta"):  # what a store that is no fake leaves on disk
            (results / "toy_public" / method / "checkpoints" / "wave_0" / "40").mkdir(parents=True)
        capsys.readouterr()
        assert main(["resume", str(results), "--episodes", "80", "--no-cache"]) == 0
    shown = capsys.readouterr()
    assert "run 1 of 2" in shown.err and "run 2 of 2" in shown.err
    assert "80/80" in shown.err and "/40" not in shown.err
    assert f"picture  {picture}" in shown.out
    assert picture.read_bytes() != before
    for method in ("none", "meta"):
        run = results / "toy_public" / method
        assert read_config(run).experiment.episodes == 80
        assert load_run(run).episodes[-1] == 80


def test_a_run_whose_seeds_were_all_lost_keeps_nobody_from_the_others(
    study: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """Given up before, lost as it is gone on with, or finished without a finite seed: each is told at every call."""
    lost, half = study("a_lost", dead), study("b_half", stopping(1))
    for call in range(2):
        assert resumed(lost.parent) == 1
        shown = capsys.readouterr().err
        assert f"{lost}: no seed of it stayed finite; left as it is" in shown
        assert f"no seed stayed finite in {lost}; begin again" in shown.splitlines()[-1]
        assert ("going on from" in shown) == (call == 0)
        assert status(half) is Status.FINISHED
    fading, last = study("c_half", stopping(0)), study("d_half", stopping(2))
    for call in range(2):
        assert resumed(lost.parent, population=dead) == 1
        shown = capsys.readouterr().err
        assert f"no seed stayed finite in {lost}, {fading}, {last};" in shown.splitlines()[-1]
        assert shown.count("going on from") == 2 * (call == 0)
    assert [status(run) for run in (fading, last)] == [Status.UNFINISHED, Status.FINISHED]


@pytest.mark.usefixtures("no_jax")
def test_runs_that_were_never_begun_are_told_of(
    recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = recipe / "results"
    words = ["sweep", str(recipe), "--wandb", "off", "--no-cache"]
    with stand_ins(population=stopping(1)):
        assert main(words) == running.INTERRUPTED
    capsys.readouterr()
    told = f"1 of the 2 runs in {results} have not been begun: `mgtopo sweep RECIPE --out {results}` begins them"
    for finished in (0, 1):
        assert resumed(recipe) == 1
        shown = capsys.readouterr().err
        assert told in shown.splitlines()[-1]
        assert ("there is nothing to resume" in shown) == bool(finished)
        assert status(results / "toy_public" / "none") is Status.FINISHED
    with stand_ins(population=FakePopulation):
        assert main(words) == 0
    capsys.readouterr()
    assert resumed(recipe) == 1
    assert "begun:" not in capsys.readouterr().err


@pytest.mark.usefixtures("no_jax")
def test_runs_that_nobody_asked_for_are_not_missed(
    recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = recipe / "results"
    words = ["sweep", str(recipe), "--wandb", "off", "--no-cache", "--methods"]
    with stand_ins(population=stopping(0)):
        assert main([*words, "none"]) == running.INTERRUPTED
    capsys.readouterr()
    assert resumed(recipe) == 0
    assert "begun" not in capsys.readouterr().err
    with stand_ins(population=FakePopulation):
        assert main([*words, "meta"]) == 0  # another part: both have been asked for now
    shutil.rmtree(results / "toy_public" / "none")
    capsys.readouterr()
    assert resumed(recipe) == 1
    assert f"1 of the 2 runs in {results} have not been begun" in capsys.readouterr().err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_a_request_to_stop_in_the_last_chunk_of_a_run_ends_it_before_the_next(
    number: int, code: int, study: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = study("x", stopping(1)), study("y", stopping(1))
    assert resumed(first.parent, population=stopping(3, number)) == code
    assert [status(run) for run in (first, second)] == [Status.FINISHED, Status.UNFINISHED]
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == "mgtopo: stopped between two runs; go on by calling the same again"
    # In that of the last one, nothing is left to do.
    assert resumed(first.parent, population=stopping(3, number)) == 0
    assert status(second) is Status.FINISHED
    assert "stopped between" not in capsys.readouterr().err


def test_a_run_that_another_goes_on_with_is_left_to_it(
    study: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = study("x", stopping(1)), study("y", stopping(1))
    with ExitStack() as held:
        assert held.enter_context(lock(first / ".lock"))
        assert resumed(first.parent) == 1
    shown = capsys.readouterr().err
    assert f"{first} is in use by another mgtopo" in shown.splitlines()[-1]
    assert [status(run) for run in (first, second)] == [Status.UNFINISHED, Status.FINISHED]


def test_a_run_that_another_has_finished_meanwhile_is_kept(
    study: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = study("x", stopping(1)), study("y", stopping(1))
    finished = study("z")

    def comes_by(config: Config) -> FakePopulation:
        second.rename(second.parent.parent / "aside")
        finished.rename(second)
        return FakePopulation(config)

    finished = finished.rename(finished.parent.parent / "z")
    assert resumed(first.parent, population=comes_by) == 0
    assert f"{second}: finished meanwhile, and kept" in capsys.readouterr().err


def test_the_mirror_may_be_another_from_now_on(study: Callable[..., Path]) -> None:
    run, mirrored = study("x", stopping(0), episodes=60), []

    def mirror(folder: Path, config: Config, say: object) -> None:
        mirrored.append(config.means.wandb)

    with stand_ins(mirror=mirror):
        assert resumed(run, "--wandb", "offline", population=stopping(2)) == 130
        assert resumed(run) == 0
    assert mirrored == ["offline", "offline"]
    assert read_config(run).means.wandb == "offline"
