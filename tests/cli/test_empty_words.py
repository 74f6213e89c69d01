"""An empty word, as of a variable that is not set, is no path: nothing is read from or written to where we are."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from jax_mpe.__main__ import main as draw_task

from purejax_mgtopo.cli import main as cli
from purejax_mgtopo.cli.flags import Command
from purejax_mgtopo.config import Experiment
from purejax_mgtopo.errors import ConfigError
from purejax_mgtopo.report.report import write_report
from purejax_mgtopo.training.run import resume, train
from purejax_mgtopo.universal.formula.asked import Questions


def takes_paths(kind: Any) -> bool:
    return kind is Path or any(map(takes_paths, get_args(kind)))


def is_positional(kind: Any) -> bool:
    return any("Positional" in str(part) for part in getattr(kind, "__metadata__", ()))


def places() -> list[tuple[str, str, bool]]:
    """Every command with each of its fields that takes a path, and whether that is no flag."""
    found = []
    for name, kind in cli.COMMANDS.items():
        assert issubclass(kind, Command)
        hints = get_type_hints(kind, include_extras=True)
        for item in dataclasses.fields(kind):
            if takes_paths(hints[item.name]):
                found.append((name, item.name, is_positional(hints[item.name])))
    return found


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("command", "field", "positional"), places())
def test_no_command_takes_it_for_the_current_folder(
    command: str, field: str, positional: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    flag = f"--{field.replace('_', '-')}"
    needed = ["--seed", "0"] if command == "export" else []
    others = {kind: ["x"] for kind, _, plain in places() if plain}.get(command, []) + needed
    forms = [["", *needed]] if positional else [[*others, flag, ""], [*others, f"{flag}="]]
    for words in forms:
        assert cli.main([command, *words]) == 2
        shown = capsys.readouterr()
        assert shown.out == ""
        assert shown.err == (
            f"mgtopo: error: {field} is an empty path; write . for the current folder\n"
        )
        assert not os.listdir()


def test_there_are_such_places() -> None:
    found = {(command, field) for command, field, _ in places()}
    assert {("train", "out"), ("verify", "run"), ("report", "runs"), ("score", "runs")} <= found
    assert {command for command, _, positional in places() if positional} >= {"sweep", "resume"}


def test_one_among_several_is_told_as_well(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["status", ".", ""]) == 2
    assert "runs is an empty path" in capsys.readouterr().err
    assert cli.parse(["status", "."]).runs == (Path(),)
    assert cli.parse(["train", "--out", "."]).out == Path()
    assert cli.parse(["train"]).out is None


def test_nor_does_python() -> None:
    for act in (
        lambda: train(Experiment(), ""),
        lambda: resume(""),
        lambda: write_report(["."], out=""),
        lambda: Questions("trial", None, 1).parse_args(["", "x"]),
        lambda: Questions("trial", None, 1).parse_args(["x", "y", "--out", ""]),
    ):
        with pytest.raises(ConfigError):
            act()
    assert not os.listdir()


def test_nor_do_the_environments(capsys: pytest.CaptureFixture[str]) -> None:
    assert draw_task(["toy_public", "--out", ""]) == 2
    assert "an empty path names nothing" in capsys.readouterr().err
    assert draw_task(["predator_prey_N3_l3@"]) == 2
    assert "unknown prey ''" in capsys.readouterr().err
    assert not os.listdir()
