"""An error is the same plain line whatever the terminal's encoding, by which the parser draws its frames."""

from __future__ import annotations

import io
import sys

import pytest

from purejax_mgtopo.cli.hints import plainly
from purejax_mgtopo.cli.main import main

SAID = {
    "train --seeds 1e3": "--seeds takes a whole number, not '1e3'",
    "train --learner.discount x": "--learner.discount takes a number, not 'x'",
    "train --wandb nope": "--wandb must be one of 'auto', 'online', 'offline', 'off', not 'nope'",
    "sweep quickstart --wandb x": "--wandb must be one of 'auto', 'off', 'offline', 'online', not 'x'",
    "export X --part x": "--part must be one of 'policy', 'eta', not 'x'",
    "evaluate": "mgtopo evaluate needs DIR: A run's folder, or a folder that holds runs, such as a "
    "sweep's results.",
    "export x": "mgtopo export needs --seed: Which of the run's seeds to export.",
    "train --seeds": "--seeds needs a value",
    "watch X --seed nan": "--seed takes a whole number, not 'nan'",
    "watch X --seed 1.5": "--seed takes a whole number, not '1.5'",
    "fit --memory much": "--memory takes a number, not 'much'",
    "figures X --advantages x": "--advantages takes a whole number, not 'x'",
    "train --seedz 3": "unknown flag --seedz; did you mean --seeds?",
    "train --bogus": "unknown flag --bogus; --help lists all",
    "tasks x": "'x' is one word too many; `mgtopo tasks --help` tells what it takes",
}


@pytest.mark.parametrize("words", SAID)
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_an_error_is_one_plain_line_in_every_terminal(
    words: str,
    encoding: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding=encoding))
    assert main(words.split()) == 2
    assert capsys.readouterr().err == f"mgtopo: error: {SAID[words]}\n"


def test_choices_of_a_flag_that_may_be_left_out_are_in_one_order() -> None:
    """The parser has them as a set, with None among them, which nobody types."""
    line = (
        "Invalid choice invalid choice 'x' for argument '--wandb'. Expected one of "
        "('online', 'None', 'off', 'auto')."
    )
    assert plainly(line) == "--wandb must be one of 'auto', 'off', 'online', not 'x'"
