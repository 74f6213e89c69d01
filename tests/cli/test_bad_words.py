"""Whatever was not meant is refused in one line that says what to do."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import jax
import pytest

from purejax_mgtopo.algorithm.algorithm import Algorithm
from purejax_mgtopo.algorithm.topology.edgewise.weights import rule_bytes
from purejax_mgtopo.cli import main as cli
from purejax_mgtopo.cli import running
from purejax_mgtopo.config import Config, Experiment
from purejax_mgtopo.errors import ConfigError

pytestmark = pytest.mark.usefixtures("no_jax")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["swep"], "unknown command 'swep'; did you mean 'sweep'"),
        (["train"], "say where the results go, for example --out results/navigation_N3_l3/meta"),
        (["train", "--out", "x", "--seeds", "0"], "seeds must be at least 1, not 0"),
        (["train", "--out", "x", "--seeds", "many"], "--seeds"),
        (["train", "--out", "x", "--seedz", "3"], "did you mean --seeds?"),
        (["train", "--out", "x", "--seeds"], "--seeds"),
        (["train", "--out", "x", "--episodes", "150"], "the nearest is 200"),
        (["train", "--out", "x", "--learner.discount", "2"], "learner.discount must lie in [0, 1)"),
        (["train", "--out", "x", "--message.latency", "2"], "--message.latency"),
        (["train", "--out", "x", "--topology", "metta"], "did you mean 'meta'"),
        (["train", "--out", "x", "--critic", "mpl"], "did you mean 'mlp'"),
        (["train", "--out", "x", "--method", "metta"], "did you mean 'meta'"),
        (["train", "--out", "x", "--learner-preset", "impruved"], "did you mean 'improved'"),
        (
            ["train", "--out", "x", "--method", "meta", "--topology", "full"],
            "give one or the other",
        ),
        (
            ["train", "--out", "x", "--seeds", "0", "1", "2"],
            "too many for --seeds; it says how many",
        ),
        (["train", "--out", "x", "--learner.hidden", "8", "16"], "'16' is one value too many"),
        (["train", "--meta.blend-intermediate", "maybe"], "is true or false, not 'maybe'"),
        (["train", "--meta.no-blend-intermediat"], "did you mean --meta.no-blend-intermediate?"),
        (["sweep"], "RECIPE"),
        (["sweep", "no/such/place"], "no/such/place does not exist"),
        (["--nonsense"], "--nonsense"),
    ],
)
def test_bad_input_gets_exactly_one_line(
    words: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(words) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    (line,) = shown.err.splitlines()
    assert line.startswith("mgtopo: error: ")
    assert message in line
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "blend", "share"),
    [
        ("--meta.blend-intermediate false --learner.share_parameters TRUE", False, True),
        ("--meta.blend-intermediate=false --no-learner.share-parameters", False, False),
        ("--no-meta.blend-intermediate --learner.share-parameters --debug false", False, True),
        ("--meta.no-blend-intermediate --debug", False, False),
        ("--meta.no-blend-intermediate false --distributed=false", True, False),
    ],
)
def test_yes_and_no_in_any_words(words: str, blend: bool, share: bool) -> None:
    command = cli.parse(["train", "--out", "x", *words.split()])
    assert command.experiment.meta.blend_intermediate is blend
    assert command.experiment.learner.share_parameters is share
    assert command.debug == words.endswith("--debug") and not command.distributed


@pytest.mark.parametrize("command", list(cli.COMMANDS))
def test_every_switch_of_every_command_is_true_or_false(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    kind = cli.COMMANDS[command]
    own = any(name in kind.__dataclass_fields__ for name in ("run", "runs", "recipe"))
    words = ["base"] * own + ["--seed", "0"] * (command == "export")
    for item in dataclasses.fields(kind):
        if item.default is not False:
            continue
        flag = f"--{item.name}".replace("_", "-")
        for value in ("true", "false", "True", "FALSE"):
            for given in ([flag, value], [f"{flag}={value}"]):
                parsed = cli.parse([command, *words, *given])
                assert getattr(parsed, item.name) is (value.lower() == "true"), (flag, value)
                assert parsed == cli.parse([command, *given, *words])


def test_a_folder_that_is_called_true_stays_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "true").mkdir()
    report = cli.parse(["report", "--no-episodes", "true", "base"])
    assert report.runs == (Path("true"), Path("base")) and report.no_episodes
    assert cli.parse(["watch", "--greedy", "true"]).run == Path("true")


def test_our_own_checks_speak_without_the_parsers_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", "--out", "x", "--learner.discount", "2"]) == 2
    assert capsys.readouterr().err == "mgtopo: error: learner.discount must lie in [0, 1)\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--seeds", "0"], "toy_public/none: seeds must be at least 1"),
        (["--episodes", "15"], "episodes (15) must be a multiple of chunk_episodes (10)"),
        (["--set", "learner.hiden=3"], "did you mean 'learner.hidden'"),
        (["--set", "learner.hidden"], "NAME=VALUE"),
        (["--set", "learner.hidden=big"], "learner.hidden must be of type int, not 'big'"),
    ],
)
def test_bad_overrides_of_a_recipe(
    recipe: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["sweep", str(recipe), *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert [path.name for path in recipe.iterdir()] == ["recipe.toml"]


def test_a_rule_that_the_last_run_cannot_begin_with_is_refused_before_the_first(
    recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """At three in the morning the first runs are done, and the one for whose sake all was begun says this."""
    file = recipe / "eta.npz"
    words = ["sweep", str(recipe), "--set", f"meta.start={file}"]
    for content, message in ((None, "there is no rule file"), (b"no", "is not a rule file")):
        if content is not None:
            file.write_bytes(content)
        assert cli.main(words) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert message in line and str(file) in line
        assert not (recipe / "results").exists()
    eta = Algorithm(Experiment(task="toy_public")).team.rule.init_eta(jax.random.key(0))
    file.write_bytes(rule_bytes(eta, {}))
    assert cli.main(words) == 0
    file.unlink()  # nothing is left to begin
    assert cli.main(words) == 0


def test_a_misspelt_task_is_refused_before_the_first_run(
    recipe: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(configs: list[Config]) -> None:
        assert [config.experiment.task for config in configs] == ["toy_public"] * 2
        raise ConfigError("unknown task")

    monkeypatch.setattr(running, "check_tasks", refuse)
    assert cli.main(["sweep", str(recipe)]) == 2
    assert capsys.readouterr().err == "mgtopo: error: unknown task\n"
    assert not (recipe / "results").exists()


def test_an_unexpected_error_is_one_line_unless_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def explode(self: object) -> int:
        raise RuntimeError("first\nsecond")

    monkeypatch.setattr(cli.MethodsCommand, "do", explode)
    assert cli.main(["methods"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "mgtopo: error: RuntimeError: first second (MGTOPO_DEBUG=1 shows the traceback)"

    def shows_a_traceback(*words: str) -> bool:
        assert cli.main(["methods", *words]) == 1
        return "Traceback" in capsys.readouterr().err

    for words in ("--debug", "--debug True", "--debug=True", "--debug true", "--debug=true"):
        assert shows_a_traceback(*words.split()), words
    for words in ("", "--debug false", "--debug=false", "--debug=FALSE"):
        assert not shows_a_traceback(*words.split()), words
    for said, shown in {"1": 1, "true": 1, "": 0, "0": 0, "false": 0, "False": 0, "no": 0}.items():
        monkeypatch.setenv("MGTOPO_DEBUG", said)
        assert shows_a_traceback() == bool(shown), said
