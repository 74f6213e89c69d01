from __future__ import annotations

import json
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import pytest
from fake_population import FakePopulation, FakeStore, Notes, small
from fake_runs import pressing, resume, train

from purejax_mgtopo.config import Config
from purejax_mgtopo.errors import ConfigError, RunError
from purejax_mgtopo.records import record, run_data
from purejax_mgtopo.records.record import Status
from purejax_mgtopo.training import run as runner

ROOT = Path(__file__).parents[2]


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


def test_a_run_too_short_for_an_evaluation_on_the_way_has_its_last(tmp_path: Path) -> None:
    config = small(episodes=10)
    reporter = Notes()
    result = train(config, tmp_path, reporter=reporter, population=FakePopulation)
    assert result.figure is not None and reporter.notes == []
    assert run_data.load_run(tmp_path).episodes.tolist() == [10]
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

    with pytest.raises(RunError, match=r"3 seeds at a time; `mgtopo fit`.*lanes=1"):
        train(
            small(),
            tmp_path,
            reporter=Notes(),
            population=lambda config: FakePopulation(config, before_chunk=fail),
        )
