"""What presets cost: each is measured, beside `none` before and after it, and read into the right column."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from purejax_mgtopo.bench import bench, presets
from purejax_mgtopo.bench.pace import Pace
from purejax_mgtopo.methods import METHODS

TASKS = ("three", "six")


def measured(
    rates: dict[tuple[str, str], list[float]],
) -> tuple[list[dict], list[tuple], list[int]]:
    """Rows of made-up points, what was asked for, and how many rows were kept each time."""
    asked: list[tuple] = []
    kept: list[int] = []
    left = {key: iter(values) for key, values in rates.items()}

    def point(task: str, method: str, cache: str) -> dict:
        asked.append((task, method, cache, sorted(Path(cache).iterdir())))
        (Path(cache) / method).touch()
        return {
            "episodes_per_second": next(left[task, method]),
            "state_bytes": 3e6,
            "bytes_per_lane": 7e6,
            "compile_seconds": 11.0,
        }

    pace = Pace(lambda line: None, 1e9)
    rows = presets.measure(
        TASKS, point, pace, lambda rows: kept.append(len(rows)), ("none", "meta", "dial")
    )
    return rows, asked, kept


def test_a_preset_is_told_relative_to_none_around_it() -> None:
    rows, asked, kept = measured(
        {
            ("three", "none"): [100.0, 120.0, 80.0, 160.0, 40.0],  # itself, then around each
            ("three", "meta"): [60.0],
            ("three", "dial"): [25.0],
            ("six", "none"): [10.0, 10.0, 10.0, 30.0, 30.0],
            ("six", "meta"): [5.0],
            ("six", "dial"): [60.0],
        }
    )
    assert [(row["task"], row["method"], row["relative"]) for row in rows] == [
        ("three", "none", 100 / 100),
        ("three", "meta", 60 / 120),
        ("three", "dial", 25 / 100),
        ("six", "none", 10 / 10),
        ("six", "meta", 5 / 20),
        ("six", "dial", 60 / 30),
    ]
    assert kept == [1, 2, 3, 4, 5, 6]
    for row in rows:
        assert (row["kept_mb"], row["computing_mb"], row["compile_seconds"]) == (3.0, 7.0, 11.0)
    # What is timed from its start found an empty folder; `none` beside it, its programs of before.
    folders = [cache for _, method, cache, there in asked if method != "none" and not there]
    assert len(set(folders)) == 4
    beside = {cache for _, _, cache, _ in asked} - set(folders)
    assert (
        sum(not there for *_, there in asked) == 7 and len(beside) == 3
    )  # two `none`s and one shared


def test_every_preset_is_measured_once() -> None:
    assert set(presets.PRESETS) == {method.name for method in METHODS.values()}
    assert len(set(presets.PRESETS)) == len(presets.PRESETS) and presets.PRESETS[0] == "none"


def test_the_table_shows_each_number_in_its_column(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words: list[tuple[str, ...]] = []

    def answer(process: tuple[str, ...]) -> dict:
        words.append(process)
        rate = {"none": 200.0, "meta": 50.0}[process[process.index("--method") + 1]]
        seconds = 12.0 if rate == 200 else 31.0
        return {
            "episodes_per_second": rate,
            "state_bytes": 4.25e6,
            "bytes_per_lane": 9.5e6,
            "compile_seconds": seconds,
        }

    monkeypatch.setattr(bench, "_start", lambda *words, **environment: words)
    monkeypatch.setattr(bench, "_result", answer)
    monkeypatch.setattr(presets.measure, "__defaults__", (("none", "meta"),))
    target = tmp_path / "found.json"
    bench.main(["--parts", "presets", "--seeds", "6", "--seconds", "100", "--json", str(target)])
    assert all(word[word.index("--seeds") + 1] == "6" for word in words)
    rows = json.loads(target.read_text())["presets"]
    assert [row["task"] for row in rows] == [task for task in bench.META_TASKS for _ in range(2)]
    console = Console(file=io.StringIO(), width=140)
    for table in bench.tables.preset_tables(rows):
        console.print(table)
    cells = [line.replace("│", " ").split() for line in console.file.getvalue().splitlines()]
    assert cells.count(["none", "200.0", "100%", "4.2", "9.5", "12"]) == 2
    assert cells.count(["meta", "50.0", "25%", "4.2", "9.5", "31"]) == 2
