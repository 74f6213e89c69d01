"""What a meta-training leaves: curve, table, state and events, the one proved by the other."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import pytest
from fake_population import Killed, Notes
from lessons import TASKS, TEXT, measured, recorded, run

from purejax_mgtopo.algorithm.topology.edgewise.weights import read_rule, rule_bytes
from purejax_mgtopo.cli.main import main
from purejax_mgtopo.errors import RunError
from purejax_mgtopo.records.events import read_events
from purejax_mgtopo.records.glossary import META_TABLE
from purejax_mgtopo.records.record import RunRecord
from purejax_mgtopo.universal import evolution, lives, training
from purejax_mgtopo.universal.kept import record as record_files
from purejax_mgtopo.universal.kept.record import MetaRecord, read_state
from purejax_mgtopo.universal.recipe import load_meta_recipe


def kinds(folder: Path) -> list[tuple]:
    return [(event["event"], event.get("step")) for event in read_events(folder)]


def test_the_table_is_the_curve_as_far_as_it_is_saved(recipe: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with recorded(recipe, out, steps=5, saved=4):
        pass
    curve = [json.loads(line) for line in (out / "curve.jsonl").open()]
    assert [(x["step"], x["task"]) for x in curve] == [(n, t) for n in range(1, 6) for t in TASKS]
    table = parquet.read_table(out / "metrics.parquet")
    rows = table.to_pylist()
    assert [(x["step"], x["task"]) for x in rows] == [(n, t) for n in range(1, 5) for t in TASKS]
    for row, line in zip(rows, curve, strict=False):
        told = measured(row["step"])[row["task"]]
        assert set(row) == {"step", "task"} | set(told)
        for name, value in told.items():
            assert row[name] == value or math.isnan(row[name]) and math.isnan(value)
            assert line[name] == value or line[name] is None and math.isnan(value)
    assert {str(field.type) for field in table.schema if field.name in told} == {"float"}
    metadata = table.schema.metadata
    assert json.loads(metadata[b"recipe"])["meta_train"]["steps"] == 6
    assert json.loads(metadata[b"glossary"]) == {name: META_TABLE[name] for name in rows[0]}


def test_every_measure_is_in_the_glossary(capsys: pytest.CaptureFixture[str]) -> None:
    assert {*lives.MEASURES, *evolution.MEASURES, "sound"} == set(META_TABLE) - {"step", "task"}
    assert main(["glossary"]) == 0
    shown = capsys.readouterr().out
    assert "a row for each update and task" in shown and "meta_objective" in shown


def test_figures_are_means_of_the_last_updates_of_what_is_known(
    recipe: Path, tmp_path: Path
) -> None:
    with recorded(recipe, tmp_path / "out", steps=130, saved=0) as record:
        found = record.figures()
    for task in TASKS:
        last = [measured(step)[task]["return"] for step in range(31, 131)]
        np.testing.assert_allclose(found[task]["return"], np.mean(last))
    with recorded(recipe, tmp_path / "few", steps=4, saved=0) as record:
        known = [measured(step)[TASKS[1]]["return"] for step in (1, 2, 4)]
        np.testing.assert_allclose(record.figures()[TASKS[1]]["return"], np.mean(known))
        assert record.figures()[TASKS[1]]["sound"] == 0.75


def test_what_came_after_the_saved_state_will_come_again(recipe: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with recorded(recipe, out, steps=3, saved=2):
        pass
    with (out / "curve.jsonl").open("a") as file:
        file.write('{"step": 4, "ta')
    with MetaRecord(out, load_meta_recipe(recipe)) as record:
        record.begin({})
        arrays = record.saved()
        assert arrays is not None and set(arrays) == {"step", "eta.x"} and record.resumed
        record.rewind(2)
        record.event("resumed", step=2)
        for step in (3, 4):
            record.update(step, measured(step), wall=1.0)
    curve = [json.loads(line) for line in (out / "curve.jsonl").open()]
    assert [(x["step"], x["task"]) for x in curve] == [(n, t) for n in range(1, 5) for t in TASKS]
    assert kinds(out) == [
        ("start", None), ("update", 1), ("update", 2), ("checkpoint", 2),
        ("resumed", 2), ("update", 3), ("update", 4),
    ]  # fmt: skip
    seconds = [event["seconds"] for event in read_events(out)]
    assert seconds == sorted(seconds)
    assert ["process" in event for event in read_events(out)].count(True) == 2


@pytest.mark.parametrize(
    "change", [lambda text: text.replace("0.", "1.", 1), lambda text: text[text.index("\n") + 1 :]]
)
def test_a_curve_that_is_not_what_was_saved_is_refused(
    recipe: Path, tmp_path: Path, change: Callable[[str], str]
) -> None:
    """With a number changed, and without its first line."""
    out = tmp_path / "out"
    with recorded(recipe, out, steps=3, saved=2):
        pass
    curve = out / "curve.jsonl"
    curve.write_text(change(curve.read_text()))
    with MetaRecord(out, load_meta_recipe(recipe)) as record:
        record.begin({})
        record.saved()
        with pytest.raises(RunError, match=r"curve\.jsonl is not what it was") as error:
            record.rewind(2)
    assert "\n" not in str(error.value)


def test_a_state_of_an_older_version_proves_nothing_and_goes_on(
    recipe: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with recorded(recipe, out, steps=3, saved=2):
        pass
    arrays, proof = read_state(out)
    assert proof["events_bytes"] < (out / "curve.jsonl").stat().st_size
    np.savez(out / "state.npz", **arrays)
    (out / "events.jsonl").unlink()
    with MetaRecord(out, load_meta_recipe(recipe)) as record:
        record.begin({})
        record.saved()
        record.rewind(2)
    assert len((out / "curve.jsonl").read_text().splitlines()) == 4


def test_a_folder_that_is_in_use_or_holds_a_run_is_refused(recipe: Path, tmp_path: Path) -> None:
    with recorded(recipe, tmp_path / "out", steps=1, saved=0):
        with pytest.raises(RunError, match="in use by another mgtopo"):
            run(recipe, tmp_path / "out")
    config = load_meta_recipe(recipe).configs[0]
    with RunRecord(tmp_path / "run", config, "test"):
        pass
    with pytest.raises(RunError, match="holds a run; choose another folder"):
        run(recipe, tmp_path / "run")
    assert not (tmp_path / "run" / "recipe.json").exists()


def test_a_rule_that_is_not_there_leaves_no_recipe_behind(recipe: Path, tmp_path: Path) -> None:
    """A misspelt name, put right, is no other recipe."""
    recipe.write_text(TEXT + 'start = "nowhere.npz"\n')
    with pytest.raises(ValueError, match="no rule file nowhere"):
        run(recipe, tmp_path / "out")
    assert not (tmp_path / "out" / "recipe.json").exists()


def test_other_circumstances_are_told_or_refused(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, notes = tmp_path / "out", Notes()
    depends = training._depends(load_meta_recipe(recipe))
    assert depends["devices"] == 2 and depends["version of jax"]
    monkeypatch.setattr(training, "_depends", lambda _: depends | {"devices": 4})
    run(recipe, out)
    (out / "universal.npz").unlink()
    monkeypatch.undo()
    from lessons import groups

    monkeypatch.setattr(training, "_groups", groups)
    run(recipe, out, notes)
    (told,) = [line for line in notes.notes if "to rounding" in line]
    assert "devices 4 -> 2" in told and "meta-train/out: going on from update 6" in notes.notes
    (resumed,) = [event for event in read_events(out) if event["event"] == "resumed"]
    assert resumed["bitwise"] is False
    (out / "universal.npz").unlink()
    monkeypatch.setattr(training, "_depends", lambda _: depends | {"JAX_ENABLE_X64": "True"})
    with pytest.raises(RunError, match="JAX_ENABLE_X64 was False"):
        run(recipe, out)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished meta-training."""
    from lessons import groups

    home = tmp_path_factory.mktemp("whole")
    (home / "meta_train.toml").write_text(TEXT)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "_groups", groups)
        assert run(home / "meta_train.toml", home / "out")
    return home / "out"


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def flip(path: Path) -> None:
    """A bit of an array in the middle, behind what is said of it."""
    content = bytearray(path.read_bytes())
    content[content.index(b"NUMPY", len(content) // 2) + 200] ^= 1
    path.write_bytes(content)


def another_number(path: Path) -> None:
    text = path.read_text()
    path.write_text(text.replace('"return": ', '"return": 9', 1))


NAMES = ("recipe.json", "events.jsonl", "curve.jsonl", "metrics.parquet", "state.npz")
DAMAGE = {
    **{f"{name} cut": (name, cut) for name in (*NAMES, "universal.npz")},
    **{f"{name} flipped": (name, flip) for name in ("state.npz", "universal.npz")},
    **{f"no {name}": (name, Path.unlink) for name in NAMES[1:]},
    "another number": ("curve.jsonl", another_number),
}


@pytest.mark.parametrize("sealed", [True, False])
@pytest.mark.parametrize("case", DAMAGE)
def test_damage_is_found(
    case: str, sealed: bool, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the digests that are written in the end, and by what files prove of each other where a kill left none."""
    name, damage = DAMAGE[case]
    out = tmp_path / "out"
    shutil.copytree(whole, out)
    if not sealed:
        (out / ".records.json").unlink()
    assert main(["verify", str(out)]) == 0
    capsys.readouterr()
    damage(out / name)
    # An end that is torn is what kills leave, of lines that are appended.
    tolerated = not sealed and case == "events.jsonl cut"
    assert main(["verify", str(out)]) == int(not tolerated)
    told = capsys.readouterr()
    bad = [line.split()[1] for line in told.out.splitlines() if line.startswith("BAD")]
    assert bad == ([] if tolerated else [str(out / name)])  # one damaged file is one problem
    assert "Traceback" not in told.err and told.err.count("\n") == int(not tolerated)


@pytest.mark.parametrize("name", ["state.npz", "universal.npz"])
def test_a_byte_that_no_array_needs_is_found_by_the_seal(
    name: str, whole: Path, tmp_path: Path
) -> None:
    """As in an archive's headers, which say some things twice."""
    out = tmp_path / "out"
    shutil.copytree(whole, out)
    content = bytearray((out / name).read_bytes())
    content[10] ^= 1  # when the first array was last changed
    (out / name).write_bytes(content)
    assert main(["verify", str(out)]) == 1
    (out / ".records.json").unlink()
    assert main(["verify", str(out)]) == 0


def test_another_rule_than_the_state_s_is_found(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A rule file that is whole in itself, as of another meta-training; one whose state is lost proves nothing."""
    out = tmp_path / "out"
    shutil.copytree(whole, out)
    (out / ".records.json").unlink()
    header, rule = read_rule(out / "universal.npz")
    story = {name: value for name, value in header.items() if name not in ("format", "sha256")}
    (out / "universal.npz").write_bytes(rule_bytes(rule, story))
    assert main(["verify", str(out)]) == 0
    first = rule["params"][next(iter(rule["params"]))]
    first[next(iter(first))] = first[next(iter(first))] + np.float32(1e-6)
    (out / "universal.npz").write_bytes(rule_bytes(rule, story))
    capsys.readouterr()
    assert main(["verify", str(out)]) == 1
    bad = [line for line in capsys.readouterr().out.splitlines() if line.startswith("BAD")]
    assert len(bad) == 1 and bad[0].split()[1:] == [
        str(out / "universal.npz"), *"it is not the rule of state.npz".split(),
    ]  # fmt: skip


def test_a_meta_training_that_was_killed_is_whole(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before its first state, between two of them, and in the midst of a line; found beneath a folder, too."""
    for name, steps, saved in (("young", 1, 0), ("older", 3, 2)):
        out = tmp_path / "all" / name
        with recorded(recipe, out, steps=steps, saved=saved):
            pass
        (out / ".records.json").unlink()
        with (out / "curve.jsonl").open("a") as file:
            file.write('{"step": 9, "ta')
        assert main(["verify", str(out)]) == 0
    assert main(["verify", str(tmp_path / "all")]) == 0
    cut(tmp_path / "all" / "older" / "state.npz")
    capsys.readouterr()
    assert main(["verify", str(tmp_path / "all")]) == 1
    assert "1 of 2 runs" in capsys.readouterr().err


@pytest.mark.parametrize("saved", [0, 2])
def test_killed_between_the_table_and_its_state_it_is_whole_before_and_after_going_on(
    saved: int, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the first state that is saved, too: the table is one save ahead, and goes back with the curve."""
    out, write = tmp_path / "out", record_files.write_atomically

    def killed(path: Path, content: bytes) -> None:
        if path.name == "state.npz":
            raise Killed
        write(path, content)

    with pytest.raises(Killed), recorded(recipe, out, steps=3, saved=saved) as record:
        monkeypatch.setattr(record_files, "write_atomically", killed)
        record.save(3, {"step": np.asarray(3)})
    monkeypatch.undo()
    (out / ".records.json").unlink()
    assert parquet.read_table(out / "metrics.parquet").num_rows == 3 * len(TASKS)
    assert main(["verify", str(out)]) == 0
    with MetaRecord(out, load_meta_recipe(recipe)) as record:
        record.begin({})
        assert (record.saved() is None) == (saved == 0)
        record.rewind(saved)
        assert main(["verify", str(out)]) == 0
    if saved:
        assert parquet.read_table(out / "metrics.parquet").num_rows == saved * len(TASKS)
    else:
        assert not (out / "metrics.parquet").exists()


@pytest.mark.parametrize("name", ["state.npz", "events.jsonl"])
def test_what_was_saved_and_is_gone_is_missed(name: str, recipe: Path, tmp_path: Path) -> None:
    """Of a meta-training that was stopped, which has no rule that tells of a state."""
    with recorded(recipe, tmp_path / "out", steps=3, saved=2):
        pass
    assert main(["verify", str(tmp_path / "out")]) == 0
    (tmp_path / "out" / name).unlink()
    assert main(["verify", str(tmp_path / "out")]) == 1
