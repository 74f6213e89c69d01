from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from fake_population import small

from purejax_mgtopo.config import flatten
from purejax_mgtopo.errors import RunError
from purejax_mgtopo.records import files, provenance, record, run_data
from purejax_mgtopo.records.metrics import LEADING, Evaluation
from purejax_mgtopo.records.record import RunRecord, Status

COLUMNS = {
    "return_sampled": np.array([1, np.nan, 3], np.float32),
    "return_greedy": np.array([4, 5, 6], np.float32),
    "train_return": np.array([7, 8, 9], np.float32),
    "edge_rate": np.array([0.1, 0.2, 0.3], np.float32),
    "critic_loss": np.array([0.5, 0.5, 0.5], np.float32),
}
FINITE = np.array([True, False, True])


def evaluation(episode: int, columns: dict, first_seed: int = 0, env_steps: int = 1) -> Evaluation:
    seeds = first_seed + np.arange(3, dtype=np.int32)
    return Evaluation(episode, env_steps, seeds, FINITE, columns)


def test_metrics_have_one_row_per_evaluation_and_seed(tmp_path: Path) -> None:
    config = small(first_seed=5)
    with RunRecord(tmp_path / "run", config, "mgtopo train") as run:
        empty = parquet.read_table(tmp_path / "run" / "metrics.parquet")
        assert empty.num_rows == 0  # readable from the first moment
        run.evaluation(evaluation(20, COLUMNS, 5, 1500))
        run.evaluation(evaluation(40, COLUMNS | {"return_sampled": np.zeros(3)}, 5, 2000))
        run.flush()
    table = parquet.read_table(tmp_path / "run" / "metrics.parquet")
    assert table.schema.remove_metadata() == pa.schema(
        [
            pa.field(name, kind, nullable=False)
            for name, kind in (
                ("episode", pa.int64()),
                ("env_steps", pa.int64()),
                ("seed", pa.int32()),
                ("return_sampled", pa.float32()),
                ("return_greedy", pa.float32()),
                ("train_return", pa.float32()),
                ("edge_rate", pa.float32()),
                ("critic_loss", pa.float32()),
                ("finite", pa.bool_()),
            )
        ]
    )
    assert table["episode"].to_pylist() == [20, 20, 20, 40, 40, 40]
    assert table["env_steps"].to_pylist() == [1500] * 3 + [2000] * 3
    assert table["seed"].to_pylist() == [5, 6, 7, 5, 6, 7]
    assert table["return_greedy"].to_pylist() == [4, 5, 6, 4, 5, 6]
    assert table["finite"].to_pylist() == [True, False, True] * 2
    assert json.loads(table.schema.metadata[b"config"])["seeds"] == 3

    data = run_data.load_run(tmp_path / "run")
    assert (data.experiment, data.means) == (config.experiment, config.means)
    np.testing.assert_array_equal(data.episodes, [20, 40])
    np.testing.assert_array_equal(data.seeds, [5, 6, 7])
    np.testing.assert_array_equal(data.return_sampled, [[1, 0], [np.nan, 0], [3, 0]])
    np.testing.assert_array_equal(data.finite, [[True] * 2, [False] * 2, [True] * 2])


def test_a_metric_of_the_wrong_shape_is_refused(tmp_path: Path) -> None:
    with RunRecord(tmp_path, small(), None) as run, pytest.raises(ValueError, match="must be"):
        run.evaluation(evaluation(20, COLUMNS | {"edge_rate": np.zeros(4)}))


def test_a_run_keeps_the_columns_that_it_began_with(tmp_path: Path) -> None:
    """As where a later version of the program, which measures more, goes on with it; less or otherwise is refused."""
    more = COLUMNS | {"edge_recall": np.zeros(3, np.float32)}
    with RunRecord(tmp_path, small(), None) as run:
        with pytest.raises(ValueError, match="columns changed"):
            run.evaluation(evaluation(20, {"edge_rate": np.zeros(3)}))
        run.evaluation(evaluation(20, COLUMNS))
        run.evaluation(evaluation(40, more))
        for wrong in ({"return_sampled": np.zeros(3)}, COLUMNS | {"edge_rate": np.zeros((3, 2))}):
            with pytest.raises(ValueError, match="columns changed"):
                run.evaluation(evaluation(60, wrong))
        run.flush()
    table = parquet.read_table(tmp_path / "metrics.parquet")
    assert table.column_names == ["episode", "env_steps", "seed", *COLUMNS, "finite"]
    assert table["episode"].to_pylist() == [20] * 3 + [40] * 3


def test_pairs_of_agents_keep_their_shape(tmp_path: Path) -> None:
    pairs = np.arange(12, dtype=np.float32).reshape(3, 2, 2)
    with RunRecord(tmp_path, small(), None) as run:
        run.evaluation(evaluation(20, COLUMNS | {"pair_rate": pairs}))
        run.evaluation(evaluation(40, COLUMNS | {"pair_rate": pairs + 100}))
        run.flush()
    table = parquet.read_table(tmp_path / "metrics.parquet")
    assert table["pair_rate"].to_pylist()[1] == [4, 5, 6, 7]  # row-major
    data = run_data.load_run(tmp_path)
    np.testing.assert_array_equal(data.pair_rate, np.stack([pairs, pairs + 100], axis=1))
    np.testing.assert_array_equal(data.column("critic_loss"), np.full((3, 2), 0.5))
    with pytest.raises(RunError, match="no column colour; there are return_sampled"):
        data.column("colour")


def test_a_run_before_its_first_evaluation_and_one_of_a_single_seed(tmp_path: Path) -> None:
    with RunRecord(tmp_path / "early", small(first_seed=5), None):
        data = run_data.load_run(tmp_path / "early")
    assert data.seeds.tolist() == [5, 6, 7] and data.seeds.dtype == np.int32
    assert data.episodes.shape == data.env_steps.shape == data.wall.shape == (0,)
    assert data.finite.shape == (3, 0) and np.isnan(data.seconds)
    assert {name: x.shape for name, x in data.columns.items()} == dict.fromkeys(LEADING, (3, 0))
    one = Evaluation(20, 9, np.array([4], np.int32), FINITE[:1], {n: FINITE[:1] for n in LEADING})
    with RunRecord(tmp_path / "one", small(first_seed=4, seeds=1), None) as run:
        run.evaluation(one)
    data = run_data.load_run(tmp_path / "one")
    assert (data.seeds.tolist(), data.episodes.tolist(), data.env_steps.tolist()) == (
        [4],
        [20],
        [9],
    )
    assert data.return_greedy.tolist() == [[1.0]]


def test_of_waves_under_way_the_furthest_seeds_are_shown(tmp_path: Path) -> None:
    with RunRecord(tmp_path, small(seeds=6), None) as run:
        for first_seed, episodes in ((0, (20, 40)), (3, (20,))):
            for episode in episodes:
                run.evaluation(evaluation(episode, COLUMNS, first_seed))
        run.flush()
        assert run_data.load_run(tmp_path).seeds.tolist() == [0, 1, 2]
        run.evaluation(evaluation(40, COLUMNS, 3))
        run.flush()
    data = run_data.load_run(tmp_path)
    assert data.seeds.tolist() == [0, 1, 2, 3, 4, 5]
    np.testing.assert_array_equal(data.train_return, np.tile([7, 8, 9], 2)[:, None] + [[0, 0]])


def test_processes_write_their_own_seeds_and_the_first_joins_them(tmp_path: Path) -> None:
    config = small(seeds=6)
    with (
        RunRecord(tmp_path, config, None, processes=2) as first,
        RunRecord(tmp_path, config, None, process=1, processes=2) as second,
    ):
        for episode in (20, 40):
            first.evaluation(evaluation(episode, COLUMNS, 0))
            second.evaluation(evaluation(episode, COLUMNS, 3))
        for run in (first, second):
            run.event("chunk", episode=40)
            run.flush()
        assert {path.name for path in tmp_path.iterdir()} >= {
            "metrics.parquet",
            "metrics.1.parquet",
            "events.jsonl",
            "events.1.jsonl",
        }
        apart = run_data.load_run(tmp_path)
        first.join()
    assert not (tmp_path / "metrics.1.parquet").exists()
    table = parquet.read_table(tmp_path / "metrics.parquet")
    assert table["seed"].to_pylist() == [0, 1, 2, 3, 4, 5] * 2
    joined = run_data.load_run(tmp_path)
    assert apart.seeds.tolist() == joined.seeds.tolist() == [0, 1, 2, 3, 4, 5]
    np.testing.assert_array_equal(apart.return_sampled, joined.return_sampled)


def test_a_kill_while_tables_are_joined_counts_no_seed_twice(tmp_path: Path) -> None:
    config = small(seeds=6)
    with (
        RunRecord(tmp_path, config, None, processes=2) as first,
        RunRecord(tmp_path, config, None, process=1, processes=2) as second,
    ):
        for episode in (20, 40):
            first.evaluation(evaluation(episode, COLUMNS, 0))
            second.evaluation(evaluation(episode, COLUMNS, 3))
        for run in (first, second):
            run.flush()
        left = (tmp_path / "metrics.1.parquet").read_bytes()
        first.join()
    (tmp_path / "metrics.1.parquet").write_bytes(left)
    data = run_data.load_run(tmp_path)
    assert data.seeds.tolist() == [0, 1, 2, 3, 4, 5] and data.episodes.tolist() == [20, 40]
    with RunRecord(tmp_path, config, None, resume=True):
        pass
    table = parquet.read_table(tmp_path / "metrics.parquet")
    assert table["seed"].to_pylist() == [0, 1, 2, 3, 4, 5] * 2


def test_config_says_where_the_run_came_from(tmp_path: Path) -> None:
    with RunRecord(tmp_path / "a" / "run", small(), "mgtopo train --seeds 3"):
        pass
    document = json.loads((tmp_path / "a" / "run" / "config.json").read_text())
    assert document["command"] == "mgtopo train --seeds 3"
    assert document["format"] == 2
    assert document["settings"]["learner.hidden"] == 128
    assert "config" not in document  # the settings stand there once
    assert document["versions"]["numpy"] == np.__version__
    assert {"python", "jax", "jaxlib", "flax", "optax", "jumanji", "purejax_mgtopo"} <= set(
        document["versions"]
    )
    assert {"device", "git", "started"} <= set(document)
    assert record.read_config(tmp_path / "a" / "run") == small()


def test_no_environment_names_another_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a hook of somebody else's repository."""
    package = Path(provenance.__file__).parents[1]
    ours = provenance.git(package)
    if ours is None:
        pytest.skip("not a checkout")
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    monkeypatch.setenv("GIT_DIR", str(tmp_path / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(tmp_path))
    assert provenance.git(package) == ours


def test_an_older_runs_eta_had_the_gates_rmsprop(tmp_path: Path) -> None:
    settings = {"gates.rms_decay": 0.5}
    (tmp_path / "config.json").write_text(json.dumps({"settings": settings}))
    meta = record.read_config(tmp_path).experiment.meta
    assert (meta.rms_decay, meta.rms_epsilon) == (0.5, 1e-8)


def test_the_older_config_file_is_still_read(tmp_path: Path) -> None:
    """Format 1 held the settings twice, and knew no critic."""
    settings = flatten(small(seeds=5, devices=2))
    del settings["critic"]
    document = {"format": 1, "config": {"seeds": 5}, "settings": settings}
    (tmp_path / "config.json").write_text(json.dumps(document))
    assert record.read_config(tmp_path) == small(seeds=5, devices=2)


def test_events_are_strict_json_and_survive_a_torn_line(tmp_path: Path) -> None:
    with RunRecord(tmp_path, small(), None) as run:
        run.event("chunk", value=float("nan"), count=np.int64(3), nested=[np.float32("inf")])
    with open(tmp_path / "events.jsonl", "a") as file:
        file.write('{"event": "chu')
    assert "NaN" not in (tmp_path / "events.jsonl").read_text()
    start, chunk = record.read_events(tmp_path)
    assert start["event"] == "start"
    assert (chunk["value"], chunk["count"], chunk["nested"]) == (None, 3, [None])


def test_results_are_never_overwritten(tmp_path: Path) -> None:
    with RunRecord(tmp_path, small(), None) as run:
        run.event("end")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with (
        pytest.raises(RunError, match="already holds a finished run; choose another folder, or"),
        RunRecord(tmp_path, small(seeds=1), None),
    ):
        pass
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_status_tells_absent_running_interrupted_and_finished(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert record.status(folder) is Status.ABSENT
    with RunRecord(folder, small(), None) as run:
        assert record.status(folder) is Status.RUNNING
        with pytest.raises(RunError, match="in progress"), RunRecord(folder, small(), None):
            pass
    assert record.status(folder) is Status.UNFINISHED
    with pytest.raises(RunError, match="mgtopo resume"), RunRecord(folder, small(), None):
        pass
    with RunRecord(folder, small(), None, resume=True) as run:
        assert record.status(folder) is Status.RUNNING
        run.event("end")
        assert record.status(folder) is Status.FINISHED


def _die_holding(folder: Path) -> None:
    RunRecord(folder, small(), None).__enter__()
    os._exit(9)


def test_a_killed_process_leaves_no_lock(tmp_path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=_die_holding, args=(tmp_path,))
    process.start()
    process.join(30)
    assert process.exitcode == 9
    assert record.status(tmp_path) is Status.UNFINISHED


def test_a_folder_that_cannot_be_written_gets_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with (
        pytest.raises(RunError, match="cannot write to .*file"),
        RunRecord(tmp_path / "file" / "run", small(), None),
    ):
        pass


def test_a_reader_sees_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "metrics.parquet"
    files.write_atomically(path, b"old")
    with open(path, "rb") as reader:
        files.write_atomically(path, b"newer")
        assert reader.read() == b"old"
    assert path.read_bytes() == b"newer"


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "metrics.parquet"
    files.write_atomically(path, b"old")

    def full_disk(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        files.write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [item.name for item in tmp_path.iterdir()] == ["metrics.parquet"]


def test_a_folder_that_is_not_a_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is not a run"):
        run_data.load_run(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(RunError, match="cannot be read"):
        record.read_config(tmp_path)
