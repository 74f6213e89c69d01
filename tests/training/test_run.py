from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as parquet
import pytest
import stand_ins
from fake_population import FakePopulation, FakeStore, Killed, Notes, State, small

from purejax_mgtopo.config import CheckpointConfig, Config, EvaluationConfig
from purejax_mgtopo.errors import ConfigError, RunError
from purejax_mgtopo.records import record, run_data
from purejax_mgtopo.records.record import Status
from purejax_mgtopo.training import run as runner
from purejax_mgtopo.training import sweep as sweeps
from purejax_mgtopo.training.recipe import Setting, parse_recipe
from purejax_mgtopo.training.run import RunResult

STORE = FakeStore({})
ROOT = Path(__file__).parents[2]


def train(*args: Any, **options: Any) -> RunResult:
    return stand_ins.train(*args, **{"store": STORE} | options)


def resume(*args: Any, **options: Any) -> RunResult:
    return stand_ins.resume(*args, **{"store": STORE} | options)


def sweep(*args: Any, **options: Any) -> sweeps.SweepResult:
    return stand_ins.sweep(*args, **{"store": STORE} | options)


def test_a_run_leaves_complete_records(tmp_path: Path) -> None:
    reporter = Notes()
    result = train(small(), tmp_path / "run", reporter=reporter, population=FakePopulation)
    assert (result.episode, result.interrupted, result.non_finite) == (40, False, 0)
    assert result.figure is not None
    assert result.figure.read_bytes()[:4] == b"\x89PNG"
    assert reporter.notes == []
    assert [tick.episode for tick in reporter.ticks] == [10, 20, 30, 40]

    events = list(record.read_events(tmp_path / "run"))
    assert [event["event"] for event in events] == [
        "start",
        "initialised",
        "chunk",
        "chunk",
        "evaluation",
        "chunk",
        "chunk",
        "evaluation",
        "checkpoint",
        "end",
    ]
    chunk = events[2]
    assert (chunk["episode"], chunk["env_steps"], chunk["non_finite"]) == (10, 25 * 50, 0)
    assert chunk["train_return"] == pytest.approx(np.mean([0, 1, 2]) - 10 + 0.1 - 1)
    assert chunk["episodes_per_second"] > 0

    table = parquet.read_table(tmp_path / "run" / "metrics.parquet").to_pydict()
    assert table["episode"] == [20] * 3 + [40] * 3
    np.testing.assert_allclose(table["return_sampled"][:3], [-9.8, -8.8, -7.8], rtol=1e-6)
    # Training columns are means over both chunks since the last evaluation.
    np.testing.assert_allclose(table["train_return"][:3], [-10.85, -9.85, -8.85], rtol=1e-6)
    assert table["edge_rate"] == [0.25] * 6  # the evaluation's, not the training's
    assert table["train_edge_rate"] == [0.75] * 6
    assert table["edge_rate_greedy"] == [0.5] * 6
    assert "edge_rate_sampled" not in table
    assert table["critic_loss"] == [2] * 6


def test_speed_leaves_out_the_compilation(tmp_path: Path) -> None:
    def compile_first(chunk: int) -> None:
        time.sleep(0.5 if chunk == 0 else 0.01)

    reporter = Notes()
    train(
        small(),
        tmp_path,
        reporter=reporter,
        population=lambda config: FakePopulation(config, before_chunk=compile_first),
    )
    assert np.isnan(reporter.ticks[0].rate)
    assert np.isnan(reporter.ticks[0].seconds_left)
    assert reporter.ticks[-1].rate > 30 * 3 / 0.5  # ten episodes of three seeds in some 10 ms
    assert reporter.ticks[-1].seconds_left == 0


def test_a_broken_seed_is_counted_and_kept_out_of_means(tmp_path: Path) -> None:
    reporter = Notes()
    result = train(
        small(),
        tmp_path,
        reporter=reporter,
        population=lambda config: FakePopulation(config, broken_seed=1),
    )
    assert result.non_finite == 1
    assert result.figure is not None
    assert reporter.ticks[-1].non_finite == 1
    assert reporter.ticks[-1].train_return == pytest.approx(np.mean([0, 2]) - 10 + 0.4 - 1)
    assert parquet.read_table(tmp_path / "metrics.parquet")["finite"].to_pylist()[:3] == [
        True,
        False,
        True,
    ]


def test_a_run_in_the_way_is_refused_before_anything_is_built(tmp_path: Path) -> None:
    train(small(), tmp_path, reporter=Notes(), population=FakePopulation)

    def never(config: Config) -> FakePopulation:
        raise AssertionError("built")

    with pytest.raises(RunError, match="already holds a finished run"):
        train(small(), tmp_path, reporter=Notes(), population=never)


def test_an_unknown_task_is_a_config_error_and_leaves_no_folder(tmp_path: Path) -> None:
    def refuse(config: Config) -> FakePopulation:
        raise ValueError("unknown task 'nav'")

    with pytest.raises(ConfigError, match="unknown task"):
        train(small(), tmp_path / "run", reporter=Notes(), population=refuse)
    assert not (tmp_path / "run").exists()


def test_a_failure_is_recorded(tmp_path: Path) -> None:
    def fail(chunk: int) -> None:
        if chunk == 3:
            raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        train(
            small(),
            tmp_path,
            reporter=Notes(),
            population=lambda config: FakePopulation(config, before_chunk=fail),
        )
    last = list(record.read_events(tmp_path))[-1]
    assert (last["event"], last["episode"]) == ("failed", 30)
    assert "out of memory" in last["error"]
    assert record.status(tmp_path) is Status.UNFINISHED
    assert len(run_data.load_run(tmp_path).episodes) == 1  # the first evaluation is kept


def _press(chunk: int) -> None:
    if chunk == 2:
        os.kill(os.getpid(), signal.SIGINT)


def pressing(config: Config) -> FakePopulation:
    return FakePopulation(config, before_chunk=_press)


def test_ctrl_c_ends_after_the_chunk_with_records_complete(tmp_path: Path) -> None:
    reporter, before = Notes(), signal.getsignal(signal.SIGINT)
    result = train(small(), tmp_path, reporter=reporter, population=pressing)
    assert (result.interrupted, result.episode, result.figure) == (True, 30, None)
    assert list(record.read_events(tmp_path))[-1]["event"] == "interrupted"
    assert record.status(tmp_path) is Status.UNFINISHED
    assert len(run_data.load_run(tmp_path).episodes) == 1
    assert signal.getsignal(signal.SIGINT) is before
    assert reporter.notes == [
        "stopping after this chunk, to be resumed; press Ctrl-C again to quit at once"
    ]


def test_a_second_ctrl_c_quits_even_out_of_a_stuck_program(tmp_path: Path) -> None:
    script = textwrap.dedent(f"""
        import ctypes, sys
        from pathlib import Path
        sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "tests" / "support")!r}]
        from fake_population import FakePopulation, small
        from fake_population import FakeStore
        from stand_ins import train

        def stuck(chunk):
            if chunk == 2:
                print("stuck", flush=True)
                mutex = ctypes.create_string_buffer(64)
                libc = ctypes.CDLL(None)
                libc.pthread_mutex_lock(mutex)
                libc.pthread_mutex_lock(mutex)  # as a deadlocked XLA: in C, deaf to signals
        train(small(), Path({str(tmp_path / "run")!r}), store=FakeStore({{}}),
              population=lambda config: FakePopulation(config, before_chunk=stuck))
    """)
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "stuck\n"
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, shown = process.communicate(timeout=10)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "press Ctrl-C again" in shown
    assert "quit at episode 20" in shown
    assert len(run_data.load_run(tmp_path / "run").episodes) == 1


RECIPE = {
    "question": "Which?",
    "tasks": ["toy_public"],
    "methods": ["none", "meta"],
    "seeds": 3,
    "config": {"episodes": 40, "chunk_episodes": 10, "evaluation": {"every": 20}},
}


def test_a_sweep_runs_all_and_a_second_call_skips_what_is_finished(tmp_path: Path) -> None:
    recipe = parse_recipe(RECIPE, tmp_path / "recipe.toml")
    reporter, built = Notes(), []

    def build(config: Config) -> FakePopulation:
        built.append(config.experiment.method)
        return FakePopulation(config)

    first = sweep(recipe, reporter=reporter, population=build)
    assert built == ["none", "meta"]
    assert first.folder == tmp_path / "results"
    assert first.figure == tmp_path / "results" / "figures" / "curves.png"
    assert first.figure.exists()
    summary = first.summaries[1]
    assert (summary.task, summary.method, summary.finite) == ("toy_public", "meta", 3)
    assert summary.final_return.point == pytest.approx(-8.6)
    assert summary.final_return.low <= -8.6 <= summary.final_return.high
    assert summary.edge_rate == pytest.approx(0.25)
    assert summary.minutes > 0

    again = sweep(recipe, reporter=reporter, population=build)
    assert built == ["none", "meta"]
    assert again.summaries == first.summaries
    assert sum("already finished" in note for note in reporter.notes) == 2


def test_a_sweep_refuses_other_settings_before_it_starts(tmp_path: Path) -> None:
    recipe = parse_recipe(RECIPE | {"methods": ["meta"]}, tmp_path / "recipe.toml")
    sweep(recipe, reporter=Notes(), population=FakePopulation)
    wider = parse_recipe(RECIPE, tmp_path / "recipe.toml")
    built: list[Config] = []
    changes = [Setting("seeds", 2), Setting("learner.hidden", 64)]
    with pytest.raises(RunError, match=r"seeds 3 -> 2; learner.hidden 128 -> 64; .*--out"):
        sweep(
            wider,
            changes=changes,
            reporter=Notes(),
            population=lambda config: built.append(config) or FakePopulation(config),  # type: ignore[func-returns-value]
        )
    assert built == []
    other = sweep(
        wider,
        tmp_path / "other",
        changes=changes,
        reporter=Notes(),
        population=FakePopulation,
    )
    assert [summary.seeds for summary in other.summaries] == [2, 2]


def test_an_interrupted_sweep_goes_on_where_it_stopped(tmp_path: Path) -> None:
    recipe = parse_recipe(RECIPE, tmp_path / "recipe.toml")

    def second_is_pressed(config: Config) -> FakePopulation:
        return pressing(config) if config.experiment.method == "meta" else FakePopulation(config)

    stopped = sweep(recipe, reporter=Notes(), population=second_is_pressed)
    assert stopped.interrupted is not None
    assert [summary.method for summary in stopped.summaries] == ["none"]
    reporter = Notes()
    whole = sweep(recipe, reporter=reporter, population=FakePopulation)
    assert whole.interrupted is None
    assert [summary.method for summary in whole.summaries] == ["none", "meta"]
    assert "toy_public/meta: going on from episode 30" in reporter.notes
    assert [tick.episode for tick in reporter.ticks] == [40]


def test_a_sweep_refuses_an_interrupted_run_with_other_settings(tmp_path: Path) -> None:
    recipe = parse_recipe(RECIPE | {"methods": ["meta"]}, tmp_path / "recipe.toml")
    sweep(recipe, reporter=Notes(), population=pressing)
    changes = [Setting("learner.hidden", 64)]
    with pytest.raises(
        RunError, match=r"interrupted with other settings: learner.hidden 128 -> 64"
    ):
        sweep(recipe, changes=changes, reporter=Notes(), population=FakePopulation)


def test_a_run_too_short_for_an_evaluation_has_records_but_no_picture(tmp_path: Path) -> None:
    config = small(episodes=10)
    reporter = Notes()
    result = train(config, tmp_path, reporter=reporter, population=FakePopulation)
    assert result.figure is None
    assert reporter.notes == [
        "no picture: no evaluation came within 10 episodes; evaluation.every is 20"
    ]
    assert run_data.load_run(tmp_path).episodes.shape == (0,)
    assert json.loads((tmp_path / "config.json").read_text())["settings"]["episodes"] == 10


def test_a_picture_that_fails_costs_a_line_and_not_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ImportError("no matplotlib")

    monkeypatch.setattr("purejax_mgtopo.analysis.curves.draw_curves", fail)
    reporter = Notes()
    result = train(small(), tmp_path, reporter=reporter, population=FakePopulation)
    assert result.figure is None
    assert reporter.notes == ["no picture: ImportError: no matplotlib"]
    assert record.status(tmp_path) is Status.FINISHED


def rows(folder: Path) -> bytes:
    return (folder / "metrics.parquet").read_bytes()


def told(folder: Path) -> list[tuple]:
    """What happened, without the times at which it did, and without the words about interruptions."""
    dull = ("time", "seconds", "wall", "episodes_per_second")
    return [
        tuple((key, value) for key, value in event.items() if key not in dull)
        for event in record.read_events(folder)
        if event["event"] in ("chunk", "evaluation", "end")
    ]


@pytest.mark.parametrize("lanes", [0, 2])
@pytest.mark.parametrize("at", range(1, 8))
def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path: Path, lanes: int, at: int) -> None:
    """Wherever it is killed, with one wave or two; a checkpoint after every chunk."""
    config = small(checkpoint=CheckpointConfig(minutes=0))

    def whole(config: Config) -> FakePopulation:
        return FakePopulation(config, lanes=lanes)

    def killed(config: Config) -> FakePopulation:
        def kill(chunk: int) -> None:
            if chunk == at:
                raise Killed

        return FakePopulation(config, before_chunk=kill, lanes=lanes)

    expected = train(config, tmp_path / "a", reporter=Notes(), population=whole)
    if at < 4 * (1 if lanes == 0 else 2):
        with pytest.raises(Killed):
            train(config, tmp_path / "b", reporter=Notes(), population=killed)
        assert record.status(tmp_path / "b") is Status.UNFINISHED
        with open(tmp_path / "b" / "events.jsonl", "a") as events:
            events.write('{"event": "chunk", "epis')  # the kill came within a line
        again = resume(tmp_path / "b", reporter=Notes(), population=whole)
        assert (again.episode, again.interrupted) == (expected.episode, False)
        assert rows(tmp_path / "a") == rows(tmp_path / "b")
        assert told(tmp_path / "a") == told(tmp_path / "b")


def test_a_wave_evaluated_once_is_resumed_though_its_checkpoint_never_came(tmp_path: Path) -> None:
    """Killed after wave 2 of 3 was evaluated, when the table held neighbouring seeds at one episode."""
    config = small(lanes=1, evaluation=EvaluationConfig(every=40, episodes=2))
    whole = partial(FakePopulation, lanes=1)
    store = FakeStore({})

    class Deadly(FakeStore):
        def save(self, state: State, score: float) -> None:
            if self.folder.name == "wave_1":
                raise Killed
            super().save(state, score)

    train(config, tmp_path / "a", reporter=Notes(), population=whole, store=store)
    with pytest.raises(Killed):
        train(config, tmp_path / "b", reporter=Notes(), population=whole, store=Deadly(store.kept))
    assert resume(tmp_path / "b", reporter=Notes(), population=whole, store=store).episode == 120
    assert (tmp_path / "a/metrics.parquet").read_bytes() == (
        tmp_path / "b/metrics.parquet"
    ).read_bytes()
    assert told(tmp_path / "a") == told(tmp_path / "b")


def test_a_checkpoint_that_is_due_waits_for_no_evaluation(tmp_path: Path) -> None:
    """It counts as good as the evaluation before it."""
    config = small(
        evaluation=EvaluationConfig(every=20, episodes=2), checkpoint=CheckpointConfig(minutes=0)
    )
    store = FakeStore({})
    train(config, tmp_path / "a", reporter=Notes(), population=FakePopulation, store=store)
    assert list(store.kept[tmp_path / "a/checkpoints/wave_0"]) == [10, 20, 30, 40]
    first, *rest = store.scores
    assert math.isnan(first) and rest[0] == rest[1] < rest[2]


def test_one_process_trains_one_run_at_a_time(tmp_path: Path) -> None:
    """Another thread's second run is refused in one line, and leaves nothing."""

    def second(chunk: int) -> None:
        with ThreadPoolExecutor(1) as other, pytest.raises(RunError, match="one at a time"):
            other.submit(runner.train, small().experiment, tmp_path / "b").result()

    train(
        small(),
        tmp_path / "a",
        reporter=Notes(),
        population=lambda config: FakePopulation(config, before_chunk=second),
    )
    assert record.status(tmp_path / "a") is Status.FINISHED and not (tmp_path / "b").exists()


def test_without_a_checkpoint_a_run_is_resumed_from_the_start(tmp_path: Path) -> None:
    def kill(chunk: int) -> None:
        if chunk == 3:
            raise Killed

    train(small(), tmp_path / "a", reporter=Notes(), population=FakePopulation)
    with pytest.raises(Killed):
        train(
            small(),
            tmp_path / "b",
            reporter=Notes(),
            population=lambda config: FakePopulation(config, before_chunk=kill),
        )
    reporter = Notes()
    resume(tmp_path / "b", reporter=reporter, population=FakePopulation)
    assert reporter.notes == ["toy_follow_holder/meta: going on from the start"]
    assert rows(tmp_path / "a") == rows(tmp_path / "b")
    assert told(tmp_path / "a") == told(tmp_path / "b")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_what_a_scheduler_sends_ends_a_run_to_be_resumed(tmp_path: Path, number: int) -> None:
    def send(chunk: int) -> None:
        if chunk == 2:
            os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    stopped = train(
        small(),
        tmp_path / "b",
        reporter=Notes(),
        population=lambda config: FakePopulation(config, before_chunk=send),
    )
    assert stopped.stopped_by == number
    assert stopped.episode == 30
    assert signal.getsignal(number) is before
    resume(tmp_path / "b", reporter=Notes(), population=FakePopulation)
    train(small(), tmp_path / "a", reporter=Notes(), population=FakePopulation)
    assert rows(tmp_path / "a") == rows(tmp_path / "b")


def test_resuming_refuses_what_it_cannot_resume(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="not a run"):
        resume(tmp_path / "nothing", reporter=Notes(), population=FakePopulation)
    train(small(), tmp_path / "a", reporter=Notes(), population=FakePopulation)
    with pytest.raises(RunError, match="nothing to resume"):
        resume(tmp_path / "a", reporter=Notes(), population=FakePopulation)


def test_a_checkpoint_that_cannot_be_written_ends_the_run_or_not_as_wished(tmp_path: Path) -> None:
    full = FakeStore({}, full=True)
    config = small(checkpoint=CheckpointConfig(minutes=0))
    with pytest.raises(RunError, match=r"No space left.*mgtopo resume"):
        train(
            config,
            tmp_path / "a",
            reporter=Notes(),
            population=FakePopulation,
            store=full,
        )
    chunks = [e["episode"] for e in record.read_events(tmp_path / "a") if e["event"] == "chunk"]
    assert chunks == [10]
    reporter = Notes()
    brave = small(checkpoint=CheckpointConfig(minutes=0, on_error="continue"))
    done = train(
        brave,
        tmp_path / "b",
        reporter=reporter,
        population=FakePopulation,
        store=full,
    )
    assert not done.interrupted
    assert sum("No space left" in note for note in reporter.notes) == 4


def test_a_broken_seed_never_makes_a_checkpoint_the_best(tmp_path: Path) -> None:
    store = FakeStore({})
    train(
        small(seeds=1),
        tmp_path,
        reporter=Notes(),
        population=lambda config: FakePopulation(config, broken_seed=0),
        store=store,
    )
    assert store.scores == [-np.inf]


def test_another_machine_is_announced(tmp_path: Path) -> None:
    store = FakeStore({}, bitwise=False)
    train(small(), tmp_path, reporter=Notes(), population=pressing, store=store)
    reporter = Notes()
    resume(tmp_path, reporter=reporter, population=FakePopulation, store=store)
    assert any("to rounding, not bit for bit" in note for note in reporter.notes)


def test_out_of_memory_says_what_to_do(tmp_path: Path) -> None:
    def fail(chunk: int) -> None:
        raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate")

    with pytest.raises(RunError, match=r"3 seeds at a time; `mgtopo fit`.*--lanes 1"):
        train(
            small(),
            tmp_path,
            reporter=Notes(),
            population=lambda config: FakePopulation(config, before_chunk=fail),
        )


class DyingStore(FakeStore):
    """Killed as the second wave is saved."""

    def save(self, state: State, score: float) -> None:
        if self.folder.name == "wave_1":
            raise Killed
        super().save(state, score)


def test_killed_between_the_last_evaluation_of_a_later_wave_and_its_checkpoint(
    tmp_path: Path,
) -> None:
    """Evaluations of neighbouring waves at the same episode are two, not one of all their seeds."""
    config = small(lanes=1, evaluation=EvaluationConfig(every=40, episodes=2))

    def in_waves(config: Config) -> FakePopulation:
        return FakePopulation(config, lanes=1)

    train(config, tmp_path / "whole", population=in_waves, store=FakeStore({}), reporter=Notes())
    cut, kept = tmp_path / "cut", {}
    with pytest.raises(Killed):
        train(config, cut, population=in_waves, store=DyingStore(kept), reporter=Notes())
    resume(cut, population=in_waves, store=FakeStore(kept), reporter=Notes())
    assert rows(cut) == rows(tmp_path / "whole")
    assert told(cut) == told(tmp_path / "whole")
