"""Real offline W&B runs, read back from the files that W&B writes, against our records."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as parquet
import pytest
import stand_ins
from fake_population import FakePopulation, Notes, small
from mirrored import (
    OFFLINE,
    RECIPE,
    ROOT,
    DiskStore,
    FromTheStart,
    Paired,
    Recorded,
    check_equals_records,
    program,
    resume,
    train,
    without_wandb,
)
from PIL import Image
from wandb_files import offline_runs, read_run, values

from purejax_mgtopo.cli.main import main
from purejax_mgtopo.config import CheckpointConfig, Config
from purejax_mgtopo.mirror.mirror import WandbMirror
from purejax_mgtopo.records import record, run_data
from purejax_mgtopo.training.recipe import parse_recipe

pytestmark = pytest.mark.usefixtures("no_environment")


def test_a_sweep_is_mirrored_run_by_run(tmp_path: Path) -> None:
    home = tmp_path / "which_edges"
    recipe = parse_recipe(RECIPE, home / "recipe.toml")

    def build(config: Config) -> FakePopulation:
        return Paired(config, broken_seed=4 if config.experiment.method == "meta" else None)

    notes = Notes()
    stand_ins.sweep(recipe, reporter=notes, population=build, store=DiskStore({}))
    assert notes.notes == []
    for method in ("none", "meta"):
        folder = home / "results" / "toy_public" / method
        run = program(folder)
        check_equals_records(folder, run)
        assert (run.name, run.group, run.job_type) == (
            f"toy_public/{method}",
            "which_edges",
            method,
        )
        assert (run.project, run.exit_code) == ("purejax_mgtopo", 0)
        assert "toy_public" in run.tags
        described = json.loads((folder / "config.json").read_text())
        flat = {f"learner.{name}": value for name, value in run.config["learner"].items()}
        assert flat.items() <= described["settings"].items() and len(flat) > 5
        assert run.config["checkpoint"]["keep"] == described["settings"]["checkpoint.keep"]
        assert run.config["versions"] == described["versions"]
        assert run.commit == (described["git"] or {"commit": ""})["commit"]
        assert run.axes["*"] == "env_steps"
        assert run.axes["4_progress/*"] == "4_progress/episode"
        evaluations = [row for row in run.rows if "env_steps" in row]
        assert [row["5_seeds/non_finite"] for row in evaluations] == [1 * (method == "meta")] * 2

        final = run.rows[-1]
        assert final["5_seeds/seeds.nrows"] == 6
        assert final["7_figures/curves._type"] == "image-file"
        (checkpoints,) = run.artifacts["checkpoint"]
        kept = folder.resolve() / "checkpoints" / "wave_0" / "states.pickle"
        assert checkpoints == kept.as_uri()
        (table,) = folder.glob("wandb/offline-run-*/files/media/table/5_seeds/*.json")
        seeds = json.loads(table.read_text())
        assert [line[:2] for line in seeds["data"]] == [
            [s, s != 4 or method == "none"] for s in range(6)
        ]
        (picture, *_) = folder.glob("wandb/offline-run-*/files/media/images/6_pairs/heat_map_*.png")
        width, height = Image.open(picture).size
        assert width > 300 and height > 250  # room for agents' numbers and shares
        logged = {key for row in run.rows for key in row if not key.startswith("_")}
        charts = sorted({key.partition(".")[0] for key in logged if "/" in key})
        assert [key for key in charts if key.startswith("1_")][0] == charts[0]
        assert charts[0].startswith("1_returns/") and len(charts) < 45
        assert 10 < len(run.summary) < 40
        assert {"1_returns/sampled_iqm", "1_returns/sampled_low", "2_edges/open_iqm"} <= run.summary


def test_waves_are_one_run_whose_statistics_are_of_all_seeds(tmp_path: Path) -> None:
    config = small(seeds=5, lanes=2, **OFFLINE)
    train(tmp_path, config, population=lambda config: Paired(config, lanes=2))
    run = program(tmp_path)
    check_equals_records(tmp_path, run)
    evaluations = [row for row in run.rows if "env_steps" in row]
    assert [row["_step"] for row in evaluations] == [102, 122]
    assert [row["5_seeds/total"] for row in evaluations] == [5, 5]
    assert [row["env_steps"] for row in evaluations] == [1500, 2000]


@pytest.mark.parametrize("lanes", [5, 2])
def test_curves_begin_with_the_untrained_team_in_however_many_waves(
    tmp_path: Path, lanes: int
) -> None:
    config = small(seeds=5, lanes=lanes, **OFFLINE)
    train(tmp_path, config, population=lambda config: FromTheStart(config, lanes=lanes))
    run = program(tmp_path)
    check_equals_records(tmp_path, run)
    evaluations = [row for row in run.rows if "env_steps" in row]
    assert [row["episode"] for row in evaluations] == [0, 20, 40]
    assert [row["5_seeds/total"] for row in evaluations] == [5, 5, 5]


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("at", [1, 3, 9])
def test_killed_resumed_and_rebuilt_are_all_the_same(tmp_path: Path, at: int) -> None:
    """kill -9 in chunk `at`: before any checkpoint, in the first wave after one, and in the last of three waves."""
    config = small(
        seeds=5, lanes=2, checkpoint=CheckpointConfig(minutes=0), wandb_per_seed=1, **OFFLINE
    )
    script = textwrap.dedent(f"""
        import os, pickle, signal, sys
        sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "envs")!r},
                        {str(ROOT / "tests" / "support")!r}, {str(Path(__file__).parent)!r}]
        from pathlib import Path
        from mirrored import Paired, train

        def kill(chunk):
            if chunk == {at}:
                os.kill(os.getpid(), signal.SIGKILL)
        if __name__ == "__main__":
            config = pickle.loads({pickle.dumps(config)!r})
            train(Path({str(tmp_path)!r}), config,
                  population=lambda config: Paired(config, before_chunk=kill, lanes=2))
    """)
    killed = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=without_wandb()
    )
    assert killed.returncode == -9, killed.stderr
    assert record.status(tmp_path) is record.Status.UNFINISHED
    before = json.loads((tmp_path / "wandb.json").read_text())["id"]
    resume(tmp_path, population=lambda config: Paired(config, lanes=2))
    run = program(tmp_path)
    assert run.id == before
    check_equals_records(tmp_path, run)

    (seed,) = [run for run in offline_runs(tmp_path) if "-seed" in run.id]
    assert [row["_step"] for row in seed.rows] == [20, 40]

    assert main(["wandb-rebuild", str(tmp_path)]) == 0
    rebuilt = program(tmp_path)
    assert rebuilt.id != before
    assert [values(row) for row in rebuilt.rows] == [values(row) for row in run.rows]
    assert (rebuilt.config, rebuilt.tags, rebuilt.axes) == (run.config, run.tags, run.axes)
    (seed_again,) = [run for run in offline_runs(tmp_path) if "-seed" in run.id]
    assert [values(row) for row in seed_again.rows] == [values(row) for row in seed.rows]


def test_an_interrupted_run_is_mirrored_as_far_as_it_came(tmp_path: Path) -> None:
    def press(chunk: int) -> None:
        if chunk == 2:
            os.kill(os.getpid(), 15)

    train(
        tmp_path,
        small(**OFFLINE),
        population=lambda config: Paired(config, before_chunk=press),
    )
    run = program(tmp_path)
    assert run.exit_code == 1
    check_equals_records(tmp_path, run)
    assert [row["_step"] for row in run.rows] == [10, 20, 30]
    assert main(["wandb-rebuild", str(tmp_path)]) == 0
    assert [values(row) for row in program(tmp_path).rows] == [values(row) for row in run.rows]


def test_seeds_of_their_own_are_grouped(tmp_path: Path) -> None:
    train(tmp_path, small(wandb_per_seed=2, first_seed=3, **OFFLINE))
    everything = offline_runs(tmp_path)
    seeds = [run for run in everything if "-seed" in run.id]
    assert [run.config["seed"] for run in seeds] == [3, 4]
    assert len({run.group for run in seeds}) == 1
    table = parquet.read_table(tmp_path / "metrics.parquet").to_pydict()
    for run in seeds:
        own = [i for i, seed in enumerate(table["seed"]) if seed == run.config["seed"]]
        assert [row["seed/return_sampled"] for row in run.rows] == [
            table["return_sampled"][i] for i in own
        ]
        assert [row["env_steps"] for row in run.rows] == [table["env_steps"][i] for i in own]


def test_an_animation_is_part_of_the_results(tmp_path: Path) -> None:
    from PIL import Image

    train(tmp_path, small(**OFFLINE))
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    animation = tmp_path / "figures" / "seed0_episode0.gif"
    frames[0].save(animation, save_all=True, append_images=frames[1:])
    assert main(["wandb-rebuild", str(tmp_path)]) == 0
    run = program(tmp_path)
    assert run.rows[-1]["7_figures/seed0_episode0._type"] == "video-file"
    (kept,) = tmp_path.glob("wandb/offline-run-*/files/media/videos/7_figures/*.gif")
    assert kept.read_bytes() == animation.read_bytes()


@pytest.mark.parametrize("when", ["import", "init", "log", "finish"])
def test_a_failing_mirror_costs_one_line_and_not_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    def fail(*_: object, **__: object) -> Any:
        raise OSError(28, "No space left on device")

    if when == "import":
        monkeypatch.setattr("purejax_mgtopo.mirror.access.import_wandb", fail)
        monkeypatch.setattr("purejax_mgtopo.mirror.wandb_run.import_wandb", fail)
    elif when == "init":
        monkeypatch.setattr("wandb.init", fail)
    else:
        run = Recorded(step=0)
        run.dir = str(tmp_path)  # type: ignore[attr-defined]
        monkeypatch.setattr(run, when, fail)
        monkeypatch.setattr(WandbMirror, "_start", lambda self, name, seed=None: run)
    notes = train(tmp_path / "run", small(**OFFLINE))
    assert record.status(tmp_path / "run") is record.Status.FINISHED
    (line,) = notes.notes
    assert "No space left on device" in line
    assert "\n" not in line
    assert len(run_data.load_run(tmp_path / "run").episodes) == 2


def test_rebuilding_refuses_a_run_under_way_and_what_is_no_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["wandb-rebuild", str(tmp_path)]) == 1
    assert "holds no run" in capsys.readouterr().err
    with record.RunRecord(tmp_path / "run", small(), "test"):
        assert main(["wandb-rebuild", str(tmp_path / "run")]) == 1
    assert "in use" in capsys.readouterr().err


def test_a_rebuild_that_fails_keeps_the_mirror_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tmp_path, small(**OFFLINE))
    before = program(tmp_path)

    def fail(*_: object, **__: object) -> Any:
        raise OSError("no route to host")

    monkeypatch.setattr("wandb.init", fail)
    assert main(["wandb-rebuild", str(tmp_path)]) == 1
    assert "no route to host" in capsys.readouterr().err
    assert program(tmp_path).id == before.id
    assert json.loads((tmp_path / "wandb.json").read_text())["id"] == before.id


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_real_program_is_mirrored_through_a_kill(tmp_path: Path) -> None:
    """`mgtopo sweep` on a toy, killed once it has a checkpoint, called again, and rebuilt."""
    (tmp_path / "recipe.toml").write_text(
        textwrap.dedent("""
        tasks = ["toy_follow_holder"]
        methods = ["meta"]
        seeds = 3
        [config]
        episodes = 1000
        chunk_episodes = 20
        wandb = "offline"
        learner.hidden = 16
        learner.batch_size = 32
        meta.hidden = 16
        evaluation.every = 100
        evaluation.episodes = 4
        checkpoint.minutes = 0.0
        """)
    )
    environment = without_wandb() | {"PYTHONPATH": f"{ROOT}:{ROOT / 'envs'}"}
    command = [sys.executable, "-m", "purejax_mgtopo", "sweep", str(tmp_path)]
    meta = tmp_path / "results" / "toy_follow_holder" / "meta"
    process = subprocess.Popen(command, env=environment, cwd=tmp_path)
    try:
        for _ in _until(lambda: "checkpoint" in _events(meta)):
            assert process.poll() is None, "ended before it could be killed"
    finally:
        process.kill()
        process.wait()
    assert record.status(meta) is record.Status.UNFINISHED
    subprocess.run(command, env=environment, cwd=tmp_path, check=True, timeout=600)
    run = program(meta)
    check_equals_records(meta, run)
    assert main(["wandb-rebuild", str(meta)]) == 0
    assert [values(row) for row in program(meta).rows] == [values(row) for row in run.rows]
    assert any(path.name.startswith("superseded-run") for path in (meta / "wandb").iterdir())
    told = set().union(*(row for row in program(meta).rows))
    for name in ("meta_gradient_norm", "advantage_norm", "gate_entropy", "eta_update_norm"):
        assert f"3_learning/{name}" in told


def _events(folder: Path) -> set[str]:
    return {event["event"] for event in record.read_events(folder)} if folder.exists() else set()


def _until(done: Any) -> Iterator[None]:
    import time

    for _ in range(6000):
        if done():
            return
        yield
        time.sleep(0.1)
    raise AssertionError("waited for ten minutes")


def test_the_file_reader_refuses_damage(tmp_path: Path) -> None:
    train(tmp_path, small(**OFFLINE))
    program(tmp_path)  # waits until it is whole
    (path,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    data = bytearray(path.read_bytes())
    data[200] ^= 1
    path.write_bytes(data)
    with pytest.raises(AssertionError, match="damaged"):
        read_run(path)
