"""What a person who calls from Python sees: short words of results, and errors that speak of arguments."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from fake_population import FakePopulation, FakeStore, Notes, small
from stand_ins import train

import purejax_mgtopo
from purejax_mgtopo.cli.main import main

HOME = Path(purejax_mgtopo.__file__).parent


def test_a_result_is_one_short_line(tmp_path: Path) -> None:
    result = train(
        small(),
        tmp_path / "run",
        reporter=Notes(),
        store=FakeStore({}),
        population=lambda config: FakePopulation(config, broken_seed=1),
    )
    line = repr(result)
    assert line == (
        "<RunResult toy_follow_holder, meta: finished after 40 of 40 episodes of 3 seeds, 1 not finite; "
        f"{tmp_path / 'run'}>"
    )


def test_errors_of_the_library_name_no_flag_and_those_of_a_command_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def again() -> None:
        train(
            small(),
            tmp_path / "run",
            reporter=Notes(),
            store=FakeStore({}),
            population=FakePopulation,
        )

    again()
    with pytest.raises(purejax_mgtopo.RunError, match="choose another folder, or move") as error:
        again()
    assert "--" not in str(error.value)
    words = ["train", "--task", "toy_follow_holder", "--out", str(tmp_path / "run")]
    assert main(words) == 1
    assert "choose another folder (--out), or move" in capsys.readouterr().err


def test_no_other_error_of_the_library_names_a_flag() -> None:
    """Commands that are given whole, as `mgtopo resume DIR --anew`, are not flags."""
    found = []
    for path in HOME.rglob("*.py"):
        if path.parent.name in ("cli", "prey", "bench"):  # which no one calls from Python
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("RunError", "ConfigError"):
                text = ast.unparse(node)
                for command in text.split("`")[1::2]:
                    text = text.replace(command, "")
                if " --" in text or "(--" in text:
                    found.append(f"{path.name}: {text}")
    assert not found, "\n".join(found)
