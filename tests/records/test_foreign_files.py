"""Nothing is ever written outside the folder that was asked for, nor over what somebody else has put there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fake_population import FakePopulation, FakeStore, Notes, small
from stand_ins import sweep, train

from purejax_mgtopo.cli.main import main
from purejax_mgtopo.errors import RunError
from purejax_mgtopo.records.files import is_foreign, spared
from purejax_mgtopo.training.recipe import parse_recipe

FOREIGN = b"\x89PNG\r\n\x1a\nsomebody's thesis"
CONFIG = {"episodes": 40, "chunk_episodes": 10, "evaluation": {"every": 20}}


def recipe(tasks: list[str], folder: Path, methods: tuple[str, ...] = ("none",)):
    document = {"tasks": tasks, "methods": list(methods), "seeds": 3, "config": CONFIG}
    return parse_recipe(document, folder / "recipe.toml")


def run_sweep(tasks: list[str], folder: Path, out: Path, notes: Notes | None = None):
    return sweep(
        recipe(tasks, folder),
        out,
        reporter=notes or Notes(),
        population=FakePopulation,
        store=FakeStore({}),
    )


def files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "word",
    [
        "@../../p.npz",
        "@../p.npz",
        "@a/../../../p.npz",
        "@/p.npz",
        "@../../../../../../p.npz",
        "/../../x@../p.npz",
        "@..",
    ],
)
def test_a_sweep_stays_in_its_folder(word: str, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "er" / "out"
    run_sweep([f"predator_prey_N3_l3{word}"], tmp_path, out)
    assert files(tmp_path) and all(path.is_relative_to(out) for path in files(tmp_path))
    assert not [part for path in files(tmp_path) for part in path.parts if part == ".."]
    assert len(list(out.rglob("metrics.parquet"))) == 1


def test_an_absolute_task_stays_too_and_two_files_have_two_folders(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    tasks = [
        f"{elsewhere}/t",
        f"p@../{elsewhere.name}/q.npz",
        "p@../other/q.npz",
        "toy_public",
        "p@q.npz",
    ]
    out = tmp_path / "out"
    run_sweep(tasks, tmp_path, out)
    assert all(path.is_relative_to(out) for path in files(tmp_path))
    runs = {path.parent for path in out.rglob("metrics.parquet")}
    assert len(runs) == 5
    assert {out / "toy_public" / "none", out / "p@q.npz" / "none"} <= runs  # as ever


def test_a_picture_of_somebody_else_stays(tmp_path: Path) -> None:
    picture = tmp_path / "run" / "figures" / "curves.png"
    picture.parent.mkdir(parents=True)
    picture.write_bytes(FOREIGN)
    notes = Notes()
    result = train(
        small(), tmp_path / "run", reporter=notes, population=FakePopulation, store=FakeStore({})
    )
    assert picture.read_bytes() == FOREIGN
    assert result.figure == picture.with_name("curves_2.png") and not is_foreign(result.figure)
    assert len(notes.notes) == 1 and "left alone" in notes.notes[0]


def test_a_sweep_replaces_its_own_picture_and_no_other(tmp_path: Path) -> None:
    first = run_sweep(["toy_public"], tmp_path, tmp_path / "out").figure
    assert first == tmp_path / "out" / "figures" / "curves.png"
    before = first.stat().st_mtime_ns
    assert run_sweep(["toy_public"], tmp_path, tmp_path / "out").figure == first
    assert first.stat().st_mtime_ns > before
    first.write_bytes(FOREIGN)
    second = run_sweep(["toy_public"], tmp_path, tmp_path / "out").figure
    assert second == first.with_name("curves_2.png") and first.read_bytes() == FOREIGN
    assert run_sweep(["toy_public"], tmp_path, tmp_path / "out").figure == second


@pytest.mark.parametrize("content", ["{}", "[1]", "not JSON", '{"runs": 3}'])
def test_a_sweep_spares_a_file_of_its_description_s_name(content: str, tmp_path: Path) -> None:
    (tmp_path / "sweep.json").write_text(content)
    with pytest.raises(RunError, match=r"sweep\.json holds something else already; choose"):
        run_sweep(["toy_public"], tmp_path, tmp_path)
    assert (tmp_path / "sweep.json").read_text() == content
    assert files(tmp_path) == {tmp_path / "sweep.json"}


@pytest.mark.parametrize("named", [True, False])
def test_a_report_replaces_reports_alone(
    named: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    train(small(), run, reporter=Notes(), population=FakePopulation, store=FakeStore({}))
    target = tmp_path / "page.html" if named else run / "report.html"
    words = ["report", str(run), "--no-episodes", *(["--out", str(target)] if named else [])]
    assert main(words) == 0
    ours = target.read_bytes()
    assert not is_foreign(target) and main(words) == 0
    older = ours.replace(b'<meta name="generator" content="purejax_mgtopo">\n', b"")
    assert older != ours
    target.write_bytes(older)
    assert main(words) == 0 and b"generator" in target.read_bytes()
    for foreign in (b"<html>mine, on purejax_mgtopo</html>", b""):
        target.write_bytes(foreign)
        capsys.readouterr()
        assert main(words) == 1
        shown = capsys.readouterr().err
        assert shown.count("\n") == 1 and "holds something else already; choose another" in shown
        assert target.read_bytes() == foreign


def test_names_are_spared_in_turn(tmp_path: Path) -> None:
    assert spared(tmp_path / "a.png") == tmp_path / "a.png"
    (tmp_path / "a.png").write_bytes(b"")
    assert spared(tmp_path / "a.png") == tmp_path / "a_2.png"
    (tmp_path / "a_2.png").mkdir()
    assert spared(tmp_path / "a.png") == tmp_path / "a_3.png"
    (tmp_path / "a.png").unlink()
    (tmp_path / "a.png").symlink_to(tmp_path / "nowhere")
    assert is_foreign(tmp_path / "a.png")


def test_a_description_of_an_older_sweep_is_known(tmp_path: Path) -> None:
    out = tmp_path / "out"
    run_sweep(["toy_public"], tmp_path, out)
    document = json.loads((out / "sweep.json").read_text())
    run_sweep(["toy_public"], tmp_path, out)
    assert json.loads((out / "sweep.json").read_text())["runs"] == document["runs"]
