"""Words that a person tries who knows other programs."""

from __future__ import annotations

from pathlib import Path

import pytest
from synthetic_runs import write_run

from purejax_mgtopo import __version__
from purejax_mgtopo.cli.main import main


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["train", "--seed", "3"], "--first-seed 3 --seeds 1"),
        (["train", "--lr", "1e-3"], "--learner.policy-learning-rate"),
        (["train", "--gamma=0.9"], "--learner.discount?"),
        (["train", "--env", "push_N3"], "did you mean --task?"),
        (["train", "--algo", "meta"], "did you mean --method?"),
        (["train", "--hidden", "64"], "--learner.hidden or --meta.hidden"),
        (["train", "--batch_size", "64"], "--learner.batch-size?"),
        (["sweep", "quickstart", "--hidden", "64"], "--set learner.hidden=..."),
        (["sweep", "quickstart", "--env", "push_N3"], "--tasks"),
        (["sweep", "quickstart", "--steps", "100"], "--episodes?"),
        (["train", "--sedes", "3"], "did you mean --seeds?"),
        (["train", "--set", "learner.batch_size=8"], "such as --learner.batch-size 8"),
        (["fit", "--set", "hidden"], "such as --learner.hidden 64"),
        (["train", "--set=learner.hidden=8"], "such as --learner.hidden 8"),
        (["train", "--eval-episodes", "9"], "did you mean --evaluation.episodes?"),
        (["train", "--batch", "9"], "did you mean --learner.batch-size?"),
        (["train", "--n_steps", "9"], "did you mean --episodes?"),
        (["train", "--out_dir", "x"], "did you mean --out?"),
        (["train", "--no-wandb"], "did you mean --wandb off?"),
        (["train", "--num-envs", "9"], "--seeds says how many seeds"),
        (["train", "--config", "x.toml"], "`mgtopo sweep RECIPE`"),
        (["train", "--resume", "x"], "`mgtopo resume DIR`"),
        (["train", "quickstart"], "`mgtopo sweep quickstart`"),
        (["train", "push_N3"], "did you mean --task push_N3?"),
        (["train", "commnet"], "did you mean --method commnet?"),
        (["train", "help"], "`mgtopo train --help`"),
        (["train", "--seeds", "0,1,2"], "--seeds takes a whole number, not '0,1,2'"),
        (["train", "--episodes", "1e4"], "--episodes takes a whole number, not '1e4'"),
        (["train", "--learner.discount", "x"], "--learner.discount takes a number, not 'x'"),
        (["train", "--task"], "error: --task needs a value"),
        (["train", "--wandb", "true"], "error: --wandb must be one of 'auto', "),
        (["train", "--bogus"], "error: unknown flag --bogus; --help lists all"),
        (["sweep"], "error: mgtopo sweep needs RECIPE: A TOML file"),
        (["export", "x"], "error: mgtopo export needs --seed: Which of"),
        (["sweep", "quickstart", "--learner.hidden", "64"], "--set learner.hidden=64?"),
        (["sweep", "quickstart", "--learner.hiden=64"], "--set learner.hidden=64?"),
        (["sweep", "quickstart", "--devices", "2"], "--set devices=2?"),
        (["sweep", "quickstart", "--wandb-project", "x"], "--set wandb_project=x?"),
        (["sweep", "quickstart", "--set", "seeds=2", "episodes=9"], "say --set episodes=9 as well"),
        (["sweep", "quickstart", "--set", "learner.hidden", "64"], "say --set learner.hidden=64"),
        (["sweep", "quickstart", "--set", "lr=1"], "'learner.policy_learning_rate' or "),
        (["sweep", "quickstart", "--set", "hidden=1"], "'learner.hidden' or 'meta.hidden'?"),
        (["sweep", "quickstart", "--set", "seed=1"], "'seeds' or 'first_seed'?"),
        (["resume", "x", "--lr", "1"], "a run keeps its settings"),
        (["resume", "x", "--steps", "1"], "did you mean --episodes?"),
        (["report", "x", "--output", "y"], "did you mean --out?"),
        (["tasks", "x"], "'x' is one word too many"),
        (["plot", "x"], "did you mean 'figures'?"),
        (["list"], "did you mean 'tasks' or 'methods'?"),
    ],
    ids=lambda words: " ".join(words) if isinstance(words, list) else "",
)
def test_other_programs_words_get_a_hint(
    words: list[str], hint: str, capsys: pytest.CaptureFixture
) -> None:
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert hint in line


def test_help_and_version_in_any_form(capsys: pytest.CaptureFixture) -> None:
    for words in (["--version"], ["version"], ["-V"], ["train", "--version"]):
        assert main(words) == 0
        assert f"purejax_mgtopo {__version__}" in capsys.readouterr().out
    for words, shown in ((["help"], "sweep"), (["help", "train"], "--learner.hidden")):
        with pytest.raises(SystemExit) as stop:
            main(words)
        assert not stop.value.code
        assert shown in capsys.readouterr().out


def test_dashes_are_underscores_in_set_too(capsys: pytest.CaptureFixture) -> None:
    assert main(["sweep", "quickstart", "--set", "learner.batch-size=0"]) == 2
    assert "learner.batch_size must be at least 1" in capsys.readouterr().err


def test_a_sweeps_folder_is_verified_and_resumed_run_by_run(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    for method in ("none", "meta"):
        write_run(tmp_path / "toy" / method, "toy_follow_holder", method)
    assert main(["verify", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "none/metrics.parquet" in shown and "meta/metrics.parquet" in shown
    damaged = tmp_path / "toy" / "meta" / "metrics.parquet"
    damaged.write_bytes(damaged.read_bytes()[:-20])
    assert main(["verify", str(tmp_path)]) == 1
    assert "1 of 2 runs" in capsys.readouterr().err
    assert main(["resume", str(tmp_path)]) == 1
    assert "all runs in" in capsys.readouterr().err
