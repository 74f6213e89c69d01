"""What `trial` and `formula` say where they cannot begin: one line, before anything is lived."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from synthetic_runs import write_run

from purejax_mgtopo.algorithm.topology.edgewise.weights import SHIPPED
from purejax_mgtopo.universal import trial
from purejax_mgtopo.universal.formula import __main__ as formula
from purejax_mgtopo.universal.formula import asked

TASK = "toy_follow_holder"
COMMANDS = {"trial": trial.main, "formula": formula.main}


@pytest.fixture
def teams(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A run without teams; this process has its devices already."""
    monkeypatch.setattr(asked, "use_cache", lambda on: None)
    monkeypatch.setattr(asked, "configure_platform", lambda means: None)
    changes = {"topology": "random", "updates_per_iteration": 5}
    return str(write_run(tmp_path / "teams", TASK, "none", seeds=2, **changes))


WRONG = [
    ("trial", ["gone.npz"], 2, "there is no rule file gone.npz; `mgtopo meta-train` and"),
    ("trial", ["gone.npz", "--formula", "gone.json"], 2, "gone.json cannot be read: No such file"),
    ("trial", ["shipped"], 1, "has no checkpoint to read networks from"),
    ("trial", ["shipped", "--highest-cost", "-1"], 2, "highest_cost must not be negative"),
    ("trial", ["shipped", "--longest-delay", "-1"], 2, "longest_delay must not be negative"),
    ("trial", ["shipped", "--highest-cost", "nan"], 2, "highest_cost must be a finite number"),
    ("formula", ["gone.npz"], 2, "there is no rule file gone.npz; `mgtopo meta-train` and"),
    ("formula", ["shipped"], 1, "has no checkpoint to read networks from"),
    ("formula", ["shipped", "--terms", "0"], 2, "argument --terms: must be at least 1, not 0"),
    ("formula", ["shipped", "--terms", "many"], 2, "argument --terms: invalid count value: 'many'"),
]
for name in COMMANDS:
    WRONG += [
        (name, ["shipped", "--lifetimes", "0"], 2, "--lifetimes: must be at least 1, not 0"),
        (
            name,
            ["shipped", "--updates", "4"],
            2,
            f"at least the K = 5 gate updates of {TASK}, not 4",
        ),
        (name, ["shipped", "--out", "no/such/file"], 2, "--out: there is no folder no/such"),
        (name, ["shipped", "--out", "."], 2, "--out: . is a folder; say a file"),
        (name, ["shipped", "others"], 2, "others is a run of reinforce; teams for trials come"),
    ]


@pytest.mark.parametrize(("name", "words", "code", "why"), WRONG)
def test_what_cannot_be_tried_is_refused_in_one_line(
    name: str, words: list[str], code: int, why: str, teams: str, monkeypatch, capsys, tmp_path
) -> None:
    monkeypatch.chdir(tmp_path)
    if "others" in words:
        write_run(tmp_path / "others", TASK, "reinforce", seeds=2)
    words = [str(SHIPPED) if word == "shipped" else word for word in words]
    assert COMMANDS[name]([words[0], teams, *words[1:]]) == code
    told = capsys.readouterr().err
    assert told.startswith(f"{name}: ") and why in told and told.count("\n") == 1


def test_a_run_under_two_spellings_is_tried_once(teams: str, monkeypatch, capsys) -> None:
    tried: list[Path] = []
    monkeypatch.setattr(trial, "trial", lambda rule, team, *_, **__: tried.append(team) or {})
    link = Path(teams).with_name("link")
    link.symlink_to(teams)
    assert trial.main([str(SHIPPED), teams, f"{teams}/../teams", str(link)]) == 0
    assert tried == [Path(teams)]


def test_a_run_under_two_spellings_is_asked_about_once(teams: str, monkeypatch, capsys) -> None:
    """Its lifetimes would count twice, and the formula's intervals come out narrower."""
    heard: list[Path] = []
    told = SimpleNamespace(lines=list, document=dict)
    monkeypatch.setattr(formula, "findings", lambda rule, teams, *_: heard.extend(teams) or told)
    assert formula.main([str(SHIPPED), teams, f"{teams}/../teams"]) == 0
    assert heard == [Path(teams)]


@pytest.mark.parametrize("module", ["trial", "formula"])
def test_the_commands_themselves_end_with_that_code(module: str) -> None:
    words = ["-m", f"purejax_mgtopo.universal.{module}", "gone.npz", "nowhere"]
    done = subprocess.run(
        [sys.executable, *words, "--lifetimes", "0"], capture_output=True, text=True, timeout=120
    )
    why = "argument --lifetimes: must be at least 1, not 0"
    assert (done.returncode, done.stderr) == (2, f"{module}: {why}\n")
