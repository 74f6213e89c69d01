"""The environment beats what we would choose, a setting beats the environment, and a line says which it was."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fake_population import small
from mirrored import OFFLINE, program, train

from purejax_mgtopo.mirror import mirror
from purejax_mgtopo.mirror.access import heeding_environment, import_wandb
from purejax_mgtopo.mirror.places import sent_to
from purejax_mgtopo.records import record

pytestmark = pytest.mark.usefixtures("no_environment")


def test_online_by_the_environment_needs_no_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[str] = []
    monkeypatch.setattr(mirror, "WandbMirror", lambda folder, config, say, mode: begun.append(mode))
    said: list[str] = []
    monkeypatch.setenv("WANDB_MODE", "online")
    mirror.open_wandb(tmp_path, small(wandb="auto"), said.append)
    assert begun.pop() == "offline" and "no credentials" in said.pop()
    monkeypatch.setenv("WANDB_API_KEY", "k")
    monkeypatch.delenv("WANDB_MODE")
    mirror.open_wandb(tmp_path, small(wandb="auto"), said.append)
    monkeypatch.setenv("WANDB_MODE", "online")
    mirror.open_wandb(tmp_path, small(wandb="auto"), said.append)
    monkeypatch.setenv("WANDB_MODE", "offline")
    mirror.open_wandb(tmp_path, small(wandb="online"), said.append)
    assert begun == ["offline", "online", "online"] and len(said) == 1


def test_a_line_says_what_decided(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    (line,) = train(tmp_path / "a", small(wandb="auto")).notes
    assert line.endswith("(by WANDB_MODE of the environment)")
    assert train(tmp_path / "b", small(**OFFLINE)).notes == []  # both say the same
    monkeypatch.setenv("WANDB_MODE", "online")
    (line,) = train(tmp_path / "c", small(**OFFLINE)).notes
    assert line.endswith("(the setting wandb=offline beats WANDB_MODE=online)")
    monkeypatch.setenv("WANDB_MODE", "disabled")
    (line,) = train(tmp_path / "d", small(**OFFLINE)).notes
    assert line.startswith("no W&B mirror: the environment disables W&B")
    assert train(tmp_path / "e", small(wandb="auto")).notes == []


def test_a_folder_of_the_users_is_told_and_found_at_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home" / "w").mkdir(parents=True)
    monkeypatch.setenv("WANDB_DIR", "~/w")
    monkeypatch.chdir(tmp_path)
    (line,) = train(tmp_path / "run", small(**OFFLINE)).notes
    assert "WANDB_DIR" in line and str(tmp_path / "home" / "w") in line
    assert program(tmp_path / "home" / "w").exit_code == 0
    assert not (tmp_path / "~").exists()


def test_what_wandb_is_told_of_itself_leaves_the_environment_its_word(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wanted = {"init_timeout": 60, "console": "off", "disable_code": True, "git_commit": None}
    wanted |= {"x_save_requirements": False, "of_another_version": 1}
    ours = {
        "init_timeout": 60,
        "console": "off",
        "disable_code": True,
        "x_save_requirements": False,
    }
    assert heeding_environment(wanted) == ours
    theirs = {
        "WANDB_INIT_TIMEOUT": "200",
        "WANDB_CONSOLE": "wrap",
        "WANDB_DISABLE_CODE": "false",
        "WANDB__SAVE_REQUIREMENTS": "true",
    }
    for name, value in theirs.items():
        monkeypatch.setenv(name, value)
    settings = import_wandb().Settings(**heeding_environment(wanted))
    assert (settings.init_timeout, settings.console) == (200, "wrap")
    assert not settings.disable_code and settings.x_save_requirements


def test_a_run_is_begun_with_the_environments_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {}

    def init(**options: Any) -> Any:
        given.update(options)
        raise ConnectionError

    monkeypatch.setattr(import_wandb(), "init", init)
    monkeypatch.setenv("WANDB_FINISH_TIMEOUT", "7")
    train(tmp_path, small(**OFFLINE))
    assert (given["settings"].finish_timeout, given["settings"].init_timeout) == (7, 60)


def test_the_view_asks_for_the_group_that_the_runs_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "task" / "meta"
    run.mkdir(parents=True)
    (run / "wandb.json").write_text('{"project": "mine"}')
    (run / record.CONFIG).write_text("{}")
    (tmp_path / record.SWEEP).write_text(json.dumps({"recipe": "r" * 150, "runs": []}))
    project, group = sent_to(tmp_path)
    assert project == "mine" and group == "r" * 125 + "..."


def test_the_view_belongs_to_whom_the_environment_names(monkeypatch: pytest.MonkeyPatch) -> None:
    from purejax_mgtopo.mirror import dashboard

    asked: list[str] = []

    def view(entity: str, *rest: str) -> Any:
        asked.append(entity)
        return SimpleNamespace(save=lambda: None, url="there")

    monkeypatch.setattr(dashboard, "workspace", view)
    monkeypatch.setenv("WANDB_API_KEY", "k")
    monkeypatch.setenv("WANDB_ENTITY", "team")
    assert dashboard.save_dashboard(None, "project") == "there"
    dashboard.save_dashboard("me", "project")
    assert asked == ["team", "me"]
