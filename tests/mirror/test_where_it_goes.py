"""Where the mirror goes, under which names, and when nothing is sent."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from fake_population import small
from mirrored import OFFLINE, ROOT, program, train, without_wandb
from wandb_files import offline_runs

from purejax_mgtopo.cli.main import main
from purejax_mgtopo.config import override
from purejax_mgtopo.machine.processes import index as process_index
from purejax_mgtopo.mirror.access import choose_mode, has_credentials
from purejax_mgtopo.mirror.mirror import WandbMirror, open_wandb
from purejax_mgtopo.mirror.wandb_run import ENVIRONMENT
from purejax_mgtopo.records import record
from purejax_mgtopo.training import run as runner

pytestmark = pytest.mark.usefixtures("no_environment")


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
        ("online", {"WANDB_API_KEY": "k", "WANDB_MODE": "dryrun"}, "online"),
        ("online", {"WANDB_API_KEY": "k", "WANDB_MODE": "offline"}, "online"),
        ("auto", {"WANDB_API_KEY": "k", "WANDB_MODE": "dryrun"}, "offline"),
        ("online", {"WANDB_API_KEY": "k", "WANDB_MODE": "disabled"}, None),
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

    order: list[str] = []

    def start(self: object, name: str, seed: int | None = None) -> None:
        order.append("start")
        raise ConnectionError("no network here")

    monkeypatch.setattr(WandbMirror, "_start", start)
    config = small(wandb="online", wandb_project="mine")
    WandbMirror(tmp_path, config, order.append, "online").close(finished=False)
    assert "to the project mine at http" in order[0] and "--wandb off" in order[0]
    assert order[1] == "start"
