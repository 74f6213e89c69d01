"""A file of an exported policy is whole, of its team, and read as it is; or it is refused in one line."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from trained_cases import content_of, made_up

from purejax_mgtopo.cli import main as cli
from purejax_mgtopo.errors import RunError
from purejax_mgtopo.trained import policy
from purejax_mgtopo.trained.export import export, header_of, networks_of
from purejax_mgtopo.trained.policy import load_policy, pack


def test_the_same_networks_give_the_same_bytes_and_nothing_else_is_replaced(run, tmp_path) -> None:
    target = export(run, 4, tmp_path / "new" / "policy.npz")
    content = target.read_bytes()
    assert export(run, 4, target).read_bytes() == content
    with pytest.raises(RunError, match="something else"):
        export(run, 5, target)
    settings = (run / "config.json").read_bytes()
    with pytest.raises(RunError, match="something else"):
        export(run, 5, run / "config.json")
    assert target.read_bytes() == content and (run / "config.json").read_bytes() == settings


@pytest.mark.slow
def test_damage_anywhere_is_noticed_or_harmless(tmp_path) -> None:
    """One byte after another: the file is refused in one line, or says what it said before."""
    trained = made_up(tmp_path)
    content = content_of(trained)
    path = tmp_path / "policy.npz"
    path.write_bytes(content)
    whole = load_policy(path)
    rng = np.random.default_rng(0)
    refused = 0
    for at in np.concatenate([np.arange(80), rng.integers(0, len(content), 120)]):
        damaged = bytearray(content)
        damaged[at] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        try:
            read = load_policy(path)
        except RunError as error:
            refused += 1
            assert str(path) in str(error) and "\n" not in str(error)
            continue
        assert read.header == whole.header
        arrays, found = whole.networks.named(), read.networks.named()
        assert found.keys() == arrays.keys()
        for name, array in arrays.items():
            np.testing.assert_array_equal(found[name], array)
    assert refused > 100
    for length in (0, 10, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(RunError, match="damaged"):
            load_policy(path)


def rewritten(path: Path, sealed: bool, settings: Any = None, **changes: Any) -> Path:
    """The file with another header, or other settings in it; `sealed` with a digest that fits."""
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    document = json.loads(arrays.pop("header").tobytes()) | changes
    document["settings"] |= settings or {}
    if sealed:
        document.pop("sha256")
        document["sha256"] = policy.digest(document, arrays)
    header = np.frombuffer(json.dumps(document).encode(), np.uint8)
    np.savez(path, header=header, **arrays)
    return path


@pytest.mark.parametrize(
    ("sealed", "changes", "said"),
    [
        (False, {"episode": 3}, "damaged"),
        (False, {"settings": {"learner.discount": 0.5}}, "damaged"),
        (True, {"version": 3}, "version 3"),
        (True, {"format": "cake"}, "not an exported policy"),
        (True, {"settings": {"topology": "coin"}}, "coin"),
        (True, {"settings": {"messages": "pigeon"}}, "pigeon"),
        (True, {"settings": {"learner.activation": "gelu"}}, "learner.activation"),
        (True, {"settings": {"learner.hidden": 9}}, "array acting/rule/params/Dense_0/bias is"),
        (True, {"settings": {"topology": "full"}}, "array acting/rule/params/Dense_0/bias is"),
        (True, {"agents": 4}, "array acting/rule/params/Dense_0/bias is"),
        (True, {"extra": 1}, "extra"),
    ],
)
def test_a_header_that_cannot_be_followed_is_refused(tmp_path, sealed, changes, said) -> None:
    trained = made_up(tmp_path)
    path = tmp_path / "policy.npz"
    path.write_bytes(content_of(trained))
    assert load_policy(rewritten(path, sealed=True)).header == header_of(trained, 4)
    with pytest.raises(RunError, match=said) as told:
        load_policy(rewritten(path, sealed, **changes))
    assert str(path) in str(told.value) and "\n" not in str(told.value)


@pytest.mark.parametrize("axis", ["topology", "messages", "critic"])
def test_what_a_module_registers_has_to_be_imported_first(tmp_path, axis) -> None:
    """To export it again would help nobody."""
    path = tmp_path / "policy.npz"
    path.write_bytes(content_of(made_up(tmp_path)))
    said = f"has the {axis} 'coin', .*: import the module that registers it"
    with pytest.raises(RunError, match=said) as told:
        load_policy(rewritten(path, sealed=True, settings={axis: "coin"}))
    line = str(told.value)
    assert line.startswith(str(path)) and "\n" not in line
    assert "export" not in line.removeprefix(str(path)) and "did you mean" not in line


def test_a_file_of_version_1_is_refused_in_one_line(tmp_path) -> None:
    """As that version wrote it: sizes in the header, and layers by their number."""
    document = {
        "format": "purejax_mgtopo policy",
        "version": 1,
        "task": "navigation_N3_l3",
        "method": "reinforce",
        "topology": "reinforce",
        "messages": "lstm",
        "agents": 3,
        "hidden": 8,
        "activation": "relu",
    }
    arrays = {"gates/0/bias": np.zeros((3, 8), np.float32)}
    document["sha256"] = policy.digest(document, arrays)
    path = tmp_path / "old.npz"
    np.savez(path, header=np.frombuffer(json.dumps(document).encode(), np.uint8), **arrays)
    with pytest.raises(RunError, match="has version 1 .* this code reads 2.*export") as told:
        load_policy(path)
    assert str(path) in str(told.value) and "\n" not in str(told.value)


def test_what_is_no_policy_is_refused(tmp_path) -> None:
    np.savez(tmp_path / "other.npz", weights=np.zeros(3))
    np.save(tmp_path / "other.npy", np.zeros(3))
    np.savez(tmp_path / "pickle.npz", header=np.array([{}], object), allow_pickle=True)
    (tmp_path / "text.npz").write_text("hello")
    for name in ("other.npz", "other.npy", "pickle.npz", "text.npz"):
        with pytest.raises(RunError, match="not an exported policy"):
            load_policy(tmp_path / name)
    for name in ("absent.npz", "."):
        with pytest.raises(RunError, match="cannot read"):
            load_policy(tmp_path / name)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["RUN", "--seed", "9"], 2, "seed 9"),
        (["RUN"], 2, "--seed"),
        (["TMP", "--seed", "0"], 1, "not a run"),
        (["RUN", "--seed", "4", "--out", "RUN/config.json/x"], 1, "cannot write"),
    ],
)
def test_bad_input_is_one_line(run, tmp_path, capsys, words, code, said) -> None:
    words = [word.replace("RUN", str(run)).replace("TMP", str(tmp_path)) for word in words]
    assert cli.main(["export", *words]) == code
    shown = capsys.readouterr()
    (line,) = shown.err.splitlines()
    assert said in line and shown.out == ""


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"topology": "coin"}, "unknown topology 'coin'"),
        ({"topology": "full"}, "array acting/rule/params/Dense_0/bias is"),
        ({"learner.share_parameters": True}, "array acting/rule/params/Dense_0/bias is"),
        ({"messages": "commnet"}, "array policy/.* is"),
    ],
)
def test_networks_of_another_team_are_not_written(tmp_path, settings, said) -> None:
    trained = made_up(tmp_path)
    header = header_of(trained, 4)
    other = dataclasses.replace(header, settings={**header.settings, **settings})
    with pytest.raises(ValueError, match=said):
        pack(other, networks_of(trained, 4))


def test_a_seed_that_did_not_stay_finite_is_refused(run, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("purejax_mgtopo.trained.export.frozen_seeds", lambda folder: {4})
    with pytest.raises(RunError, match="seed 4 .* finite"):
        export(run, 4, tmp_path / "policy.npz")
    assert export(run, 5, tmp_path / "policy.npz").exists()
