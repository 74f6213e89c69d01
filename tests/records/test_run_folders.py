"""Which folders are runs, and which files of theirs are whose."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fake_population import small

from purejax_mgtopo.config import flatten
from purejax_mgtopo.errors import RunError
from purejax_mgtopo.records.folders import (
    CHECKPOINTS,
    CONFIG,
    EVENTS,
    FIGURES,
    METRICS,
    Status,
    find_runs,
    holds_something,
    numbered,
    read_config,
    refuse_existing,
    status,
    tables,
)


def made(folder: Path, name: str = CONFIG) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("")
    return folder


def test_runs_are_found_in_the_order_given_then_by_name_and_once(tmp_path: Path) -> None:
    names = ("b/2", "b/10", "b/1/deep", "a", "c/x")
    runs = {name: made(tmp_path / name) for name in names}
    made(tmp_path / "b" / "no_run", METRICS)
    (tmp_path / "link").symlink_to(tmp_path / "a")
    beneath = [runs["b/1/deep"], runs["b/10"], runs["b/2"]]
    assert find_runs([tmp_path / "b"]) == beneath
    assert find_runs([tmp_path / "c", tmp_path / "b"]) == [runs["c/x"], *beneath]
    assert find_runs([runs["b/2"], tmp_path / "b"]) == [runs["b/2"], *beneath[:2]]
    again = [runs["a"], tmp_path / "b" / ".." / "a", tmp_path / "link", runs["a"]]
    assert find_runs(again) == [runs["a"]]
    assert find_runs([]) == []


def test_where_there_is_no_run_it_is_told(tmp_path: Path) -> None:
    good = made(tmp_path / "good")
    (tmp_path / "empty").mkdir()
    for bad, words in (
        (tmp_path / "nothing", "is not a folder; give a run's"),
        (good / CONFIG, "is not a folder; give a run's"),
        (tmp_path / "empty", "holds no run .no config.json in or beneath it.; give a run's"),
    ):
        with pytest.raises(RunError, match=words) as error:
            find_runs([good, bad])
        assert str(bad) in str(error.value) and "\n" not in str(error.value)


def test_each_process_has_its_own_name_and_table(tmp_path: Path) -> None:
    names = [numbered(METRICS, process) for process in (0, 1, 12)]
    assert names == ["metrics.parquet", "metrics.1.parquet", "metrics.12.parquet"]
    assert numbered("a.b.c", 2) == "a.b.2.c"
    assert [numbered(".lock", process) for process in (0, 3)] == [".lock", ".3.lock"]
    for name in (*names, "metrics.old.parquet", ".metrics.parquet.1.partial", "other.1.parquet"):
        made(tmp_path, name)
    assert tables(tmp_path) == [tmp_path / name for name in names]
    assert tables(tmp_path / "none") == [tmp_path / "none" / METRICS]


@pytest.mark.parametrize("name", [CONFIG, EVENTS, METRICS, CHECKPOINTS])
def test_anything_of_ours_is_in_the_way(name: str, tmp_path: Path) -> None:
    refuse_existing(tmp_path)
    assert not holds_something(tmp_path) and status(tmp_path) is Status.ABSENT
    made(tmp_path, "notes.txt")
    made(tmp_path, FIGURES)
    assert not holds_something(tmp_path) and status(tmp_path) is Status.ABSENT
    made(tmp_path, name)
    assert holds_something(tmp_path) and status(tmp_path) is Status.UNFINISHED
    with pytest.raises(RunError) as error:
        refuse_existing(tmp_path)
    assert str(error.value) == (
        f"{tmp_path} already holds a run that was interrupted; go on with it by `mgtopo resume {tmp_path}`, or "
        "choose another folder"
    )
    (tmp_path / EVENTS).write_text('{"event": "end"}\n{"event": "later"}\n')
    assert status(tmp_path) is Status.FINISHED
    with pytest.raises(RunError) as error:
        refuse_existing(tmp_path)
    assert str(error.value) == (
        f"{tmp_path} already holds a finished run; choose another folder, or move this one away"
    )


def test_a_configuration_is_read_or_its_fault_is_told(tmp_path: Path) -> None:
    config, settings = small(seeds=7, first_seed=3), flatten(small(seeds=7, first_seed=3))
    path = tmp_path / CONFIG
    with pytest.raises(RunError, match=f"^{tmp_path} is not a run: it has no config.json$"):
        read_config(tmp_path)
    path.write_text("")
    with pytest.raises(RunError, match="config.json is not a run: it has no config.json$"):
        read_config(path)
    for extra in ({}, {"plugins": None}, {"plugins": {}}):
        path.write_text(json.dumps({"settings": settings} | extra))
        assert read_config(tmp_path) == config
    for text in (
        "{",
        "[]",
        "3",
        '"text"',
        "null",
        "{}",
        '{"settings": 3}',
        '{"settings": {"seeds": -1}}',
        '{"settings": {"colour": 1}}',
        '{"settings": {}, "plugins": 3}',
        "\xff",
    ):
        path.write_bytes(text.encode("latin-1"))
        with pytest.raises(RunError) as error:
            read_config(tmp_path)
        assert str(error.value).startswith(f"{path} cannot be read: "), text
        assert "\n" not in str(error.value)
