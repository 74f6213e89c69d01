"""What is said of a flag that another program has: for every such name, in every command."""

from __future__ import annotations

import pytest

from purejax_mgtopo.cli.hints import other_words
from purejax_mgtopo.config import Config, flatten
from purejax_mgtopo.settings import ELSEWHERE

SETTINGS = set(flatten(Config()))


def said(flag: str, *argv: str) -> str | None:
    return other_words(f"Unrecognized options: {flag}", argv)


def test_every_name_leads_to_flags_that_exist() -> None:
    for name, meant in ELSEWHERE.items():
        assert meant and {flag.split()[0] for flag in meant} <= SETTINGS | {"out", "method"}
        assert name not in SETTINGS and "-" not in name


@pytest.mark.parametrize("command", ["train", "fit"])
@pytest.mark.parametrize("name", sorted(ELSEWHERE.keys() - {"seed"}))
def test_a_flag_is_told_by_its_name_here(name: str, command: str) -> None:
    expected = " or ".join(f"--{flag.replace('_', '-')}" for flag in ELSEWHERE[name])
    dashed = f"--{name}" if len(name) > 1 else f"-{name}"
    for flag in (dashed, dashed.replace("_", "-"), dashed.upper()):
        if flag.startswith("-"):
            assert said(flag, command) == f"unknown flag {flag}; did you mean {expected}?"
    assert said(f"{dashed}=3", command) == said(dashed, command)
    assert said(f"{dashed}, --more", command) == said(dashed, command)
    assert said(f"{dashed}; did you mean --that?", command) == said(dashed, command)
    assert said(dashed, "evaluate") is None


def test_a_sweep_has_a_recipe() -> None:
    for flag, words in (
        ("--env", "the recipe's own tasks and --tasks"),
        ("--algo", "the recipe's own methods and --methods"),
        ("--steps", "--episodes"),
        ("--num-seeds", "--seeds"),
        ("--output", "--out"),
        ("--no-wandb", "--wandb off"),
        ("--gpus", "--set devices=..."),
        ("--gamma", "--set learner.discount=..."),
        ("--buffer-size", "--set learner.replay_transitions=..."),
        ("--actor-lr", "--set learner.policy_learning_rate=..."),
    ):
        assert said(flag, "sweep") == f"unknown flag {flag}; did you mean {words}?"


def test_a_seed_is_counted() -> None:
    for command in ("train", "fit", "sweep"):
        line = said("--seed", command)
        assert line is not None and line.startswith("unknown flag --seed; seeds are counted: ")
    assert said("--seed", "evaluate") is None


def test_the_end_of_a_settings_name_is_enough() -> None:
    for flag, words in (
        ("--batch_size", "--learner.batch-size"),
        ("--rms-epsilon", "--gates.rms-epsilon or --meta.rms-epsilon"),
    ):
        assert said(flag, "train") == f"unknown flag {flag}; did you mean {words}?"
    for flag in ("--seeds", "--colour", "--rate", "--learner"):
        assert said(flag, "train") is None


@pytest.mark.parametrize(
    "line", ["Unrecognized options: 3", "Unrecognized options: -3", "Missing --lr", "", "--lr"]
)
def test_what_is_no_flag_is_left_to_the_parser(line: str) -> None:
    assert other_words(line, ["train"]) is None
