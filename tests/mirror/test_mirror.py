"""Real offline W&B runs, read back from the files that W&B writes, against our records."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as parquet
import pytest
import scipy.stats
import stand_ins
from fake_population import FakePopulation, FakeStore, Killed, Notes, State, small
from PIL import Image
from wandb_files import WrittenRun, offline_runs, read_run, values

from purejax_mgtopo.analysis.statistics import stratified_bootstrap
from purejax_mgtopo.cli.main import main
from purejax_mgtopo.config import CheckpointConfig, Config, override
from purejax_mgtopo.machine.processes import index as process_index
from purejax_mgtopo.mirror.access import choose_mode, has_credentials
from purejax_mgtopo.mirror.mirror import ENVIRONMENT, WandbMirror, open_wandb
from purejax_mgtopo.population.waves import Wave
from purejax_mgtopo.records import record, run_data
from purejax_mgtopo.training import run as runner
from purejax_mgtopo.training.recipe import parse_recipe

ROOT = Path(__file__).parents[2]
OFFLINE = {"wandb": "offline"}


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    names = ("WANDB_MODE", "WANDB_DIR", "WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE")
    for name in (*names, *ENVIRONMENT):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "no netrc"))
    if (
        "wandb" in sys.modules
    ):  # it reads its environment once, and another test may have made it do so
        sys.modules["wandb"].teardown()


class Paired(FakePopulation):
    """Seeds that differ in everything, edge by edge as well."""

    def advance(self, state: State, wave: Wave) -> tuple[State, Any]:
        state, report = super().advance(state, wave)
        if report.evaluation is not None:
            rng = np.random.default_rng(1000 * report.episode + wave.first_seed)
            told = dict(report.evaluation)
            told["edge_rate"] = rng.uniform(size=wave.seeds)
            told["pair_rate"] = rng.uniform(size=(wave.seeds, 3, 3))
            report = dataclasses.replace(report, evaluation=told)
        return state, report


@dataclass
class DiskStore(FakeStore):
    """Outlives its process."""

    def complete(self, episode: int) -> bool:
        return episode in self._all()

    def restore(self) -> Any:
        self.kept[self.folder] = self._all()
        return super().restore()

    def save(self, state: State, score: float) -> None:
        kept = self._all() | {state.episode: state}
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "states.pickle").write_bytes(pickle.dumps(kept))

    def _all(self) -> dict[int, State]:
        path = self.folder / "states.pickle"
        return pickle.loads(path.read_bytes()) if path.exists() else {}


def train(folder: Path, config: Config, **options: Any) -> Notes:
    notes = Notes()
    settings = {"population": Paired, "store": DiskStore({})} | options
    stand_ins.train(config, folder, reporter=notes, **settings)
    return notes


def resume(folder: Path, **options: Any) -> None:
    settings = {"population": Paired, "store": DiskStore({})} | options
    stand_ins.resume(folder, reporter=Notes(), **settings)


def without_wandb() -> dict[str, str]:
    """An environment for another process: W&B's service would be shared, and a kill not noticed by it."""
    return {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}


def program(folder: Path) -> WrittenRun:
    """The W&B run of all seeds, and there is one only."""
    (run,) = [run for run in offline_runs(folder) if "-seed" not in run.id]
    return run


def check_equals_records(folder: Path, run: WrittenRun) -> None:
    """Every number of the mirror, derived once more from Parquet and JSON lines."""
    table = parquet.read_table(folder / "metrics.parquet").to_pydict()
    config = record.read_config(folder)
    steps = [row["_step"] for row in run.rows]
    assert steps == sorted(set(steps)), "steps must grow, none twice"
    chunks = [e for e in record.read_events(folder) if e["event"] == "chunk"]
    rows = {row["_step"]: row for row in run.rows}
    last_wave = max(chunk["wave"] for chunk in chunks)
    compared = 0
    for chunk in chunks:
        row = rows.pop(chunk["wave"] * config.experiment.episodes + chunk["episode"])
        for name in ("train_return", "edge_rate", "episodes_per_second", "non_finite"):
            assert row[f"4_progress/{name}"] == chunk[name]
        expected = {}
        if chunk["wave"] == last_wave:
            expected = evaluated(table, chunk["episode"])
        told = {
            key: value
            for key, value in values(row).items()
            if key != "_step"
            and not key.startswith(("4_progress/", "6_pairs/heat_map"))
            and not key.endswith("._type")
        }
        assert told.keys() == expected.keys()
        for key, value in expected.items():
            np.testing.assert_allclose(told[key], value, rtol=1e-9, err_msg=key)
        compared += bool(expected)
    assert compared == len(set(table["episode"]))
    assert not [row for row in rows.values() if "env_steps" in row]  # what is left came at the end


def evaluated(table: dict[str, list], episode: int) -> dict[str, Any]:
    at = [i for i, e in enumerate(table["episode"]) if e == episode]
    if not at:
        return {}
    columns = {name: np.array([column[i] for i in at], float) for name, column in table.items()}
    order = np.argsort(columns["seed"])
    columns = {name: column[order] for name, column in columns.items()}
    healthy = columns["finite"].astype(bool)
    assert np.isfinite(columns["return_sampled"][healthy]).all()
    steps = {table["env_steps"][i] for i in at}
    expected: dict[str, Any] = {
        "env_steps": steps.pop(),
        "episode": episode,
        "5_seeds/total": len(at),
        "5_seeds/non_finite": np.sum(~healthy),
    }
    assert not steps
    for name, column in columns.items():
        own = column[healthy]
        if name in ("return_sampled", "return_greedy", "train_return", "edge_rate"):
            interval = stratified_bootstrap([own])
            counts, edges = np.histogram(own, 32)
            key = {
                "return_sampled": "1_returns/sampled",
                "return_greedy": "1_returns/greedy",
                "train_return": "1_returns/training",
                "edge_rate": "2_edges/open",
            }[name]
            expected |= {
                f"{key}_iqm": scipy.stats.trim_mean(own, 0.25),
                f"{key}_low": interval.low,
                f"{key}_high": interval.high,
                f"5_seeds/{name}.bins": edges,
                f"5_seeds/{name}.values": counts,
            }
        elif name == "pair_rate":
            mean = own.mean(axis=0).reshape(3, 3)
            for i, j in ((0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)):
                expected[f"6_pairs/{i}_from_{j}"] = mean[i, j]
        elif name not in ("episode", "env_steps", "seed", "finite"):
            expected[f"3_learning/{name}"] = scipy.stats.trim_mean(own, 0.25)
    return expected


RECIPE = {
    "tasks": ["toy_public"],
    "methods": ["none", "meta"],
    "seeds": 6,
    "config": {
        "episodes": 40,
        "chunk_episodes": 10,
        "evaluation": {"every": 20},
        "wandb": "offline",
    },
}


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
    assert [row["_step"] for row in evaluations] == [100, 120]
    assert [row["5_seeds/total"] for row in evaluations] == [5, 5]
    assert [row["env_steps"] for row in evaluations] == [1500, 2000]


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
        from test_mirror import Paired, train

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


class Recorded:
    """A W&B run of a server that has told how far it came."""

    def __init__(self, step: int) -> None:
        self.id, self.step, self.url = "abc", step, "https://host/run"
        self.logged: list[int] = []
        self.codes: list[int] = []

    def define_metric(self, *args: object, **options: object) -> None: ...
    def log_artifact(self, artifact: object) -> None: ...

    def log(self, row: dict, step: int, commit: bool) -> None:
        self.logged.append(step)

    def finish(self, exit_code: int) -> None:
        self.codes.append(exit_code)


def test_online_a_resumed_run_tells_what_the_server_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in chunk 3, after W&B heard of two; the checkpoint is from there."""
    config = small(checkpoint=CheckpointConfig(minutes=0))

    def kill(chunk: int) -> None:
        if chunk == 3:
            raise Killed

    with pytest.raises(Killed):
        train(
            tmp_path,
            override(config, {"wandb": "off"}),
            population=lambda config: Paired(config, before_chunk=kill),
        )
    run = Recorded(step=21)
    monkeypatch.setattr(WandbMirror, "_start", lambda self, name, seed=None: run)
    notes = Notes()
    stand_ins.resume(
        tmp_path,
        reporter=notes,
        population=Paired,
        store=DiskStore({}),
        mirror=lambda folder, config, say: WandbMirror(folder, config, say, "online"),
    )
    assert run.logged == [30, 40, 41]
    assert run.codes == [0]
    assert "W&B: https://host/run" in notes.notes


def test_names_are_cut_to_what_wandb_takes(tmp_path: Path) -> None:
    """A prey file's path is part of a task's name, and the recipe's folder names the group."""
    task = f"predator_prey_N3_l3@{'/prey' * 40}.npz"
    folder = tmp_path / ("r" * 150) / "results" / "task" / "method"
    (folder.parents[1]).mkdir(parents=True)
    (folder.parents[1] / record.SWEEP).write_text(json.dumps({"recipe": "r" * 150}))
    config = override(small(wandb_per_seed=1, **OFFLINE), {"task": task})
    assert train(folder, config).notes == []
    both = offline_runs(folder)
    assert len(both) == 2
    for run in both:
        assert len(run.name) <= 128 and len(run.group) <= 128 and len(run.job_type) <= 64
        assert all(len(tag) <= 64 for tag in run.tags) and {"meta", "lstm"} <= set(run.tags)
        assert run.config["task"] == task
    assert any(run.name.endswith(".../0") for run in both)
    assert main(["wandb-rebuild", str(folder)]) == 0


def test_the_environment_beats_our_defaults_and_a_flag_beats_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("theirs", "name", "group", "job", "one,two")
    for variable, word in zip(ENVIRONMENT, words, strict=True):
        monkeypatch.setenv(variable, word)
    (line,) = train(tmp_path / "a", small(**OFFLINE)).notes
    assert "WANDB_PROJECT" in line and "WANDB_TAGS" in line and str(tmp_path / "a") in line
    run = program(tmp_path / "a")
    assert (run.project, run.name, run.group, run.job_type) == words[:4]
    assert {"one", "two", "meta"} <= set(run.tags)
    (line,) = train(tmp_path / "b", small(wandb_project="purejax_mgtopo", **OFFLINE)).notes
    assert "WANDB_PROJECT" not in line
    assert program(tmp_path / "b").project == "purejax_mgtopo"


@pytest.mark.parametrize("when", ["import", "init", "log", "finish"])
def test_a_failing_mirror_costs_one_line_and_not_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    def fail(*_: object, **__: object) -> Any:
        raise OSError(28, "No space left on device")

    if when == "import":
        monkeypatch.setattr("purejax_mgtopo.mirror.access.import_wandb", fail)
        monkeypatch.setattr("purejax_mgtopo.mirror.mirror.import_wandb", fail)
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


def test_the_first_process_alone_mirrors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert process_index() == 0
    monkeypatch.setattr("purejax_mgtopo.machine.processes.index", lambda: 1)
    assert runner.open_mirror(tmp_path, small(**OFFLINE), print) is None


def test_switched_off_nothing_is_written_nor_imported(tmp_path: Path) -> None:
    script = textwrap.dedent(f"""
        import os, sys
        sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "tests" / "support")!r}]
        os.environ.pop("WANDB_MODE", None)
        from pathlib import Path
        from fake_population import FakePopulation, FakeStore, small
        from stand_ins import train
        from purejax_mgtopo.training.progress import SilentReporter
        for number, (mode, wandb) in enumerate((("disabled", "online"), ("", "off"))):
            os.environ["WANDB_MODE"] = mode
            train(small(wandb=wandb), Path({str(tmp_path)!r}) / str(number), reporter=SilentReporter(),
                  population=FakePopulation, store=FakeStore({{}}))
        assert "wandb" not in sys.modules
    """)
    subprocess.run([sys.executable, "-c", script], check=True)
    assert not list(tmp_path.rglob("wandb*"))


def test_wandb_itself_stays_quiet_and_asks_nothing(tmp_path: Path) -> None:
    """A terminal that answers nothing must not be waited for."""
    script = textwrap.dedent(f"""
        import sys
        sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "tests" / "support")!r}]
        from fake_population import FakePopulation, FakeStore, small
        from stand_ins import train
        from purejax_mgtopo.training.progress import SilentReporter
        train(small(wandb="auto"), {str(tmp_path)!r}, reporter=SilentReporter(),
              population=FakePopulation, store=FakeStore({{}}))
    """)
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=100,
        stdin=subprocess.DEVNULL,
        env=without_wandb(),
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert program(tmp_path).exit_code == 0


@pytest.mark.parametrize(
    ("setting", "environment", "expected"),
    [
        ("auto", {}, "offline"),
        ("auto", {"WANDB_API_KEY": "k"}, "online"),
        ("auto", {"WANDB_API_KEY": "k", "WANDB_MODE": "offline"}, "offline"),
        ("online", {"WANDB_API_KEY": "k", "WANDB_MODE": "dryrun"}, "offline"),
        ("offline", {"WANDB_API_KEY": "k", "WANDB_MODE": "online"}, "offline"),
        ("online", {}, "offline"),
        ("off", {"WANDB_API_KEY": "k"}, None),
    ],
)
def test_where_the_mirror_is_written(
    monkeypatch: pytest.MonkeyPatch, setting: str, environment: dict[str, str], expected: str | None
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    said: list[str] = []
    assert choose_mode(setting, said.append) == expected
    assert len(said) == (setting == "online" and not environment)


def test_disabled_means_no_mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert open_wandb(tmp_path, small(**OFFLINE), print) is None
    train(tmp_path, small(wandb="online"))
    assert main(["wandb-rebuild", str(tmp_path)]) == 1


def test_a_netrc_file_counts_for_its_host_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "netrc"
    monkeypatch.setenv("NETRC", str(kept))
    kept.write_text("machine wandb.example.org login user password secret\n")
    kept.chmod(0o600)
    assert has_credentials("https://wandb.example.org")
    assert not has_credentials("https://api.wandb.ai")
    kept.write_text("machine api.wandb.ai login user password secret\n")
    assert has_credentials("https://api.wandb.ai")
    kept.write_text("machine")
    assert not has_credentials("https://api.wandb.ai")


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


def test_nothing_is_sent_unless_a_project_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from purejax_mgtopo.mirror import mirror

    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    monkeypatch.setattr(mirror, "choose_mode", lambda setting, say: "online")
    monkeypatch.setattr(mirror, "disabled", lambda: False)
    begun: list[str] = []
    monkeypatch.setattr(mirror, "WandbMirror", lambda folder, config, say, mode: begun.append(mode))
    said: list[str] = []
    run = tmp_path / "sweep" / "task" / "meta"
    run.mkdir(parents=True)
    mirror.open_wandb(run, small(wandb="auto"), said.append)
    assert begun == ["offline"] and "--wandb-project" in said[0]
    mirror.open_wandb(run, small(wandb="auto", wandb_project="mine"), said.append)
    (tmp_path / "sweep" / "sweep.json").write_text('{"recipe": "which", "runs": []}')
    mirror.open_wandb(run, small(wandb="auto"), said.append)
    mirror.open_wandb(tmp_path, small(wandb="online"), said.append)  # who says so means it
    assert begun[1:] == ["online"] * 3 and len(said) == 1


def test_it_says_where_before_it_sends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from purejax_mgtopo.mirror.mirror import WandbMirror

    order: list[str] = []

    def start(self: object, name: str, seed: int | None = None) -> None:
        order.append("start")
        raise ConnectionError("no network here")

    monkeypatch.setattr(WandbMirror, "_start", start)
    config = small(wandb="online", wandb_project="mine")
    WandbMirror(tmp_path, config, order.append, "online").close(finished=False)
    assert "to the project mine at http" in order[0] and "--wandb off" in order[0]
    assert order[1] == "start"
