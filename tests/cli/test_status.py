from __future__ import annotations

import ast
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fake_population import FakePopulation, FakeStore, Notes, small
from rich.console import Console
from stand_ins import train

from purejax_mgtopo.cli.main import main
from purejax_mgtopo.cli.status import status_table
from purejax_mgtopo.config import CheckpointConfig, Config, override
from purejax_mgtopo.records import record
from purejax_mgtopo.training.run_state import read_state, read_states

ROOT = Path(__file__).parents[2]


def write(folder: Path, config: Config, *events: dict) -> Path:
    """A run's records, as another machine would have left them; times count from 0."""
    from purejax_mgtopo.config import flatten

    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"settings": flatten(config)}))
    (folder / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    return folder


def chunk(time: float, episode: int, wave: int = 0, wall: float = 2.0, **more: object) -> dict:
    told = {
        "event": "chunk",
        "time": time,
        "wave": wave,
        "episode": episode,
        "wall": wall,
        "episodes_per_second": 10 * 3 / wall,
        "train_return": -9.0,
        "edge_rate": 0.75,
        "non_finite": 0,
    }
    return told | more


START = {"event": "start", "time": 0.0}


def test_a_finished_run_tells_all(tmp_path: Path) -> None:
    config = small(checkpoint=CheckpointConfig(minutes=0))
    train(
        config,
        tmp_path,
        reporter=Notes(),
        store=FakeStore({}),
        population=lambda config: FakePopulation(config, broken_seed=1),
    )
    state = read_state(tmp_path)
    assert (state.state, state.episode, state.non_finite) == ("finished", 40, 1)
    assert (state.wave, state.waves, state.checkpoint) == (0, 1, 40)
    assert state.returns == pytest.approx((0 + 2) / 2 - 10 + 0.4)  # over the finite seeds
    assert state.edge_rate == pytest.approx(0.25)  # the evaluation's, not the training's
    assert state.rate > 0
    assert math.isnan(state.seconds_left)


def test_speed_and_time_left_count_all_seeds_and_leave_out_the_compilation(tmp_path: Path) -> None:
    config = small(seeds=8, lanes=3)  # waves of 3, 3 and 2 seeds, 40 episodes each
    events = [START, chunk(100, 10, wall=100.0), chunk(102, 20), chunk(104, 30), chunk(106, 40)]
    run = write(tmp_path / "run", config, *events, chunk(108, 10, wave=1))
    state = read_state(run, now=110)
    assert state.rate == pytest.approx(15)
    assert state.seconds_left == pytest.approx((8 * 40 - 3 * 40 - 3 * 10) / 15)
    assert (state.wave, state.waves, state.episode) == (1, 3, 10)
    assert state.returns == -9.0  # this wave has no evaluation yet


def test_a_finished_run_in_waves_tells_of_all_its_seeds(tmp_path: Path) -> None:
    """Means over the finite seeds of all waves, not of the last alone."""

    def wave(number: int, returns: float, lost: int = 0) -> list[dict]:
        told = {"time": 100.0 + number, "wave": number, "episode": 40, "edge_rate": returns / -10}
        final = {"event": "final", "return_sampled": returns, **told}
        evaluation = {"event": "evaluation", **final | {"event": "evaluation"}}
        trained = chunk(99.0 + number, 40, wave=number, train_return=returns - 1, non_finite=lost)
        return [trained, evaluation, final]

    events = [START, *wave(0, -2.0), *wave(1, -6.0, lost=1), *wave(2, -9.0)]
    config = small(seeds=8, lanes=3)  # waves of 3, 3 and 2 seeds
    end = {"event": "end", "time": 200.0, "episode": 40}
    state = read_state(write(tmp_path / "whole", config, *events, end), now=201)
    expected = (3 * 2 + 2 * 6 + 2 * 9) / 7
    assert (state.state, state.evaluated, state.non_finite) == ("finished", True, 1)
    assert state.returns == pytest.approx(-expected)
    assert state.train_return == pytest.approx(-expected - 1)
    assert state.edge_rate == pytest.approx(expected / 10)
    part = read_state(write(tmp_path / "part", config, *events[:-3]), now=102)
    assert (part.wave, part.returns, part.non_finite) == (1, -6.0, 1)  # its present wave


def test_one_damaged_event_leaves_the_other_runs_told(tmp_path: Path) -> None:
    write(tmp_path / "a", small(), START, chunk(100, 10))
    write(tmp_path / "b", small(), START, {"event": "chunk", "time": 1.0})
    write(tmp_path / "c", small(), START, chunk(1, "many"))  # type: ignore[arg-type]
    states, problems = read_states([tmp_path / name for name in "abc"])
    assert [state.folder.name for state in states] == ["a"]
    assert "events.jsonl: an event lacks 'episode'" in problems[0]
    assert "events.jsonl: an event is damaged: " in problems[1] and len(problems) == 2


def test_speed_leaves_out_the_compilation_of_every_process(tmp_path: Path) -> None:
    """A resumed run compiles again, which says nothing of how long the rest takes."""
    events = [
        START,
        chunk(100, 10, wall=100.0),
        chunk(102, 20),
        {"event": "resumed", "time": 150.0},
    ]
    events.append(chunk(200, 30, wall=50.0))
    run = write(tmp_path / "run", small(seeds=3), *events)
    assert read_state(run, now=201).rate == pytest.approx(15)  # the old process's one warm chunk
    later = write(tmp_path / "later", small(seeds=3), *events, chunk(201, 40, wall=1.0))
    assert read_state(later, now=202).rate == pytest.approx(2 * 30 / 3)


def test_running_here_is_known_by_the_lock(tmp_path: Path) -> None:
    with record.RunRecord(tmp_path / "run", small(), "test"):
        assert read_state(tmp_path / "run", now=1e12).state == "running"


@pytest.mark.parametrize(
    ("events", "now", "state"),
    [
        ([START], 800, "running?"),  # compiling
        ([START], 1000, "interrupted"),
        ([START, chunk(100, 10)], 150, "running?"),
        ([START, chunk(100, 10)], 170, "interrupted"),
        ([START, chunk(100, 10), chunk(500, 20, wall=400.0)], 2000, "running?"),
        ([START, chunk(100, 10), chunk(500, 20, wall=400.0)], 2600, "interrupted"),
        ([START, chunk(100, 10), {"event": "resumed", "time": 5000.0}], 5500, "running?"),
        ([START, chunk(100, 10), {"event": "interrupted", "time": 101.0}], 102, "interrupted"),
        ([START, {"event": "failed", "time": 1.0, "error": "out of memory"}], 2, "failed"),
        ([], 1, "interrupted"),
    ],
)
def test_elsewhere_it_is_judged_by_its_silence(
    tmp_path: Path, events: list[dict], now: float, state: str
) -> None:
    """No lock is held that could be seen; how long a chunk takes says how long a silence may last."""
    run = write(tmp_path / "run", small(), *events)
    assert read_state(run, now=now).state == state


def test_silence_and_failures_are_put_in_words(tmp_path: Path) -> None:
    silent = write(tmp_path / "a", small(), START, chunk(100, 10, train_return=None))
    failed = write(
        tmp_path / "b",
        small(lanes=2),
        START,
        {"event": "failed", "time": 1.0, "error": "no\nmemory"},
    )
    console = Console(width=200, record=True, file=open(os.devnull, "w"))
    console.print(status_table([read_state(silent, now=100 + 7384), read_state(failed, now=2)]))
    shown = console.export_text()
    assert "interrupted, no news for 2:03:04" in shown
    assert "failed: no memory" in shown
    assert "10/40" in shown
    assert "1/2" in shown
    assert "nan" not in shown


def test_folders_are_searched_and_what_cannot_be_read_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "task" / "meta", small(), START, chunk(100, 10))
    other = write(tmp_path / "task" / "none", small(topology="none"), START)
    assert main(["status", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "toy_follow_holder" in shown
    assert "meta" in shown and "none" in shown
    (other / "config.json").write_text("{")
    states, problems = read_states([tmp_path / "task" / "meta", other])
    assert (len(states), len(problems)) == (1, 1)
    assert main(["status", str(tmp_path)]) == 0
    assert "none" in capsys.readouterr().err
    assert main(["status", str(tmp_path / "nothing")]) == 1
    assert "is not a folder" in capsys.readouterr().err
    assert main(["status"]) == 2


def test_asking_starts_neither_jax_nor_wandb(tmp_path: Path) -> None:
    write(tmp_path / "run", small(), START)
    script = (
        "import sys; from purejax_mgtopo.cli.main import main; "
        f"assert main(['status', {str(tmp_path)!r}]) == 0; "
        "assert not {'jax', 'wandb'} & set(sys.modules), 'imported'"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT, capture_output=True)


def test_a_run_is_listed_once_however_often_and_however_it_is_named(tmp_path: Path) -> None:
    run = write(tmp_path / "a", small(), START)
    states, _ = read_states([run, tmp_path / "." / "a" / ".." / "a", run])
    assert len(states) == 1


def test_what_a_run_died_of_is_text_not_markup(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One error with brackets must not hide all other runs."""
    error = "XlaRuntimeError: [/device:CPU:0] [red]:bug: out of memory"
    failed = {"event": "failed", "time": 3.0, "error": error}
    write(tmp_path / "[bold]a", small(), START, failed)
    write(tmp_path / "b", small(), START, {"event": "interrupted", "time": 3.0})
    assert main(["status", str(tmp_path)]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "[/device:CPU:0] [red]:bug: out" in out and "interrupted" in out


def test_every_console_prints_data_as_it_is() -> None:
    """Rich's own default reads markup and names of emoji in whatever it prints."""
    for path in sorted((ROOT / "purejax_mgtopo").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                given = {word.arg: ast.unparse(word.value) for word in node.keywords}
                if node.func.id == "Console":
                    assert (given.get("markup"), given.get("emoji")) == ("False", "False"), path
                if node.func.id == "TextColumn":
                    assert given.get("markup") == "False", path


def test_runs_of_one_method_are_told_apart_by_their_settings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a sweep's results the folder says it; elsewhere the settings do, or else the folders."""
    for hidden in (64, 128):
        config = override(small(), {"learner.hidden": hidden})
        write(tmp_path / "toy_follow_holder" / f"meta,hidden={hidden}", config, START)
        write(tmp_path / "by hand" / str(hidden), override(config, {"topology": "full"}), START)
    write(tmp_path / "again" / "128", override(small(), {"topology": "none"}), START)
    write(tmp_path / "again" / "129", override(small(), {"topology": "none"}), START)
    assert main(["status", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    for name in ("meta", "full"):
        assert f" {name}, hidden=64 " in out and f" {name}, hidden=128 " in out
    assert " none (128) " in out and " none (129) " in out
