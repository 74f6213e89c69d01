"""The W&B mirror of a meta-training, read back from the files that W&B writes, against its records."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from fake_population import Killed, Notes
from lessons import TASKS, TEXT, measured, run
from wandb_files import WrittenRun, offline_runs, values

from purejax_mgtopo.cli import running
from purejax_mgtopo.cli.main import main
from purejax_mgtopo.config import Means
from purejax_mgtopo.mirror.meta import MetaMirror, open_meta_mirror
from purejax_mgtopo.mirror.wandb_run import ENVIRONMENT, PLACES
from purejax_mgtopo.records.events import read_events
from purejax_mgtopo.universal import training

OFFLINE = TEXT.replace("[meta_train]", 'config.wandb = "offline"\n[meta_train]')
GROUPS = {"return": "1_priced_return", "edge_rate": "2_edges_open", "correction": "3_size_of_f"}


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    names = ("WANDB_MODE", "WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", *ENVIRONMENT, *PLACES)
    for name in names:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "no netrc"))
    if "wandb" in sys.modules:
        sys.modules["wandb"].teardown()


@pytest.fixture
def mirrored(recipe: Path, quick: type) -> Path:
    """A recipe that asks for a mirror in its folder."""
    recipe.write_text(OFFLINE)
    return recipe


def check(folder: Path, steps: int = 6) -> WrittenRun:
    """The one W&B run of a folder, of which every number is the records'."""
    (written,) = offline_runs(folder)
    events = {e["step"]: e for e in read_events(folder) if e["event"] == "update"}
    rows = [values(row) for row in written.rows]
    for step, row in enumerate(rows[:steps], start=1):
        expected: dict[str, Any] = {"_step": step, "update": step}
        for task, told in measured(step).items():
            known = {name: value for name, value in told.items() if value == value}
            expected |= {
                f"{GROUPS.get(name, f'4_learning/{name}')}/{task}": value
                for name, value in known.items()
            }
        expected["5_progress/updates_per_second"] = 1 / max(events[step]["wall"], 1e-9)
        expected["5_progress/hours"] = events[step]["seconds"] / 3600
        assert row == pytest.approx(expected, rel=1e-12)
    assert len(rows) == steps + (written.exit_code == 0)
    return written


def test_every_update_is_mirrored_task_by_task(mirrored: Path, tmp_path: Path) -> None:
    out, notes = tmp_path / "out", Notes()
    rule = run(mirrored, out, notes)
    written = check(out)
    assert notes.notes == [] and written.exit_code == 0
    assert (written.name, written.job_type) == ("meta-train/out", "meta-train")
    assert written.project == "purejax_mgtopo" and {"meta-train", *TASKS} <= set(written.tags)
    described = json.loads((out / "recipe.json").read_text())
    assert written.config["meta_train"] == described["meta_train"]
    assert written.config["teams"] == described["teams"]
    assert written.config["versions"] == described["provenance"]["versions"]
    assert written.commit == (described["provenance"]["git"] or {"commit": ""})["commit"]
    assert written.axes["*"] == written.axes[f"1_priced_return/{TASKS[1]}"] == "update"
    assert {f"{group}/{task}" for group in GROUPS.values() for task in TASKS} <= written.summary
    final = written.rows[-1]
    means = [measured(step)[TASKS[0]]["return"] for step in range(1, 7)]
    assert final[f"6_final/priced_return/{TASKS[0]}"] == pytest.approx(sum(means) / 6)
    (reference,) = written.artifacts["rule"]
    assert rule is not None and reference == rule.resolve().as_uri()


def test_the_environment_s_names_win(
    mirrored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As they do for runs."""
    for name, value in (("NAME", "the first"), ("TAGS", "mine,meta-train"), ("JOB_TYPE", "ours")):
        monkeypatch.setenv(f"WANDB_{name}", value)
    run(mirrored, tmp_path / "out")
    written = check(tmp_path / "out")
    assert (written.name, written.job_type) == ("the first", "ours")
    assert sorted(written.tags) == sorted(["mine", "meta-train", *TASKS])


def test_killed_resumed_and_rebuilt_it_is_one_run(
    mirrored: Path, quick: type, tmp_path: Path
) -> None:
    """What was not saved when it was killed is told once, as it came in the end."""
    out = tmp_path / "out"

    def kill(step: int) -> None:
        if step == 6:
            raise Killed

    quick.before = staticmethod(kill)  # type: ignore[attr-defined]
    with pytest.raises(Killed):
        run(mirrored, out)
    before = check(out, steps=5)
    assert before.exit_code == 1
    quick.before = staticmethod(lambda step: None)  # type: ignore[attr-defined]
    assert run(mirrored, out)
    again = check(out)
    assert again.id == before.id and again.exit_code == 0
    assert len(list(out.glob("wandb/superseded-run-*"))) == 1
    assert main(["wandb-rebuild", str(out)]) == 0
    rebuilt = check(out)
    assert rebuilt.id != again.id and rebuilt.config == again.config
    assert [values(row) for row in rebuilt.rows] == [values(row) for row in again.rows]


def test_online_it_tells_what_the_server_lacks(
    mirrored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Server:
        """It has heard of four updates."""

        id, step, url, codes = "abc", 5, "https://host/run", []
        logged: list[int] = []

        def log(self, row: dict, step: int, commit: bool) -> None:
            self.logged.append(step)

        def log_artifact(self, artifact: object) -> None: ...
        def finish(self, exit_code: int) -> None:
            self.codes.append(exit_code)

    server = Server()
    monkeypatch.setattr(MetaMirror, "_start", lambda self, name, seed=None: server)

    def online(folder: Path, means: Means, tasks: tuple[str, ...], say: Any) -> MetaMirror:
        mirror = MetaMirror(folder, means, tasks, say, "online")
        mirror._opening.join(60)
        return mirror

    monkeypatch.setattr(training, "open_meta_mirror", online)
    notes = Notes()
    run(mirrored, tmp_path / "out", notes)
    assert server.logged == [5, 6, 7] and server.codes == [0]
    assert "to the project purejax_mgtopo at http" in notes.notes[0]
    assert "W&B: https://host/run" in notes.notes


def test_a_fault_of_it_costs_one_line(
    mirrored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("wandb.init", fail)
    notes = Notes()
    assert run(mirrored, tmp_path / "out", notes)
    (line,) = notes.notes
    assert "No space left" in line and f"mgtopo wandb-rebuild {tmp_path / 'out'}" in line
    assert main(["wandb-rebuild", str(tmp_path / "out")]) == 1  # it still fails
    monkeypatch.undo()


def test_the_flag_beats_the_recipe(
    mirrored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For meta-training and for the runs that make its teams."""
    monkeypatch.setattr(running, "check_tasks", lambda configs: None)
    words = ["meta-train", str(mirrored), "--out"]
    assert main([*words, str(tmp_path / "off"), "--wandb", "off"]) == 0
    assert not (tmp_path / "off" / "wandb.json").exists()
    described = json.loads((tmp_path / "off" / "recipe.json").read_text())
    assert described["means"]["wandb"] == "off"
    mirrored.write_text(TEXT.replace("[meta_train]", 'config.wandb = "off"\n[meta_train]'))
    asked: list[str] = []

    def groups(recipe: Any, *_: object) -> list:
        asked.extend(config.means.wandb for config in recipe.configs)
        return []

    monkeypatch.setattr(training, "_groups", groups)
    assert main([*words, str(tmp_path / "on"), "--wandb", "offline"]) == 0
    check(tmp_path / "on")
    assert asked == ["offline"] * 2


def test_off_means_that_wandb_is_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("purejax_mgtopo.mirror.mirror.choose_mode", pytest.fail)
    assert open_meta_mirror(tmp_path, Means(wandb="off"), TASKS, print) is None


def test_one_that_is_under_way_or_has_nothing_is_not_rebuilt(
    mirrored: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from lessons import recorded

    with recorded(mirrored, tmp_path / "out", steps=1, saved=0):
        assert main(["wandb-rebuild", str(tmp_path / "out")]) == 1
    assert "in use by another mgtopo" in capsys.readouterr().err
    (tmp_path / "out" / "curve.jsonl").unlink()
    assert main(["wandb-rebuild", str(tmp_path / "out")]) == 1
    assert "has no curve yet" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["{", '{"meta_train": 1, "teams": []}', '{"meta_train": {}}'])
def test_a_damaged_description_is_named_and_costs_the_others_nothing(
    content: str, mirrored: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("broken", "whole"):
        run(mirrored, tmp_path / "all" / name)
    described = tmp_path / "all" / "broken" / "recipe.json"
    described.write_text(content)
    capsys.readouterr()
    assert main(["wandb-rebuild", str(tmp_path / "all")]) == 1
    shown = capsys.readouterr()
    (line,) = [line for line in shown.err.splitlines() if "broken" in line]
    assert f"left out: {described} cannot be read: " in line
    assert f"{tmp_path / 'all' / 'whole'}: " in shown.out
    check(tmp_path / "all" / "whole")


def test_a_line_that_is_none_of_the_curve_is_left_out(mirrored: Path, tmp_path: Path) -> None:
    run(mirrored, tmp_path / "out")
    with (tmp_path / "out" / "curve.jsonl").open("a") as file:
        file.write('{"x": 1}\n{"step": 3}\n{"step": "3", "task": "a"}\n{"task": "a"}\n')
    assert main(["wandb-rebuild", str(tmp_path / "out")]) == 0
    check(tmp_path / "out")
