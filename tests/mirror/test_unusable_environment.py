"""What the environment says to W&B is made fit for it, and what cannot be is named in one line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from fake_population import small
from mirrored import OFFLINE, program, train

from purejax_mgtopo.cli.main import main
from purejax_mgtopo.errors import ConfigError
from purejax_mgtopo.mirror import mirror
from purejax_mgtopo.mirror.access import choose_mode, disabled, import_wandb, mode_of_environment
from purejax_mgtopo.mirror.places import named_project, project_name

pytestmark = pytest.mark.usefixtures("no_environment")


@pytest.mark.parametrize(
    ("given", "tags"),
    [
        ("", ()),
        ("a,,b", ("a", "b")),
        ("a,", ("a",)),
        (" a , b ,", ("a", "b")),
        (",", ()),
        ("x" * 90, ("x" * 61 + "...",)),
    ],
)
def test_tags_are_split_stripped_and_cut(
    given: str, tags: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_TAGS", given)
    assert not [note for note in train(tmp_path, small(**OFFLINE)).notes if "no W&B" in note]
    written = program(tmp_path).tags
    assert written[: len(tags)] == tags and written[len(tags)] == small().experiment.task


@pytest.mark.parametrize(
    "name",
    ["WANDB_MODE", "WANDB_SILENT", "WANDB_BASE_URL", "WANDB_INIT_TIMEOUT", "WANDB_PROJECT"],
)
def test_an_empty_variable_is_none(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, " " if name == "WANDB_PROJECT" else "")
    assert train(tmp_path, small(**OFFLINE)).notes == []
    assert program(tmp_path).project == "purejax_mgtopo"
    assert named_project(tmp_path, small().means) == ""


def test_a_mode_is_read_without_regard_to_case(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "Offline ")
    monkeypatch.setenv("WANDB_API_KEY", "k")
    assert mode_of_environment() == "offline"
    assert choose_mode("auto", lambda _: None) == "offline"
    monkeypatch.setenv("WANDB_MODE", " Disabled")
    assert disabled()


UNUSABLE = {
    "WANDB_MODE": "garbage",
    "WANDB_INIT_TIMEOUT": "abc",
    "WANDB_SILENT": "perhaps",
    "WANDB_BASE_URL": "nowhere",
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_what_wandb_cannot_use_is_named_and_training_goes_on(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(name, UNUSABLE[name])
    (line,) = train(tmp_path, small(wandb="auto")).notes
    assert line.startswith(f"no W&B mirror: {name} ") and line.endswith("; mend it or unset it")
    assert "\n" not in line and "validation error" not in line and "Error:" not in line
    assert main(["wandb-rebuild", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"mgtopo: error: {name} ") and told.count("\n") == 1


def test_values_that_only_together_are_unusable_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_FORK_FROM", "run?_step=1")
    monkeypatch.setenv("WANDB_RESUME", "allow")
    with pytest.raises(ConfigError, match="WANDB_RESUME .*mutually exclusive.*unset it"):
        choose_mode("offline", lambda _: None)


@pytest.mark.parametrize("given", ["p" * 300, "a/b[red]", "50%:c#d?e\\f", " p "])
@pytest.mark.parametrize("how", ["environment", "setting", "recipe"])
def test_a_project_is_called_as_wandb_allows(
    given: str, how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small(wandb_project=given) if how == "setting" else small()
    if how == "environment":
        monkeypatch.setenv("WANDB_PROJECT", given)
        choose_mode("offline", lambda _: None)
        assert os.environ["WANDB_PROJECT"] == project_name(given)
    elif how == "recipe":
        (tmp_path / "sweep.json").write_text(
            f'{{"recipe": "{given}", "runs": []}}'.replace("\\", "\\\\")
        )
    found = named_project(tmp_path / "task" / "run", config.means)
    assert found == import_wandb().Settings(project=found).project == project_name(given)
    kept = [letter for letter in given.strip() if letter not in "/\\#?%:"][:120]
    assert [letter for letter in found if letter != "_"][: len(kept)] == kept


def test_a_project_of_any_name_is_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_PROJECT", "a/b[red]")
    (line,) = train(tmp_path, small(**OFFLINE)).notes
    assert "by WANDB_PROJECT of the environment" in line
    assert program(tmp_path).project == "a_b[red]"
    assert mirror.rebuild(tmp_path, lambda _: None)


def test_a_secret_that_is_unusable_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "hidden\n")
    with pytest.raises(ConfigError, match="WANDB_API_KEY") as caught:
        choose_mode("auto", lambda _: None)
    assert "hidden" not in str(caught.value)
